"""How results lie in a folder: guessed from the names in it, one function a layout. The guess is said aloud; where two
layouts fit, nothing is guessed.

A layout finds the clips of a benchmark below a root, which is the given folder or one of the folders in it. Names count
exactly: clips are called by their id, or by their object if it has one clip only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .benchmark import Benchmark
from .errors import FormatError
from .foreign_geometry import FACES
from .geometry import SUFFIXES, holds_geometry
from .renders import candidates

MAX_ROOTS = 1000  # folders inside the given one that are looked at


@dataclass(frozen=True)
class Source:
    """What there is of one clip.

    Attributes:
        places: of an asset or of geometry, the folder that holds the files, as ""; of views, for each view id the
            folder of pictures or the film without its suffix (`renders.find_images`).
    """

    kind: Literal["asset", "geometry", "views"]
    places: Mapping[str, Path]


Sources = dict[str, Source]  # by clip


@dataclass(frozen=True)
class Layout:
    """`form`: a line for people. `find`: what it sees of the benchmark's clips below a root, an entry a clip."""

    id: str
    form: str
    find: Callable[[Benchmark, Path], Sources]


@dataclass(frozen=True)
class Guess:
    """What a folder was taken for.

    Attributes:
        root: below which the clips lie.
        sources: never empty, and may lack clips of the benchmark.
        views: those that every clip must have: all of the protocol, or without its input view if no clip has that one
            (Consistent4D's evaluation has none).
    """

    layout: Layout
    root: Path
    sources: Sources
    views: tuple[str, ...]
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        lacking = f", none of the view {' and '.join(self.without)}" if self.without else ""
        return f"{self.layout.form}: {_count(self.sources)} in {self.root}{lacking}"


def names_of(benchmark: Benchmark) -> Iterator[tuple[str, str]]:
    """(name of a folder or the beginning of a file's, clip)."""
    objects = list(benchmark.object_of.values())
    for clip, object_id in benchmark.object_of.items():
        yield clip, clip
        if object_id != clip and objects.count(object_id) == 1 and object_id not in benchmark.object_of:
            yield object_id, clip


# The layouts. An asset says itself what it is: what lies beside it (renders, say) is not looked at.


def asset_folders(benchmark: Benchmark, root: Path) -> Sources:
    found: Sources = {}
    for name, clip in names_of(benchmark):
        for folder in (root / name, root / name / "asset"):
            if (folder / "asset.json").is_file():
                found[clip] = Source("asset", {"": folder})
    return found


def geometry_files(benchmark: Benchmark, root: Path) -> Sources:
    """In the clip's folder or in the only folder in it that has any, such as meshes/."""
    found: Sources = {}
    for name, clip in _without_asset(benchmark, root):
        inner = [root / name, *_folders(root / name)]
        places = [folder for folder in inner if holds_geometry(folder)]
        if len(places) > 1:
            step = "Leave one of them in the clip's folder."
            raise FormatError(root / name, "one sequence of geometry", ", ".join(str(p) for p in places[:4]), step)
        if places:
            found[clip] = Source("geometry", {"": places[0]})
    return found


def clip_then_view(benchmark: Benchmark, root: Path) -> Sources:
    """Directly in the clip's folder or in its folder frames/, where the workflow puts them."""
    found: Sources = {}
    for name, clip in _without_asset(benchmark, root):
        places = {v: _first([root / name / v, root / name / "frames" / v]) for v in benchmark.views}
        found |= _views(clip, places)
    return found


def view_then_clip(benchmark: Benchmark, root: Path) -> Sources:
    found: Sources = {}
    for name, clip in names_of(benchmark):
        found |= _views(clip, {v: _first([root / v / name]) for v in benchmark.views})
    return found


def clip_and_view(benchmark: Benchmark, root: Path) -> Sources:
    found: Sources = {}
    for name, clip in names_of(benchmark):
        places = {v: _first([root / f"{name}{mark}{v}" for mark in "_-"]) for v in benchmark.views}
        found |= _views(clip, places)
    return found


def eval_folders(benchmark: Benchmark, root: Path) -> Sources:
    """Consistent4D's evaluation: eval_0 is the first novel view of the protocol, eval_1 the second."""
    found: Sources = {}
    novel = [view for view in benchmark.views if benchmark.group_of[view] == "novel"]
    folders = {view: view for view in benchmark.views} | {view: f"eval_{k}" for k, view in enumerate(novel)}
    for name, clip in _without_asset(benchmark, root):
        places = {view: _first([root / name / folder]) for view, folder in folders.items()}
        found |= _views(clip, places) if any(places[view] for view in novel) else {}
    return found


