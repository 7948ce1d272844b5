"""The columns of a table, and the result rows that each is made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from .benchmark import Benchmark
from .errors import FormatError
from .method import Method
from .metric import Metric


@dataclass(frozen=True)
class Column:
    """One metric, for images on one group of views ("input" or "novel")."""

    metric: Metric
    group: str | None
    stride: int

    @property
    def key(self) -> str:
        return self.metric.id + (f"[{self.group}]" if self.group else "")

    @property
    def arrow(self) -> str:
        return "↑" if self.metric.direction == "higher" else "↓"

    @property
    def is_quality(self) -> bool:
        """Whether it ranks methods; a cost does not."""
        return self.metric.perfect is not None


def columns_of(benchmark: Benchmark, metrics: Mapping[str, Metric]) -> tuple[Column, ...]:
    """The columns of the protocol's table. Raises FormatError for a metric of sets without its group of views."""
    strides = {entry["id"]: entry["stride"] for entry in benchmark.data["metrics"]}
    columns = tuple(Column(metrics[c["metric"]], c.get("views"), strides[c["metric"]]) for c in benchmark.data["table"])
    for column in columns:
        if column.metric.unit == "set" and column.group is None:
            expected = f"`views: novel` or `views: input` beside `metric: {column.metric.id}`"
            raise FormatError(benchmark.path, expected, "neither: a set of films is of one group of views")
    return columns


def with_groups(rows: pd.DataFrame, benchmark: Benchmark, metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """Rows with a column `group`: the group of the row's view; metrics of sets name theirs in place of a view."""
    of_sets = rows["metric"].map(lambda id: id in metrics and metrics[id].unit == "set").astype(bool)
    return rows.assign(group=rows["view"].map(benchmark.group_of).where(~of_sets, rows["view"]))


def split(rows: pd.DataFrame, methods: Iterable[Method]) -> dict[str, pd.DataFrame]:
    """The rows of each method, with the columns that statistics use: a tenth of the time of whole rows."""
    text = ["metric", "group", "alignment", "object", "clip", "status", "reason"]
    narrow = rows[[*text, "seed", "value"]].astype(dict.fromkeys(text, object))
    return {method.id: narrow[(rows["method"] == method.id).to_numpy()] for method in methods}


def alignment_of(rows: pd.DataFrame) -> str:
    """The alignment of a method's rows; a clip that failed was not aligned, and counts only where all failed."""
    done = rows[rows["status"] != "failed"]
    return ", ".join(sorted(set((done if len(done) else rows)["alignment"])))


def select(rows: pd.DataFrame, column: Column) -> pd.DataFrame:
    """The rows that a column is made of."""
    chosen = rows[rows["metric"] == column.metric.id]
    return chosen if column.group is None else chosen[chosen["group"] == column.group]


def clip_values(chosen: pd.DataFrame) -> pd.Series:
    """One value a clip and seed, the mean over views; NaN where there is none. Index: object, seed, clip."""
    values = chosen["value"].where(chosen["status"] == "ok")
    return values.groupby([chosen["object"], chosen["seed"], chosen["clip"]]).mean()


def object_means(rows: pd.DataFrame, column: Column) -> pd.Series:
    """One value an object: views -> clips -> object, over seeds; objects without any value are absent."""
    return clip_values(select(rows, column)).dropna().groupby("object").mean()


def rivals_means(by_method: Mapping[str, pd.DataFrame], column: Column, ranked: Collection[str]) -> pd.DataFrame:
    """Objects x methods as they are compared: where a method has no value, it has the worst of any `ranked` one.

    Left out are clips that no method has a value for, and methods that the metric does not apply to: without a value,
    and without a failure either. All numbers are finite.
    """
    chosen = {name: select(rows, column) for name, rows in by_method.items()}
    clips = {name: clip_values(part) for name, part in chosen.items() if (part["status"] != "not-run").any()}
    known = {clip for values in clips.values() for _, _, clip in values.dropna().index}
    own = [value for name in ranked if name in clips for value in clips[name].dropna()]
    if own:
        worst = min(own) if column.metric.direction == "higher" else max(own)
        clips = {name: values.fillna(worst) for name, values in clips.items()}
    means = {
        name: values[values.index.get_level_values("clip").isin(known)].groupby("object").mean()
        for name, values in clips.items()
    }
    return pd.DataFrame(means).dropna(axis="columns")
