"""Pages that open from disk, without a server and without a network."""
