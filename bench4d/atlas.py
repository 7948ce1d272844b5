"""The protocol atlas applied: what a published protocol says, as settings under which outputs of ours are scored.

Only what a source states makes a setting differ from the benchmark's own protocol. What it leaves open is taken from
the benchmark, and said (`Applied.open`): so columns are nearer to each other here than the papers' protocols may be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from .benchmark import Benchmark
from .errors import FormatError
from .metric import Metric
from .published import QUANTITIES

Protocol = Mapping[str, Any]  # a file of benchmarks/protocols
Group = Literal["novel", "input", "together"]
# Names in print that mean one quantity, so that their numbers are put side by side.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "LPIPS": ("LPIPS",),
    "CLIP": ("CLIP", "CLIP-I"),
    "CLIP between frames": ("CLIP-C", "CLIP-F"),
    "PSNR": ("PSNR",),
    "SSIM": ("SSIM",),
    "DreamSim": ("DreamSim",),
    "FVD": ("FVD", "FVD-F"),
    "FID-VID": ("FID-VID",),
    "Chamfer": ("Chamfer", "CD", "CD-3D", "CD-4D", "CD-M", "CD-L2"),
    "F-Score": ("F-Score",),
    "IoU": ("IoU",),
}
COSTS = ("s", "GB", "1/s")  # units of what a run costs
PICTURES = ("frames", "features")


@dataclass(frozen=True)
class Setting:
    """Everything that decides the pictures and the geometry that metrics see.

    Attributes:
        benchmark: the benchmark's protocol with these cameras, frames, size, background and alignment; its views are of
            one group.
        step: its frame k is frame k * step of the benchmark's own.
        resized_from: pictures are rendered at this size, then resized; None: rendered at the size.
        resize: Pillow's filter for that.
    """

    benchmark: Benchmark
    step: int
    resized_from: int | None = None
    resize: str | None = None

    @property
    def decides(self) -> dict[str, Any]:
        """As plain data: equal data, equal pictures."""
        names = ("clips", "n_frames", "fps", "size", "background", "rig", "views", "time_rule", "alignment", "geometry")
        of_protocol = {name: self.benchmark.data[name] for name in names}
        return of_protocol | {"step": self.step, "resized_from": self.resized_from, "resize": self.resize}

    @property
    def key(self) -> str:
        return digest(self.decides)


@dataclass(frozen=True)
class Ask:
    """One column of the atlas: a number that a protocol prints.

    Attributes:
        protocol, published: its id, and the metric's name there.
        group: the views that the number is of; None for geometry.
        metric: ours; None if nothing can be computed, and `reason` says why.
        is_known: whether that metric is known to be theirs; else it is our closest.
        settings: the number is the mean over the views of all of them.
    """

    protocol: str
    published: str
    group: Group | None
    metric: Metric | None
    is_known: bool
    stride: int
    options: Mapping[str, Any]
    settings: tuple[Setting, ...]
    reason: str = ""

    @property
    def family(self) -> str:
        return family_of(self.published)

    @property
    def key(self) -> str:
        """Columns of one key hold the same numbers."""
        id = self.metric.id if self.metric else ""
        rest = [id, self.stride, dict(self.options), [s.key for s in self.settings], self.reason]
        return digest(rest)


@dataclass(frozen=True)
class Applied:
    """A protocol on a benchmark's outputs.

    Attributes:
        stated: what of it was applied.
        open: what it leaves open, and what stands in: the benchmark's own.
        refused: why it cannot be applied at all, else "".
        failed_is_error: whether a failed clip leaves no number.
    """

    id: str
    title: str
    asks: tuple[Ask, ...]
    stated: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    refused: str = ""
    failed_is_error: bool = False


def digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, allow_nan=False).encode()).hexdigest()


def family_of(published: str) -> str:
    """The family of a metric's name in print; a name of its own if it belongs to none.

    >>> family_of("CD-4D"), family_of("P2S")
    ('Chamfer', 'P2S')
    """
    return next((family for family, names in FAMILIES.items() if published in names), published)


def apply(protocol: Protocol, atlas: Mapping[str, Protocol], base: Benchmark, metrics: Mapping[str, Metric]) -> Applied:
    """The protocol on the outputs of `base`. Raises FormatError where its `applied` names what is not there."""
    hints = protocol.get("applied", {})
    says = _Notes([], [])
    refused = hints.get("refused", "")
    count, step = _frames(protocol, hints, base, says)
    if not count:
        refused = refused or f"clips of fewer than {protocol['frames']['count']} frames are dropped, and all are"
    if refused:
        return Applied(protocol["id"], protocol["title"], (), refused=refused)
    ids = [entry["id"] or entry["likely"] for entry in protocol["metrics"]]
    needs = {metrics[id].needs for id in ids if id}
    unused = says if needs & set(PICTURES) else _Notes([], [])  # nobody asks for cameras of geometry
    views, rig = _cameras(protocol, hints, atlas, base, unused)
    pictures = _pictures(protocol, hints, base, unused)
    frames = {"n_frames": count}
    like = {group: _setting(base, frames | pictures[0] | {"views": views[group], "rig": rig}, step) for group in views}
    like = {group: replace(s, resized_from=pictures[1], resize=pictures[2]) for group, s in like.items()}
    geometry = _setting(base, frames | {"alignment": hints.get("geometry_alignment", base.data["alignment"])}, step)
    _alignment(protocol, hints, base, needs, says)
    short = count if (protocol["frames"]["count"] or 0) > base.data["n_frames"] else 0
    asks = []
    for entry in protocol["metrics"]:
        for group in _groups(protocol, entry["published"]):
            asks.append(_ask(protocol, entry, group, like, geometry, base, metrics, short))
    error = hints.get("failures") == "error"
    return Applied(protocol["id"], protocol["title"], tuple(asks), tuple(says.stated), tuple(says.open), "", error)


def own(base: Benchmark, metrics: Mapping[str, Metric], atlas: Mapping[str, Protocol]) -> Applied:
    """The benchmark's own protocol as a protocol of the atlas, with those of its metrics that papers print."""
    names = {
        id: FAMILIES[family][0]
        for protocol in atlas.values()
        for entry in protocol["metrics"]
        if (id := entry["id"] or entry["likely"]) and (family := family_of(entry["published"])) in FAMILIES
    }
    groups = [group for group in ("novel", "input") if group in base.group_of.values()]
    asks = []
    for entry in base.data["metrics"]:
        metric = metrics[entry["id"]]
        if metric.id not in names:
            continue
        for group in groups if metric.needs in PICTURES else [None]:
            views = [v for v in base.data["views"] if group in (None, v["group"])]
            setting = _setting(base, {"views": views}, 1)
            more = metric, True, entry["stride"], entry.get("options", {}), (setting,)
            asks.append(Ask(base.id, names[metric.id], group, *more))  # type: ignore[arg-type]
    return Applied(base.id, base.data["title"], tuple(asks), ("everything: the benchmark's own protocol",))