LAYOUTS = (
    Layout("asset", "assets, CLIP/asset/asset.json", asset_folders),
    Layout("geometry", f"geometry, CLIP/0000{'|'.join(SUFFIXES)} ... or CLIP/{FACES} with frame_*.npy", geometry_files),
    Layout("clip/view", "renders, CLIP/VIEW/0000.png ... or CLIP/VIEW.mp4", clip_then_view),
    Layout("view/clip", "renders, VIEW/CLIP/0000.png ... or VIEW/CLIP.mp4", view_then_clip),
    Layout("clip_view", "renders, CLIP_VIEW/0000.png ... or CLIP_VIEW.mp4", clip_and_view),
    Layout("consistent4d", "renders, CLIP/eval_0/0.png ... (the novel views in their order)", eval_folders),
)


def guess(benchmark: Benchmark, folder: Path, layout: str = "") -> Guess:
    """The one way in which results lie in `folder`, or else in one of its folders. Raises FormatError for none or many.

    `layout`: the id of the only one that may be found.
    """
    if not folder.is_dir():
        raise FormatError(folder, "a folder with one folder a clip", "no such folder")
    known = [one.id for one in LAYOUTS]
    if layout and layout not in known:
        raise FormatError("--layout", f"one of {known}", repr(layout))
    asked = [one for one in LAYOUTS if layout in ("", one.id)]
    for roots in ([folder], _folders(folder)):
        found = [made for root in roots for one in asked if (made := _look(benchmark, root, one)) is not None]
        distinct = [
            g for k, g in enumerate(found) if not any(_covers(o, g, n < k) for n, o in enumerate(found) if n != k)
        ]
        if len(distinct) > 1:
            raise _ambiguous(folder, distinct)
        if distinct:
            return distinct[0]
    raise _nothing(benchmark, folder, asked)


def _look(benchmark: Benchmark, root: Path, layout: Layout) -> Guess | None:
    sources = layout.find(benchmark, root)
    if not sources:
        return None
    seen = {view for source in sources.values() for view in source.places}
    inputs = tuple(view for view in benchmark.views if benchmark.group_of[view] == "input")
    without = () if seen & {"", *inputs} else inputs
    return Guess(layout, root, sources, tuple(v for v in benchmark.views if v not in without), without)


def _covers(one: Guess, other: Guess, equal: bool) -> bool:
    """Whether `one` sees all that `other` sees, and more (or the same, if `equal` counts): then they do not differ."""
    mine, theirs = (
        {(clip, view, place) for clip, source in g.sources.items() for view, place in source.places.items()}
        for g in (one, other)
    )
    return theirs < mine or (equal and theirs == mine)


def _ambiguous(folder: Path, found: list[Guess]) -> FormatError:
    ids = list(dict.fromkeys(g.layout.id for g in found))
    roots = list(dict.fromkeys(str(g.root) for g in found))
    steps = [f"Say which: --layout {' or '.join(ids)}."] if len(ids) > 1 else []
    steps += [f"Score one folder: {' or '.join(roots[:6])}."] if len(roots) > 1 else []
    return FormatError(folder, "results in one layout", "; ".join(map(str, found[:6])), " ".join(steps))


def _nothing(benchmark: Benchmark, folder: Path, asked: list[Layout]) -> FormatError:
    inside = sorted(p.name for p in folder.iterdir())
    expected = f"results of {benchmark.id} as one of: {'; '.join(f'{one.id} ({one.form})' for one in asked)}"
    found = f"{', '.join(inside[:6]) or 'nothing'}{' ...' if len(inside) > 6 else ''}"
    step = f"CLIP is one of {', '.join(benchmark.clips)}; VIEW one of {', '.join(benchmark.views)}."
    return FormatError(folder, expected, found, step)


def _count(sources: Sources) -> str:
    return f"{len(sources)} clip{'s' * (len(sources) > 1)}"


def _without_asset(benchmark: Benchmark, root: Path) -> Iterator[tuple[str, str]]:
    own = asset_folders(benchmark, root)
    yield from ((name, clip) for name, clip in names_of(benchmark) if clip not in own and (root / name).is_dir())


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir())[:MAX_ROOTS]


def _first(places: list[Path]) -> Path | None:
    return next((place for place in places if candidates(place)), None)


def _views(clip: str, places: Mapping[str, Path | None]) -> Sources:
    seen = {view: place for view, place in places.items() if place is not None}
    return {clip: Source("views", seen)} if seen else {}
