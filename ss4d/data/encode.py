"""A data set and trained autoencoders -> the data set of the two flows: latents beside voxels and condition clips.

Both latents are the means of the encoders' distributions, not normalised; `normalisation` in the index holds mean and
standard deviation of the structured latents, per channel over all voxels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float16, Float64
from safetensors.torch import save_file
from torch import Tensor, nn

from bench4d.errors import FormatError
from bench4d.files import atomic, read_json, sha256_file, write_json

from ..checkpoint import NETWORKS
from ..latent_encoder import SLatEncoder
from ..loading import load_strictly, read_tensors
from ..sparse import SparseTensor
from ..structure_vae import SparseStructureEncoder
from .store import PARTS, STRUCTURE, VERSION, Store, check_files, open_shards, read_index

KEPT = (*STRUCTURE, *PARTS["condition"])  # of the data set that is encoded
LATENTS = ("structure_latents", "latents")
CHUNK = 32  # frames of dense grids at a time

Network = TypeVar("Network", bound=nn.Module)


def encode(
    data: Path,
    checkpoint: Path,
    out: Path,
    device: str = "cpu",
    n_frames: int | None = None,
    views: bool = False,
    parts: Sequence[str] = LATENTS,
) -> dict[str, Any]:
    """Write the encoded data set and return its index. Raises FormatError.

    Args:
        checkpoint: a folder that holds a SparseStructureEncoder and an SLatEncoder (those that `parts` need) as
            `<name>.json` ({"name", "args"}) and `<name>.safetensors`, as `ss4d.checkpoint` writes networks.
        n_frames: frames that the latent encoder sees together; all of a clip by default.
        views: keep the views too, which only validation needs.
        parts: which latents: stage 1 is trained on the first kind, stage 2 on the second. Without the second kind the
            index has no normalisation.
    """
    kept = (*KEPT, *PARTS["views"]) if views else KEPT
    kinds: dict[str, type[Any]] = {"structure_latents": SparseStructureEncoder, "latents": SLatEncoder}
    networks: dict[str, tuple[Any, Path]] = {
        part: find_network(checkpoint, kinds[part], device) for part in LATENTS if part in parts
    }
    index = read_index(data)
    check_files(data, index["shards"])
    shards, sums = [], torch.zeros(3, 0, dtype=torch.float64)
    for shard in index["shards"]:
        store = open_shards(data, index, [shard], [*kept, *["features"] * ("latents" in networks)], device)
        tensors = {name: store.tensors[name].cpu() for name in kept}
        for part, (network, _) in networks.items():
            found = (
                structure_latents(network, store)
                if part == LATENTS[0]
                else structured_latents(network, store, n_frames)
            )
            tensors[part] = found.cpu()
        with atomic(out / shard["file"]) as temporary:
            save_file(tensors, temporary)
            shards.append({"file": shard["file"], "sha256": sha256_file(temporary), "clips": shard["clips"]})
        if "latents" in networks:
            x = tensors["latents"].double()
            moments = torch.stack([torch.full_like(x[0], len(x)), x.sum(0), x.square().sum(0)])
            sums = moments if not sums.shape[1] else sums + moments
    normalisation = _normalisation(sums, networks["latents"][1]) if "latents" in networks else None
    made_from: dict[str, Any] = {"data_sha256": sha256_file(data / "index.json"), "data": index["made_from"]}
    made_from |= {"checkpoint": {path.name: sha256_file(path) for _, path in networks.values()}}
    made_from |= {"n_frames": n_frames}
    encoded = {key: index[key] for key in ("config", "config_sha256", "splits")} | {"version": VERSION}
    encoded |= {"tensors": [*kept, *networks], "shards": shards, "made_from": made_from}
    encoded |= {"normalisation": normalisation}
    write_json(out / "index.json", encoded)
    return encoded


def _normalisation(sums: Float64[Tensor, "3 L"], weights: Path) -> dict[str, list[float]]:
    """Mean and deviation of each channel from counts, sums and sums of squares."""
    mean = sums[1] / sums[0]
    std = (sums[2] / sums[0] - mean.square()).clamp_min(0).sqrt()
    if float(std.min()) == 0:
        raise FormatError(weights, "latents that vary in every channel", f"deviations {std.tolist()}", "Trained?")
    return {"mean": mean.tolist(), "std": std.tolist()}


def find_network(folder: Path, kind: type[Network], device: str) -> tuple[Network, Path]:
    """The one network of a kind in a checkpoint folder (or its `ckpts`), in evaluation mode, and its weights' file."""
    names = {name for name, known in NETWORKS.items() if known is kind}
    found = [path for path in sorted([*folder.glob("*.json"), *folder.glob("ckpts/*.json")]) if _names(path, names)]
    if len(found) != 1:
        raise FormatError(folder, f"one {kind.__name__} (a .json that names it)", f"{[path.name for path in found]}")
    args = dict(read_json(found[0])["args"])
    if device == "cpu":
        args["use_fp16"] = False  # half precision is slow and less exact there
    network = kind.from_args(args)  # type: ignore[attr-defined]
    weights = found[0].with_suffix(".safetensors")
    load_strictly(network, read_tensors(weights), weights)
    return network.to(device).eval().requires_grad_(False), weights


def _names(path: Path, names: Collection[str]) -> bool:
    data = read_json(path)
    return isinstance(data, dict) and data.get("name") in names and isinstance(data.get("args"), dict)


@torch.no_grad()
def structure_latents(network: SparseStructureEncoder, store: Store) -> Float16[Tensor, "F L r r r"]:
    """The structure latent of every frame."""
    size, parts = store.config.resolution, []
    for clip, length in enumerate(store.lengths):
        for start in range(0, length, CHUNK):
            batch = store.batch(torch.tensor([clip]), torch.tensor([start]), min(CHUNK, length - start))
            parts.append(network(batch.occupancy(size))[1].half())
    return torch.cat(parts)


@torch.no_grad()
def structured_latents(network: SLatEncoder, store: Store, n_frames: int | None) -> Float16[Tensor, "N L"]:
    """The latent of every voxel, in the order of `voxels`."""
    parts = []
    for clip, length in enumerate(store.lengths):
        step = n_frames or length
        for start in range(0, length, step):
            frames = min(step, length - start)
            batch = store.batch(torch.tensor([clip]), torch.tensor([start]), frames)
            assert batch.feats is not None
            sparse = SparseTensor(batch.feats.float(), batch.coords, batch.slots)
            parts.append(network(sparse, frames)[0].feats.half())
    return torch.cat(parts)
