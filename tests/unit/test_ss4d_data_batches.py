"""SS4D's training data in memory: batches, augmentation, encoded data sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file, save_file

from bench4d.errors import FormatError
from bench4d.files import read_json
from ss4d.checkpoint import Model, save_model
from ss4d.data.__main__ import main
from ss4d.data.augment import blurred, on_black, region, run, spoilt
from ss4d.data.check import verify
from ss4d.data.config import AugmentConfig
from ss4d.data.encode import encode
from ss4d.data.store import Store
from ss4d.latent_encoder import SLatEncoder
from ss4d.sparse import SparseTensor
from ss4d.structure_vae import SparseStructureEncoder
from tests.ss4d_data import CLIPS, build_three


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_three(tmp_path_factory.mktemp("data"))


# ---- batches ---------------------------------------------------------------------------------------------------------


def test_batches_are_windows_of_the_clips(folder: Path) -> None:
    """Against the shards' own tensors, cut out frame by frame."""
    store = Store.read(folder)
    assert store.ids == tuple(CLIPS) and store.lengths == [3, 3, 3] and len(store) == 3
    raw = [load_file(folder / f"shard-{k:05d}.safetensors") for k in (0, 1)]
    for clips, starts, n in (([0], [0], 3), ([2, 0, 1, 2], [1, 0, 1, 0], 2), ([1, 1], [2, 0], 1)):
        generator = torch.Generator().manual_seed(7)
        batch = store.batch(torch.tensor(clips), torch.tensor(starts), n, generator)
        whole = store.batch(torch.tensor(clips), torch.tensor(starts), n, all_views=True)
        assert (batch.n_frames, batch.slots) == (n, n * len(clips)) and batch.coords.dtype == torch.int32
        assert batch.feats is not None and batch.views is not None and batch.condition is not None
        for b, (clip, start) in enumerate(zip(clips, starts, strict=True)):
            shard, inside = raw[clip // 2], clip % 2
            for t in range(n):
                slot, frame = b * n + t, int(shard["clip_starts"][inside]) + start + t
                first, last = shard["frame_starts"][frame : frame + 2]
                rows = batch.coords[:, 0] == slot
                assert (batch.coords[rows, 1:].numpy() == shard["voxels"][first:last]).all()
                assert (batch.feats[rows].numpy() == shard["features"][first:last]).all()
                of = [(batch.views[slot].numpy() == view).all() for view in shard["views"][frame]]
                assert sum(of) == 1
                v = of.index(True)
                assert (batch.camera_to_world[slot].numpy() == shard["view_camera_to_world"][frame, v]).all()  # type: ignore[index]
                assert (batch.intrinsics[slot].numpy() == shard["view_intrinsics"][frame, v]).all()  # type: ignore[index]
                assert (whole.views[slot].numpy() == shard["views"][frame]).all()  # type: ignore[index]
                assert (whole.camera_to_world[slot].numpy() == shard["view_camera_to_world"][frame]).all()  # type: ignore[index]
            frames = shard["condition"][frame - n + 1 : frame + 1]  # [T,Q,S,S,4]
            picked = batch.condition[b * n : (b + 1) * n].numpy()
            assert sum((picked == frames[:, q]).all() for q in range(frames.shape[1])) == 1  # one camera a clip
        assert bool((batch.coords[1:, 0] >= batch.coords[:-1, 0]).all())


def test_views_are_drawn_by_the_generator(folder: Path) -> None:
    store = Store.read(folder, parts=["views", "condition"])
    assert "features" not in store.tensors

    def drawn(seed: int) -> torch.Tensor:
        batch = store.batch(torch.arange(3), torch.zeros(3, dtype=torch.int64), 3, torch.Generator().manual_seed(seed))
        assert batch.feats is None and batch.camera_to_world is not None
        return batch.camera_to_world

    assert torch.equal(drawn(1), drawn(1))
    assert len({drawn(seed).numpy().tobytes() for seed in range(12)}) > 8  # 2^9 choices


def test_occupancy(folder: Path) -> None:
    batch = Store.read(folder, parts=()).batch(torch.tensor([2, 1]), torch.tensor([0, 1]), 2)
    assert batch.views is None and batch.condition is None and batch.latents is None
    grid = batch.occupancy(12)
    assert grid.shape == (4, 1, 12, 12, 12) and grid.sum() == len(batch.coords)
    assert torch.equal(grid[:, 0].nonzero().int(), batch.coords)  # lexicographic


@pytest.mark.parametrize(
    ("clips", "starts", "n"), [([0], [1], 3), ([0], [-1], 1), ([3], [0], 1), ([0, 1], [0], 1), ([0], [0], 0)]
)
def test_windows_outside_are_refused(folder: Path, clips: list[int], starts: list[int], n: int) -> None:
    with pytest.raises(FormatError):
        Store.read(folder, parts=()).batch(torch.tensor(clips), torch.tensor(starts), n)


def test_what_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(FormatError, match=r"splits \['train'\]"):
        Store.read(folder, only="val")
    with pytest.raises(FormatError, match="latents"):
        Store.read(folder, parts=["latents"])
    with pytest.raises(FormatError, match="colours"):
        Store.read(folder, parts=["colours"])
    assert len(Store.read(folder, only="train")) == 3


@pytest.mark.gpu
def test_batches_on_a_gpu_need_no_round_trip(folder: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    here, there = Store.read(folder), Store.read(folder, "cuda")
    ask = (torch.tensor([2, 0]), torch.tensor([0, 1]), 2)
    expected = here.batch(*ask, torch.Generator().manual_seed(3))
    there.batch(*ask)  # first use of each kernel
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = there.batch(*ask, torch.Generator().manual_seed(3))
        grid = found.occupancy(12)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for name in ("coords", "feats", "views", "camera_to_world", "intrinsics", "condition"):
        assert torch.equal(getattr(found, name).cpu(), getattr(expected, name)), name
    assert torch.equal(grid.cpu(), expected.occupancy(12))


# ---- augmentation ----------------------------------------------------------------------------------------------------

NOTHING = AugmentConfig(0.0, 0.0, 0.0, 0.0)


def pictures(clips: int, frames: int, side: int) -> torch.Tensor:
    """Premultiplied noise: opaque in the middle, transparent at the border."""
    x = torch.randint(1, 256, (clips * frames, side, side, 4), generator=torch.Generator().manual_seed(0))
    x[..., 3] = 255
    x[:, [0, -1]] = x[:, :, [0, -1]] = 0
    return x.to(torch.uint8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_unspoilt_pictures_stay_as_they_are() -> None:
    x = pictures(2, 3, 8)
    assert torch.equal(spoilt(x, 3, NOTHING, seeded()), on_black(x))
    assert torch.equal(on_black(x)[1, :, 2, 5], x[1, 2, 5, :3].float() / 255)


def test_masks_hide_a_part_of_some_clips() -> None:
    x = pictures(60, 8, 24)
    clean, found = on_black(x), spoilt(x, 8, replace(NOTHING, mask=0.5), seeded(1))
    hidden = (found == 0).all(1) & (clean > 0).all(1)  # [F,S,S]
    assert torch.equal(torch.where(hidden[:, None], clean, found), clean)
    share = hidden.flatten(1).float().mean(1).view(60, 8)
    assert 18 <= int((share.amax(1) > 0).sum()) <= 42  # half of the clips, 4 deviations
    assert share.max() < 0.3 and share[share > 0].median() > 0.02
    runs = (share > 0).int().diff(dim=1).abs().sum(1)
    assert runs.max() <= 2  # one run of frames


def test_regions_against_their_definition() -> None:
    u = torch.rand((6, 7), generator=seeded(2))
    u[:3, 0], u[3:, 0] = 0.1, 0.9  # ellipses, rectangles
    found, n, side = region(u, 5, 16), 5, 16
    for b, row in enumerate(u.double().numpy()):
        for t in range(n):
            for i in range(side):
                for j in range(side):
                    d = []
                    for axis, at in ((0, i), (1, j)):
                        middle = 0.2 + 0.6 * row[1 + axis] + (-0.03 + 0.06 * row[5 + axis]) * (t - 2)
                        d.append(((at + 0.5) / side - middle) / (0.08 + 0.17 * row[3 + axis]))
                    inside = d[0] ** 2 + d[1] ** 2 <= 1 if row[0] < 0.5 else max(abs(d[0]), abs(d[1])) <= 1
                    assert bool(found[b, t, i, j]) == inside


def test_blur_mixes_neighbours_of_the_same_clip() -> None:
    x = torch.rand((2, 4, 3, 3, 4), generator=seeded())
    share = torch.tensor([[0.2, 0.0, 0.3, 0.25], [0.0, 0.3, 0.0, 0.0]])
    found = blurred(x, share)
    for b in range(2):
        for t in range(4):
            s = share[b, t]
            expected = (1 - 2 * s) * x[b, t] + s * (x[b, max(t - 1, 0)] + x[b, min(t + 1, 3)])
            torch.testing.assert_close(found[b, t], expected)
    still = pictures(1, 1, 8).repeat(6, 1, 1, 1)
    torch.testing.assert_close(spoilt(still, 6, replace(NOTHING, blur=1.0), seeded()), on_black(still))
    moving = pictures(20, 6, 8)
    changed = (
        (spoilt(moving, 6, replace(NOTHING, blur=1.0), seeded()) != on_black(moving)).flatten(1).any(1).view(20, 6)
    )
    assert bool(changed.any(1).all()) and int(changed.sum(1).max()) <= 3 + 1  # of each clip, at most half and one


def test_runs() -> None:
    on = torch.tensor([True, True, False, True])
    found = run(on, torch.tensor([0.0, 0.5, 0.0, 0.99]), torch.tensor([0.99, 0.3, 0.9, 0.9]), 4)
    assert found.int().tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_dropped_frames_and_backgrounds() -> None:
    x = pictures(40, 5, 6)
    lost = (spoilt(x, 5, replace(NOTHING, drop=0.3), seeded()) == 0).flatten(1).all(1)
    assert 0.15 < lost.float().mean() < 0.45
    assert bool((spoilt(x, 5, replace(NOTHING, drop=1.0), seeded()) == 0).all())
    found = spoilt(x, 5, replace(NOTHING, background=0.5), seeded())
    inside = x[..., 3] == 255
    assert torch.equal(found.movedim(1, -1)[inside], on_black(x).movedim(1, -1)[inside])
    corner = found[:, :, 0, 0].view(40, 5, 3)
    assert torch.equal(corner, corner[:, :1].expand_as(corner))  # one colour a clip
    colored = (corner[:, 0] > 0).any(1)
    assert 8 <= int(colored.sum()) <= 32 and len(corner[colored, 0].unique(dim=0)) == int(colored.sum())


def test_spoiling_repeats_with_its_generator() -> None:
    x, all_of_it = pictures(3, 4, 8), AugmentConfig(0.7, 0.2, 0.7, 0.7)
    one, two, other = (spoilt(x, 4, all_of_it, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert one.shape == (12, 3, 8, 8) and float(one.min()) >= 0 and float(one.max()) <= 1
    with pytest.raises(FormatError, match="clips of 5"):
        spoilt(x, 5, all_of_it, seeded())


# ---- encoding --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoint")
    structure = {
        "in_channels": 1,
        "latent_channels": 4,
        "num_res_blocks": 1,
        "num_res_blocks_middle": 1,
        "channels": [8, 16, 16],
    }
    latent = {
        "in_channels": 16,
        "resolution": 12,
        "model_channels": 48,
        "latent_channels": 4,
        "num_blocks": 2,
        "num_heads": 4,
    }
    latent |= {"mlp_ratio": 4, "attn_mode": "swin", "window_size": 4, "pe_mode": "rope_t", "expand_self_attn": True}
    save_model(folder, Model("first", "SparseStructureEncoder", structure, SparseStructureEncoder.from_args(structure)))
    network = SLatEncoder.from_args(latent)
    torch.nn.init.normal_(network.out_layer.weight)  # zero before training: all latents would be equal
    save_model(folder, Model("second", "SLatEncoder", latent, network))
    return folder


def test_encoded_data_sets(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Latents are the encoders' means, in the order of the voxels; the normalisation is theirs."""
    index = encode(folder, checkpoint, tmp_path)
    data, store = Store.read(folder), Store.read(tmp_path)
    assert verify(tmp_path)["clips"] == 3 and store.ids == data.ids
    for name in ("voxels", "frame_starts", "clip_starts", "condition", "condition_intrinsics"):
        assert torch.equal(store.tensors[name], data.tensors[name])
    latents = store.tensors["latents"].double()
    assert store.normalisation is not None and index["normalisation"]["mean"] == list(store.normalisation["mean"])
    torch.testing.assert_close(
        torch.tensor(store.normalisation["mean"]).double(), latents.mean(0), atol=1e-6, rtol=1e-5
    )
    torch.testing.assert_close(
        torch.tensor(store.normalisation["std"]).double(), latents.std(0, correction=0), atol=1e-6, rtol=1e-4
    )

    ask = (torch.tensor([2]), torch.tensor([0]), 3)
    seen, found = data.batch(*ask), store.batch(*ask)
    arguments = {name: read_json(checkpoint / f"{name}.json")["args"] for name in ("first", "second")}
    structure = SparseStructureEncoder.from_args(arguments["first"])
    latent = SLatEncoder.from_args(arguments["second"])
    for network, name in ((structure, "first"), (latent, "second")):
        weights = load_file(checkpoint / f"{name}.safetensors")
        network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    with torch.no_grad():
        torch.testing.assert_close(
            found.structure_latents.float(), structure(seen.occupancy(12))[1], atol=2e-3, rtol=2e-3
        )  # type: ignore[union-attr]
        mean = latent(SparseTensor(seen.feats.float(), seen.coords, 3), 3)[0].feats  # type: ignore[union-attr]
        torch.testing.assert_close(found.latents.float(), mean, atol=2e-3, rtol=2e-3)  # type: ignore[union-attr]


def test_frames_may_be_encoded_in_groups(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    ask = ["--data", folder, "--checkpoint", checkpoint, "--out", tmp_path, "--frames", 2, "--views"]
    assert main(["encode", *map(str, ask)]) == 0
    whole, parts = encode(folder, checkpoint, tmp_path / "whole"), read_json(tmp_path / "index.json")
    assert parts["made_from"]["n_frames"] == 2 and whole["made_from"]["n_frames"] is None
    one, other = Store.read(tmp_path), Store.read(tmp_path / "whole")
    assert torch.equal(one.tensors["structure_latents"], other.tensors["structure_latents"])
    assert not torch.equal(one.tensors["latents"], other.tensors["latents"])  # windows of time end elsewhere
    assert "views" not in other.tensors and torch.equal(one.tensors["views"], Store.read(folder).tensors["views"])


def test_each_stage_may_have_its_latents_alone(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    both = encode(folder, checkpoint, tmp_path / "both")
    for part, network in (("structure_latents", "first"), ("latents", "second")):
        alone = tmp_path / part  # with the one network that it needs
        alone.mkdir()
        for path in checkpoint.glob(f"{network}.*"):
            (alone / path.name).write_bytes(path.read_bytes())
        ask = ["--data", folder, "--checkpoint", alone, "--out", alone / "data", "--parts", part]
        assert main(["encode", *map(str, ask)]) == 0
        found, whole = Store.read(alone / "data"), Store.read(tmp_path / "both")
        assert torch.equal(found.tensors[part], whole.tensors[part])
        assert len({"structure_latents", "latents"} & set(found.tensors)) == 1
        normalisation = read_json(alone / "data/index.json")["normalisation"]
        assert normalisation == (both["normalisation"] if part == "latents" else None)


def test_checkpoints_lacking_an_encoder_are_refused(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    for path in checkpoint.glob("first.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(FormatError, match="one SLatEncoder"):
        encode(folder, tmp_path, tmp_path / "out")


def test_untrained_encoders_are_refused(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    for path in checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "second.safetensors")
    save_file(weights | {"out_layer.weight": 0 * weights["out_layer.weight"]}, tmp_path / "second.safetensors")
    with pytest.raises(FormatError, match="latents that vary"):
        encode(folder, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "index.json").exists()
