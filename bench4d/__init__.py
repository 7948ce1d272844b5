"""bench4d: a reproducible benchmark for video-to-4D generation.

The six nouns each have a file: `clip`, `cameras`, `asset`, `method`, `metric`, `benchmark`.
"""

__version__ = "0.1.0"
