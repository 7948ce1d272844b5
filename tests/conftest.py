"""Collection: recorders of fixtures are programs for a machine that holds the recorded package, not tests."""

collect_ignore_glob = ["*/record_*.py"]
