"""SS4D's training data on disk: configuration, building, resuming, checking."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

import ss4d.data.build
from bench4d.errors import FormatError
from bench4d.files import read_json, sha256_file, write_json
from ss4d.data.__main__ import main
from ss4d.data.build import Job, build, make_shard
from ss4d.data.check import verify
from ss4d.data.clip import Tools, make_clip
from ss4d.data.config import CONFIGS, AugmentConfig, DataConfig, FeatureConfig, read_section, strict
from ss4d.data.sources import open_source
from ss4d.data.store import Store
from tests.ss4d_data import CLIPS, CONFIG, build_three, tiny_config


@pytest.fixture(scope="module")
def config() -> DataConfig:
    return tiny_config()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_three(tmp_path_factory.mktemp("data"))


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


# ---- configuration ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_the_three_sizes_are_read(size: str) -> None:
    config = DataConfig.read(size)
    assert strict(DataConfig, config.to_json(), "again") == config
    changed = replace(config, augment=AugmentConfig(0, 0, 0, 0))
    assert changed.sha256 == config.sha256 and replace(config, seed=1).sha256 != config.sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": {"count": 2}}, "missing"),
        ({"colour": 1}, r"unknown \['colour'\]"),
        ({"frames": 2.5}, "frames: expected a value of type int"),
        ({"frames": True}, "frames"),
        ({"yaw": [3, 2]}, "low, high"),
        ({"yaw": 3}, "low, high"),
        ({"resolution": 257}, "at most 256"),
        ({"features": {"kind": "sift"}}, "dinov2"),
        ({"features": {"kind": "surface", "patch": 4}}, "odd"),
        ({"augment": {"mask": 2, "drop": 0, "blur": 0, "background": 0}}, "probabilities"),
    ],
)
def test_configurations_are_strict(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        strict(DataConfig, read_section(CONFIG, "data") | change, "test")


def test_unknown_sizes_name_the_known_ones() -> None:
    with pytest.raises(FormatError, match="full, small, tiny"):
        DataConfig.read("huge")
    assert {path.stem for path in CONFIGS.glob("*.json")} == {"full", "small", "tiny"}


# ---- building --------------------------------------------------------------------------------------------------------


def test_bytes_depend_on_configuration_and_ids_alone(config: DataConfig, folder: Path, tmp_path: Path) -> None:
    """Not on the number of processes, nor on what else is made or was made before."""
    build(Job(config, tmp_path / "two"), CLIPS, "train", workers=2)
    make_shard(Job(config, tmp_path / "one"), "shard-00001", CLIPS[2:])
    for name in ("shard-00000", "shard-00001"):
        expected = sha256_file(folder / f"{name}.safetensors")
        assert sha256_file(tmp_path / "two" / f"{name}.safetensors") == expected
    assert sha256_file(tmp_path / "one" / "shard-00001.safetensors") == sha256_file(folder / "shard-00001.safetensors")
    assert read_json(tmp_path / "two" / "index.json") == read_json(folder / "index.json")


def test_flows_need_no_pictures_but_the_conditions(config: DataConfig, folder: Path, tmp_path: Path) -> None:
    """Without views all else is the same, and so are the features that depend on the surface alone."""
    file = tmp_path / "plain.json"
    write_json(file, {"data": config.to_json() | {"features": {"kind": "surface", "patch": 0}}})
    ask = ["--config", str(file), "--clips", "2", "--first-seed", "4"]
    assert main(["build", *ask, "--out", str(tmp_path / "with")]) == 0
    assert main(["build", *ask, "--out", str(tmp_path / "without"), "--no-views"]) == 0
    full, lean = Store.read(tmp_path / "with"), Store.read(tmp_path / "without")
    assert full.config.features.width == 9 and full.tensors["features"].shape[1] == 9
    for name, tensor in full.tensors.items():
        if not name.startswith("view"):
            assert torch.equal(lean.tensors[name], tensor)
    assert verify(tmp_path / "without")["clips"] == 2
    batch = lean.batch(torch.tensor([1]), torch.tensor([0]), 2)
    assert batch.views is None and batch.camera_to_world is None and batch.condition is not None
    looked = Store.read(folder)  # features of the same kind, with patches
    assert looked.ids[0] not in full.ids and looked.tensors["features"].shape[1] == 16
    with pytest.raises(FormatError, match="which features with patches look at"):
        replace(config, views=replace(config.views, count=0))


def test_patches_come_after_what_the_surface_says(config: DataConfig) -> None:
    source = open_source(CLIPS[0], None, config.frames, config.rate(CLIPS[0]))
    plain = replace(config, features=FeatureConfig("surface", 0))
    whole, first = (make_clip(source, chosen, Tools())[0]["features"] for chosen in (config, plain))
    assert (whole[:, :9] == first).all() and np.abs(whole[:, 9:].astype(float)).max() > 0


def test_a_second_run_makes_what_lacks(config: DataConfig, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(job: Job, name: str, clips: list[str]) -> dict[str, Any]:
        made.append(name)
        return make_shard(job, name, clips)

    monkeypatch.setattr(ss4d.data.build, "make_shard", counted)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    job = Job(config, copy)
    for harm, lacking in [
        (lambda: None, []),
        (lambda: (copy / "shard-00001.safetensors").unlink(), ["shard-00001"]),
        (lambda: (copy / "shard-00000.json").unlink(), ["shard-00000"]),
        (lambda: flip(copy / "shard-00001.safetensors"), ["shard-00001"]),
        (lambda: (copy / "index.json").unlink(), []),
    ]:
        harm()
        made.clear()
        build(job, CLIPS, "train", workers=1)
        assert made == lacking
        assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    made.clear()
    build(Job(replace(config, seed=5), copy), CLIPS, "train", workers=1)
    assert made == ["shard-00000", "shard-00001"]  # of another configuration: all of them
    with pytest.raises(FormatError, match="no more than the 1 shards"):
        build(job, CLIPS[:2], "train", workers=1)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(bytes(data))


def test_a_build_that_stops_leaves_whole_shards_and_no_index(config: DataConfig, tmp_path: Path) -> None:
    job = Job(config, tmp_path)
    with pytest.raises(FormatError, match="walker-2"):
        build(job, [*CLIPS, "walker-2"], "train", workers=1)  # seed 2 is a bird's
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-00000.json", "shard-00000.safetensors"]
    with pytest.raises(FormatError, match=r"Was .* finished"):
        Store.read(tmp_path)


def test_test_objects_never_get_into_a_data_set(config: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="train_id"):
        build(Job(config, tmp_path), ["walker-1000000"], "train", workers=1)
    assert (
        main(["build", "--config", str(CONFIG), "--out", str(tmp_path), "--first-seed", "1000000", "--clips", "1"]) == 1
    )
    assert not list(tmp_path.glob("*.safetensors"))


def test_tokens_need_an_encoder(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="--encoder"):
        build(Job(DataConfig.read("full"), tmp_path), CLIPS, "train", workers=1)


# ---- checking --------------------------------------------------------------------------------------------------------


def test_verify_and_the_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(folder)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == verify(folder) and said["clips"] == 3 and said["frames"] == 9 and said["splits"] == {"train": 2}
    assert said["bytes"] == sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert main(["info", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out) == said
    assert main(["sheet", str(folder), "--out", str(tmp_path / "sheet.png"), "--clips", "2", "--first", "1"]) == 0
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (2 * 3 * 192, 4 * 192, 3)
    views, voxels = sheet[:192].astype(int), sheet[192:384].astype(int)
    drawn = [(row < 250).any(-1) for row in (views, voxels)]
    assert (drawn[0] & drawn[1]).sum() / (drawn[0] | drawn[1]).sum() > 0.5  # voxels stand where the object is
    assert main(["info", str(tmp_path)]) == 1 and "index" in capsys.readouterr().err


def change(folder: Path, name: str, edit: Any) -> None:
    """Edit a tensor of the last shard, with a right sha256."""
    path = folder / "shard-00001.safetensors"
    tensors = load_file(path)
    tensors[name] = edit(tensors[name].copy())
    save_file(tensors, path)
    index = read_json(folder / "index.json")
    index["shards"][1]["sha256"] = sha256_file(path)
    write_json(folder / "index.json", index)


def put(at: Any, value: Any) -> Any:
    def edit(array: np.ndarray) -> np.ndarray:
        array[at] = value
        return array

    return edit


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("voxels", put((5, 0), 12), "voxels below 12"),
        ("voxels", lambda a: a[::-1].copy(), "lexicographic"),
        ("voxels", lambda a: a[1:], "rows"),
        ("features", put((3, 2), np.nan), "finite"),
        ("features", lambda a: a.astype(np.float32), "F16"),
        ("views", put((0, 0, 0, 0), (9, 9, 9, 8)), "premultiplied"),
        ("views", lambda a: a[:, :1], "views U8"),
        ("view_camera_to_world", lambda a: 2 * a, "rigid"),
        ("condition_camera_to_world", lambda a: a[:0], "rows"),
        ("frame_starts", put(1, 0), "lexicographic"),
        ("frame_starts", put(0, 1), "rising from 0"),
        ("clip_starts", put(1, 2), "rising from 0"),
    ],
)
def test_verify_finds_what_is_wrong(copy: Path, name: str, edit: Any, message: str) -> None:
    change(copy, name, edit)
    with pytest.raises(FormatError, match=message):
        if message in ("rows", "views U8"):
            Store.read(copy)
        verify(copy)


def test_damaged_shards_are_not_used(copy: Path) -> None:
    flip(copy / "shard-00001.safetensors")
    for use in (Store.read, verify):
        with pytest.raises(FormatError, match=r"shard-00001.*damaged"):
            use(copy)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda index: index.update(version=2), "version 1"),
        (lambda index: index.update(more=1), "keys"),
        (lambda index: index["shards"][0].update(file="../x.safetensors"), "no folder"),
        (lambda index: index.update(tensors=["voxels", "colours"]), "colours"),
    ],
)
def test_the_index_is_read_strictly(copy: Path, edit: Any, message: str) -> None:
    index = read_json(copy / "index.json")
    edit(index)
    write_json(copy / "index.json", index)
    with pytest.raises(FormatError, match=message):
        Store.read(copy)
