"""A blind user study of a run's outputs: the page for participants, and the table of what they preferred.

`design.py` decides who sees what, `films.py` makes the pictures, `page.py` writes the folder that is sent out and the
key that is not, `votes.py` checks what comes back, `preferences.py` counts it, `preferences_formats.py` writes it out.
docs/study.md has the rules.
"""
