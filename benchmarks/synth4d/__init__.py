"""synth4d: the embedded benchmark. Procedural animated objects with exact geometry and colour at every time."""
