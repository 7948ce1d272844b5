"""Real clips, of which nobody knows the truth: a user's own folder as a benchmark of the input view; see README.md."""
