"""Feature networks: plain functions of an image and a dictionary of weights. Only they need torch."""
