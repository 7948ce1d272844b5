"""The results site: static pages that open from disk and lead from every number to its evidence.

`build_site` is a pure function of a results folder. docs/site.md says what is written where, and what data files hold.
"""

from .build import build_site

__all__ = ["build_site"]