def narrowed(protocol: Applied, ids: Collection[str], stride: int | None = None) -> Applied:
    """The protocol with these metrics alone; what is left out says so.

    Args:
        stride: networks look at every so many-th frame of the benchmark's, instead of what its protocol says.
    """

    def narrow(ask: Ask) -> Ask:
        if ask.metric is None:
            return ask
        if ask.metric.id not in ids:
            reason = f"only if named: --metrics {ask.metric.id}" if ask.metric.named_only else "not asked for"
            return replace(ask, metric=None, settings=(), group=None, reason=reason)
        has_network = bool(ask.metric.weights or ask.metric.feature)
        return replace(ask, stride=max(1, stride // ask.settings[0].step)) if stride and has_network else ask

    return replace(protocol, asks=tuple(map(narrow, protocol.asks)))


@dataclass(frozen=True)
class _Notes:
    stated: list[str]
    open: list[str]

    def add(self, text: str, is_stated: bool) -> None:
        (self.stated if is_stated else self.open).append(text)


def _setting(base: Benchmark, changes: Mapping[str, Any], step: int) -> Setting:
    data = {**base.data, **changes, "fps": base.data["fps"] / step, "metrics": [], "table": []}
    return Setting(replace(base, data=data), step)


def _frames(protocol: Protocol, hints: Mapping[str, Any], base: Benchmark, says: _Notes) -> tuple[int, int]:
    """(number of frames, every how many-th); (0, 1) if the clips are dropped."""
    wanted, there = protocol["frames"]["count"], base.data["n_frames"]
    if wanted is None:
        says.add(f"all {there} frames", False)
        return there, 1
    if wanted >= there:
        if wanted > there and hints.get("shorter") == "dropped":
            return 0, 1
        says.add(f"all {there} frames" + (f", there are not {wanted}" if wanted > there else ""), True)
        return there, 1
    step = 1 if hints.get("frames") == "first" else there // wanted
    says.add(f"{wanted} frames" + (f", one of every {step}" if step > 1 else ", the first"), True)
    return wanted, step


def _cameras(
    protocol: Protocol, hints: Mapping[str, Any], atlas: Mapping[str, Protocol], base: Benchmark, says: _Notes
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float]]:
    """Views by group, and the rig."""
    other = hints.get("cameras_of")
    if other is not None and other not in atlas:
        raise FormatError(f"{protocol['id']}: cameras_of", f"a protocol among {sorted(atlas)}", repr(other))
    sources = [protocol, atlas[other]] if other else [protocol]
    azimuths = hints.get("azimuths") or _first(source["views"]["azimuths"] or None for source in sources)
    elevation = _first(source["views"]["elevation"] for source in sources)
    of_rig = {key: _first((source["rig"] or {}).get(key) for source in sources) for key in ("radius", "fov_y")}
    rig = {key: base.data["rig"][key] if value is None else value for key, value in of_rig.items()}
    says.add(f"radius {rig['radius']:g}, field of view {rig['fov_y']:g}°", None not in of_rig.values())
    views = {g: [v for v in base.data["views"] if v["group"] == g] for g in ("novel", "input")}
    height = views["input"][0]["elevation"] if elevation is None else elevation
    if azimuths is not None:
        views["novel"] = [_view(base, azimuth, height) for azimuth in azimuths]
    elif elevation is not None:
        views["novel"] = [_view(base, view["azimuth"], height) for view in views["novel"]]
    angles = ", ".join(f"{view['azimuth']:g}" for view in views["novel"])
    if protocol["views"]["novel"] != 0:
        says.add(f"novel views at {angles}°", azimuths is not None)
        heights = ", ".join(dict.fromkeys(f"{view['elevation']:g}" for view in views["novel"]))
        says.add(f"elevation {heights}°", elevation is not None)
    return views, rig


def _view(base: Benchmark, azimuth: float, elevation: float) -> dict[str, Any]:
    """The benchmark's own view where it has that one: its pictures can then be taken as they are."""
    for view in base.data["views"]:
        if (view["azimuth"] - azimuth) % 360 == 0 and view["elevation"] == elevation and view["group"] == "novel":
            return dict(view)
    name = f"a{azimuth % 360:g}e{elevation:g}".replace(".", "_").replace("-", "m")
    return {"id": name, "azimuth": azimuth, "elevation": elevation, "group": "novel"}


def _pictures(
    protocol: Protocol, hints: Mapping[str, Any], base: Benchmark, says: _Notes
) -> tuple[dict[str, Any], int | None, str | None]:
    """(size and background, size of the renders if they are resized, filter)."""
    image, rendered = protocol["image"], base.data["size"]
    size, resize = image["size"] or rendered, hints.get("resize")
    resized = resize is not None and size != rendered
    how = f", {resize} from {rendered}" if resized else ""
    says.add(f"{size} x {size} pixels{how}", image["size"] is not None)
    background = image["background"] or base.data["background"]
    says.add(f"background {', '.join(f'{c:g}' for c in background)}", image["background"] is not None)
    return {"size": size, "background": background}, rendered if resized else None, resize if resized else None


def _alignment(
    protocol: Protocol, hints: Mapping[str, Any], base: Benchmark, needs: Collection[str], says: _Notes
) -> None:
    """Our closest alignment is said to be open too: the words of a protocol are not ours."""
    told = f' (it says: "{protocol["alignment"]}")' if protocol["alignment"] else ""
    if set(needs) & set(PICTURES):
        says.add("no mask", protocol["image"]["mask"] is not None)
        says.add(f"pictures aligned by {base.data['alignment']}{told}", False)
    if "geometry" in needs:
        says.add(f"geometry aligned by {hints.get('geometry_alignment', base.data['alignment'])}{told}", False)


def scored_views(protocol: Protocol, published: str) -> Group | Literal["apart"]:
    """The views that a protocol's number is of."""
    hints = protocol.get("applied", {})
    usual = "input" if protocol["views"]["novel"] == 0 else "novel"
    found: Group | Literal["apart"] = hints.get("metrics", {}).get(published, {}).get("scored") or hints.get(
        "scored", usual
    )
    return found


def _groups(protocol: Protocol, published: str) -> tuple[Group, ...]:
    how = scored_views(protocol, published)
    return ("novel", "input") if how == "apart" else (how,)


def _ask(
    protocol: Protocol,
    entry: Mapping[str, Any],
    group: Group,
    like: Mapping[str, Setting],
    geometry: Setting,
    base: Benchmark,
    metrics: Mapping[str, Metric],
    short: int,
) -> Ask:
    """`short`: how many frames there are, if the protocol has more; else 0."""
    name, id = entry["published"], entry["id"] or entry["likely"]
    exception = protocol.get("applied", {}).get("metrics", {}).get(name, {})
    metric = metrics[id] if id else None
    reason = exception.get("refused", "")
    if metric is None:
        is_cost = name in QUANTITIES and QUANTITIES[name].unit in COSTS
        reason = reason or ("a cost of the run" if is_cost else "which metric this is, is not known")
    elif short and metric.feature is not None and metric.feature.of == "film":
        wanted = protocol["frames"]["count"]
        reason = reason or f"films of {short} frames, not of {wanted}: distances of films depend on their length"
    elif metric.unit == "set" and group == "together":
        reason = reason or "a set over both groups of views is not made"
    if metric is None or reason:
        return Ask(protocol["id"], name, None, None, entry["id"] is not None, 1, {}, (), reason)
    settings = (like["novel"], like["input"]) if group == "together" else (like[group],)
    of_pictures = metric.needs in PICTURES
    usual: dict[str, Any] = next((m for m in base.data["metrics"] if m["id"] == id), {"stride": 1})
    stride = max(1, usual["stride"] // geometry.step)  # the same moments as in the benchmark's own protocol
    options = {**usual.get("options", {}), **entry["options"]}
    chosen = settings if of_pictures else (geometry,)
    more = metric, entry["id"] is not None, stride, options, chosen
    return Ask(protocol["id"], name, group if of_pictures else None, *more)


def _first(values: Any) -> Any:
    return next((value for value in values if value is not None), None)
