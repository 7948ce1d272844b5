"""From sources to a data set on disk: shards made in parallel, each whole or not at all; a second run makes what lacks.

A shard's bytes depend on the configuration and its clips' ids, not on how many processes work or in which order.
Beside `shard-00000.safetensors` stands its record `shard-00000.json`; `index.json` joins the records when all are done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tqdm import tqdm

from bench4d.errors import FormatError
from bench4d.files import atomic, read_json, sha256_file, write_json
from benchmarks.synth4d import splits

from .clip import Arrays, Tools, make_clip
from .config import DataConfig
from .sources import open_source

INDEX_VERSION = 1  # as `store.VERSION`; that module needs torch, which workers do without
PIPELINE = 1  # raised whenever a byte of a shard could change
CHECKERS = 8  # threads that hash shards which exist already
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Job:
    """Everything a worker needs.

    Attributes:
        config: of the data.
        out: the data set's folder.
        assets: folder of assets, None for synth4d.
        renderer: "cpu" or "cuda".
        encoder: DINOv2's weights for features of that kind (see `DinoV2.load`).
        device: of that encoder.
    """

    config: DataConfig
    out: Path
    assets: Path | None = None
    renderer: str = "cpu"
    encoder: str | None = None
    device: str = "cpu"

    def identity(self, clips: Sequence[str]) -> dict[str, Any]:
        """What a shard's bytes depend on."""
        return {
            "pipeline": PIPELINE,
            "config_sha256": self.config.sha256,
            "source": "synth4d" if self.assets is None else "assets",
            "generator": splits.VERSION if self.assets is None else None,
            "renderer": self.renderer,
            "clips": list(clips),
        }


def build(job: Job, clips: Sequence[str], split: str, workers: int) -> dict[str, Any]:
    """Make the shards that lack or do not fit, then the index, which is returned. Raises FormatError."""
    if job.config.features.kind == "dinov2" and job.encoder is None:
        raise FormatError("encoder", "DINOv2's weights, which these features need", "none", "Name them: --encoder.")
    if not clips or len(set(clips)) != len(clips):
        raise FormatError("clips", "at least one, each once", f"{len(clips)} ids, {len(set(clips))} different")
    per_shard = job.config.clips_per_shard
    wanted = {f"shard-{n:05d}": clips[s : s + per_shard] for n, s in enumerate(range(0, len(clips), per_shard))}
    stray = [path.name for path in sorted(job.out.glob("shard-*.safetensors")) if path.stem not in wanted]
    if stray:
        next_step = "Give another folder, or as many clips as it was made with."
        raise FormatError(job.out, f"no more than the {len(wanted)} shards asked for", f"{stray[:3]}", next_step)
    with ThreadPoolExecutor(CHECKERS) as pool:
        kept = dict(zip(wanted, pool.map(lambda name: fitting(job, name, wanted[name]), wanted), strict=True))
    todo = [name for name in wanted if kept[name] is None]
    if todo:
        (job.out / "index.json").unlink(missing_ok=True)
    sys.stderr.write(f"{len(wanted) - len(todo)} of {len(wanted)} shards are there\n")
    kept |= _make_all(job, {name: wanted[name] for name in todo}, workers)
    return write_index(job, [record for record in kept.values() if record is not None], split)


def fitting(job: Job, name: str, clips: Sequence[str]) -> dict[str, Any] | None:
    """The record of a shard that exists, is undamaged and is what would be made now; None otherwise."""
    path, shard = job.out / f"{name}.json", job.out / f"{name}.safetensors"
    if not (path.is_file() and shard.is_file()):
        return None
    record = read_json(path)
    if record.get("identity") != job.identity(clips) or record.get("sha256") != sha256_file(shard):
        return None
    return record


