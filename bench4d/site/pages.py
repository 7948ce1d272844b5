"""The pages: Jinja templates with autoescape; nothing of a method or a description is markup."""

from __future__ import annotations

import jinja2
import pandas as pd

from .run import Run


def environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("bench4d.site", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_pages(run: Run, by_method: dict[str, pd.DataFrame]) -> dict[str, str]:
    """Path in the site -> HTML."""
    env = environment()
    common = {"site_title": run.benchmark.data["title"]}
    shells = {
        "index.html": ("table", "Results"),
        "clip.html": ("clip", "Clip"),
        "number.html": ("number", "How this number was made"),
    }
    page = env.get_template("shell.html.j2")
    return {
        name: page.render(common, kind=kind, title=title, root="", current=name)
        for name, (kind, title) in shells.items()
    }
