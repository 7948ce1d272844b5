"""A package of its own: an installed one of the same name (torch-fidelity brings one) would hide it."""