def _make_all(job: Job, shards: dict[str, Sequence[str]], workers: int) -> dict[str, dict[str, Any]]:
    records = {}
    progress = tqdm(total=sum(map(len, shards.values())), unit="clip", disable=not shards, file=sys.stderr)
    with progress:
        if workers <= 1:
            for name, clips in shards.items():
                records[name] = make_shard(job, name, clips)
                progress.update(len(clips))
            return records
        context = get_context("spawn")
        start = (_take_gpu, (context.Value("i", 0),)) if job.renderer == "cuda" else (None, ())
        with _one_thread_each(), ProcessPoolExecutor(workers, context, *start) as pool:
            running = {pool.submit(make_shard, job, name, clips): name for name, clips in shards.items()}
            try:
                for done in as_completed(running):
                    name = running[done]
                    records[name] = done.result()
                    progress.update(len(shards[name]))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # what is finished stays and is found next time
                raise
    return records


def _take_gpu(taken: Any) -> None:
    """Of a process that draws on a GPU: they take turns."""
    import torch  # late: workers that draw on the CPU do without

    with taken.get_lock():
        torch.cuda.set_device(taken.value % torch.cuda.device_count())
        taken.value += 1


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Libraries of processes started meanwhile use one thread each: they read these names when they are loaded."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def make_shard(job: Job, name: str, clips: Sequence[str]) -> dict[str, Any]:
    """Write one shard and its record, which is returned."""
    tools = Tools(job.renderer, _token_features(job))
    made, entries = [], []
    for clip in clips:
        source = open_source(clip, job.assets, job.config.frames, job.config.rate(clip))
        try:
            arrays, entry = make_clip(source, job.config, tools)
        except FormatError as error:
            raise FormatError(f"clip {clip}", "a clip that can be made", str(error)) from error
        made.append(arrays)
        entries.append(entry)
    path = job.out / f"{name}.safetensors"
    with atomic(path) as temporary:
        save_file(joined_clips(made), temporary)
        digest = sha256_file(temporary)
    record = {"identity": job.identity(clips), "file": path.name, "sha256": digest, "clips": entries}
    write_json(job.out / f"{name}.json", record)
    return record


def joined_clips(clips: Sequence[Arrays]) -> Arrays:
    """The tensors of a shard: those of its clips end to end, with starts."""
    whole = {name: np.concatenate([clip[name] for clip in clips]) for name in clips[0] if name != "frame_starts"}
    voxels = np.concatenate([np.diff(clip["frame_starts"]) for clip in clips])
    whole["frame_starts"] = np.concatenate([[0], np.cumsum(voxels)]).astype(np.int64)
    frames = [len(clip["frame_starts"]) - 1 for clip in clips]
    whole["clip_starts"] = np.concatenate([[0], np.cumsum(frames)]).astype(np.int64)
    return whole


def write_index(job: Job, records: Sequence[dict[str, Any]], split: str) -> dict[str, Any]:
    names = ["voxels", "frame_starts", "clip_starts", "features"]
    names += ["views", "view_camera_to_world", "view_intrinsics"]
    names += ["condition", "condition_camera_to_world", "condition_intrinsics"]
    index = {
        "version": INDEX_VERSION,
        "config": job.config.to_json(),
        "config_sha256": job.config.sha256,
        "tensors": names,
        "shards": [{key: record[key] for key in ("file", "sha256", "clips")} for record in records],
        "splits": {split: [record["file"] for record in records]},
        "normalisation": None,
        "made_from": {key: value for key, value in records[0]["identity"].items() if key != "clips"},
    }
    write_json(job.out / "index.json", index)
    return index


def _token_features(job: Job) -> Any:
    """A function from centres, pictures and cameras to features, if the configuration wants DINOv2's."""
    if job.config.features.kind != "dinov2":
        return None
    from ..image_encoder import DinoV2  # late: torch is slow to import, and "surface" needs none of it
    from .token_features import encoder_features

    assert job.encoder is not None
    encoder = DinoV2.load(job.encoder)[0].to(job.device)

    def features(centers: np.ndarray, views: np.ndarray, cameras: Any) -> np.ndarray:
        return encoder_features(encoder, centers, views, cameras, job.device)

    return features
