"""What all figures share: matplotlib without global state, and files that come out the same twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench4d.errors import FormatError
from bench4d.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 72  # an inch
FONT = 7.0  # points: that of a caption, in a paper's column
INK, SOFT, FAINT, ACCENT = "#1b1f24", "#5f6770", "#d5d9dd", "#0b57b0"
SUFFIXES = (".pdf", ".png")
SETTINGS: Any = {  # some of matplotlib.RcParams
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": FONT,
    "text.color": INK,
    "text.parse_math": False,  # a method may be called a$b$c
    "pdf.fonttype": 42,  # TrueType: text that can be searched, copied and edited
    "image.composite_image": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": SOFT,
    "axes.titlesize": FONT + 0.5,
    "axes.labelcolor": INK,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "xtick.labelsize": FONT - 0.5,
    "ytick.labelsize": FONT,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
}


@contextmanager
def settings() -> Iterator[None]:
    """Inside the block figures are made in the house's style. Raises FormatError without matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        step = "Run `python tools/install.py figures`."
        raise FormatError("figures", "matplotlib", f"{error}", step) from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a user's matplotlibrc says
        matplotlib.rcParams.update(SETTINGS)
        yield


def save(figure: Figure, out: Path, dpi: float) -> list[Path]:
    """`out` itself if it ends in .pdf or .png, else both beside each other. Returns what was written."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_fontfeatures(("-liga", "-clig"))  # readers of a PDF search for "inflate", not for "in", "fl" and "ate"
    paths = [out] if out.suffix in SUFFIXES else [out.with_name(out.name + suffix) for suffix in SUFFIXES]
    for path in paths:
        nothing = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
        with atomic(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], dpi=dpi, metadata=nothing)
    return paths
