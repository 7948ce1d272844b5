"""Figures for papers, as PDF with text that stays text and as PNG: `strips.py` of pictures, `plots.py` of numbers.

They need matplotlib (requirements/figures.txt), which nothing else in bench4d does. docs/figures.md shows them.
"""
