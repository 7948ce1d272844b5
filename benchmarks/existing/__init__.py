"""Other people's evaluations, run on one's own outputs: README.md."""
