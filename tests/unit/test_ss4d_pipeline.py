"""SS4D's pipeline and checkpoints on a tiny random checkpoint: seeds, errors in words, strict loading, both layouts."""

from __future__ import annotations

import importlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from bench4d.errors import FormatError
from ss4d.checkpoint import SamplerSettings, load_checkpoint, save_checkpoint
from ss4d.loading import load_strictly, read_tensors
from ss4d.pipeline import FAST_STEPS, SS4DPipeline, choose_device, pictures
from ss4d.random_checkpoint import write_random_checkpoint
from ss4d.trellis import to_4d

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    write_random_checkpoint(path, "tiny", seed=3, steps=2)
    return path


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> SS4DPipeline:
    return SS4DPipeline.from_pretrained(folder, device="cpu")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A checkpoint to spoil."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def disc(count: int = 4, size: int = 40) -> list[Image.Image]:
    """A disc that moves to the right, RGBA."""
    y, x = np.mgrid[:size, :size]
    frames = np.zeros((count, size, size, 4), np.uint8)
    for k in range(count):
        inside = (x - 15 - 2 * k) ** 2 + (y - 20) ** 2 < 80
        frames[k, inside] = (200, 90 + 20 * k, 40, 255)
    return pictures(frames)


# the pipeline


def test_equal_seeds_give_equal_gaussians_and_the_structure_alone_is_the_same(pipeline: SS4DPipeline) -> None:
    first, again, other = pipeline.run(disc(), 7), pipeline.run(disc(), 7), pipeline.run(disc(), 8)
    assert all(torch.equal(a.xyz, b.xyz) for a, b in zip(first.gaussians, again.gaussians, strict=True))
    assert not torch.equal(first.gaussians[0].xyz, other.gaussians[0].xyz)
    coords = pipeline.run_structure(disc(), 7)
    assert [len(c) for c in first.coords] == torch.bincount(coords[:, 0], minlength=4).tolist()
    assert torch.equal(torch.cat(first.coords), coords[:, 1:])


def test_the_global_generator_is_left_alone(pipeline: SS4DPipeline) -> None:
    before = torch.get_rng_state()
    pipeline.run(disc(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_own_voxels_skip_stage_1_and_its_noise(pipeline: SS4DPipeline) -> None:
    coords = torch.tensor([[0, 1, 2, 3], [0, 4, 4, 4], [1, 1, 2, 3], [3, 5, 5, 5]], dtype=torch.int32)
    result = pipeline.run(disc(), 7, coords)
    assert [len(frame.xyz) for frame in result.gaussians] == [8, 4, 0, 4]  # frame 2 is empty, and still there
    assert [c.tolist() for c in result.coords] == [[[1, 2, 3], [4, 4, 4]], [[1, 2, 3]], [], [[5, 5, 5]]]
    noise = torch.randn(4, 8, generator=torch.Generator().manual_seed(7))
    seen: list[torch.Tensor] = []
    first = pipeline.latent_flow.input_layer
    handle = first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    pipeline.run(disc(), 7, coords)
    handle.remove()
    assert torch.equal(seen[0], noise)


def test_shared_noise_is_the_same_in_all_frames(pipeline: SS4DPipeline, folder: Path) -> None:
    shared = SS4DPipeline(pipeline.checkpoint, "cpu", shared_noise=True)
    coords = torch.tensor([[0, 1, 2, 3], [0, 4, 4, 4], [1, 4, 4, 4], [3, 1, 2, 3]], dtype=torch.int32)
    seen: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        for layer in (shared.structure_flow.input_layer, shared.latent_flow.input_layer)
    ]
    shared.run_structure(disc(), 7)
    structure = seen[0]
    seen.clear()
    shared.run(disc(), 7, coords)
    latents = seen[0]
    for hook in hooks:
        hook.remove()
    assert torch.equal(structure, structure[:1].expand_as(structure))
    assert torch.equal(latents[0], latents[3]) and torch.equal(latents[1], latents[2])
    assert not torch.equal(latents[0], latents[1])


def test_an_asset_comes_out_in_the_unit_cube(pipeline: SS4DPipeline) -> None:
    asset = pipeline.run(disc()).to_asset([0, 0.1, 0.2], count=3)
    assert len(asset.frames) == 3 and all(np.abs(frame.means).max() < 0.6 for frame in asset.frames)
    assert asset.frames[0].dilation == pytest.approx(0.1) and asset.frames[0].compensate


def test_what_cannot_be_run_is_refused_in_words(pipeline: SS4DPipeline) -> None:
    opaque = [Image.new("RGBA", (40, 40), (9, 9, 9, 255))] * 2
    cases = [
        (disc(3), "even number; found 3"),
        ([frame.convert("RGB") for frame in disc(2)], "expected RGBA; found RGB"),
        (opaque, "opaque everywhere"),
        ([disc()[0], disc(size=50)[0]], "40 x 40; found 50 x 50"),
        ([Image.new("RGBA", (40, 40))] * 2, "something visible"),
        ([], "at least one image"),
    ]
    for frames, message in cases:
        with pytest.raises(FormatError, match=message):
            pipeline.run(frames)
    for coords, message in [
        ([[0, 1, 2, 16], [1, 0, 0, 0]], "below 16"),
        ([[0, 1, 2, 3], [4, 0, 0, 0]], "slots from 0 to 3"),
        ([[1, 1, 2, 3], [0, 0, 0, 0]], "ascending order"),
    ]:
        with pytest.raises(FormatError, match=message):
            pipeline.run(disc(), coords=torch.tensor(coords, dtype=torch.int32))
    with pytest.raises(FormatError, match=r'"auto", "cpu"'):
        choose_device("cqu")


@pytest.mark.parametrize("name", ["FlowEulerSampler", "FlowEulerCfgSampler"])
def test_every_sampler_that_a_checkpoint_can_name_runs(copy: Path, name: str) -> None:
    data = json.loads((copy / "pipeline.json").read_text())
    for stage in ("sparse_structure_sampler", "slat_sampler"):
        data["args"][stage]["name"] = name
    (copy / "pipeline.json").write_text(json.dumps(data))
    assert len(SS4DPipeline.from_pretrained(copy, device="cpu").run(disc(2)).gaussians) == 2


# checkpoints


def test_saving_what_was_loaded_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(folder)
    save_checkpoint(checkpoint, tmp_path)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names == sorted(checkpoint.files) and len(names) == 11
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name
    assert load_checkpoint(tmp_path).files == checkpoint.files


def test_a_file_that_does_not_fit_is_reported_by_name(copy: Path) -> None:
    path = copy / "ckpts/slat_flow_video_4d.safetensors"
    tensors = load_file(path)
    tensors["blocks.0.norm2.gain"] = tensors.pop("blocks.0.norm2.weight")
    tensors["out_layer.bias"] = torch.zeros(9)
    save_file(tensors, path)
    with pytest.raises(FormatError) as caught:
        load_checkpoint(copy)
    text = str(caught.value)
    assert "missing: 1\n    blocks.0.norm2.weight" in text and "unexpected: 1\n    blocks.0.norm2.gain" in text
    assert "out_layer.bias: file [9], network [8]" in text


def test_nothing_is_loaded_when_something_is_amiss() -> None:
    layer = torch.nn.Linear(2, 2)
    before = layer.weight.clone()
    with pytest.raises(FormatError, match="missing: 1"):
        load_strictly(layer, {"weight": torch.ones(2, 2)}, "x")
    with pytest.raises(FormatError, match="floating-point"):
        load_strictly(layer, {"weight": torch.ones(2, 2, dtype=torch.int64), "bias": torch.ones(2)}, "x")
    assert torch.equal(layer.weight, before)


def test_other_types_are_cast_and_counted(copy: Path) -> None:
    path = copy / "ckpts/slat_dec_gs_4d.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
    checkpoint = load_checkpoint(copy)
    assert {t.dtype for t in checkpoint.models["slat_decoder_gs"].network.state_dict().values()} == {torch.float32}
    assert "float16 -> float32: 21" in checkpoint.report()


def edited(folder: Path, name: str, change) -> Path:  # type: ignore[no-untyped-def]
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("pipeline.json", lambda d: d["args"].pop("slat_sampler"), "slat_sampler"),
        ("pipeline.json", lambda d: d["args"]["models"].pop("slat_flow_model"), r"no \['slat_flow_model'\]"),
        ("pipeline.json", lambda d: d["args"]["slat_sampler"].update(name="Ddim"), "Ddim"),
        ("pipeline.json", lambda d: d["args"]["slat_sampler"]["params"].update(cfg=1), "cfg"),
        ("pipeline.json", lambda d: d["args"]["slat_sampler"]["params"].update(steps=0), "at least one step"),
        ("pipeline.json", lambda d: d["args"]["slat_normalization"].update(std=[0] * 8), "std positive"),
        ("pipeline.json", lambda d: d["args"]["models"].update(slat_flow_model="../x"), "inside the checkpoint"),
        ("pipeline.json", lambda d: d["args"]["models"].update(slat_flow_model="/etc/x"), "inside the checkpoint"),
        ("pipeline.json", lambda d: d["args"]["models"].update(slat_flow_model="ckpts/no"), "no such file"),
        ("ckpts/slat_dec_gs_4d.json", lambda d: d.update(name="SLatFlow4DModel"), "SLatGaussianDecoder"),
        ("ckpts/slat_dec_gs_4d.json", lambda d: d["args"].update(colour=1), "colour"),
        ("ckpts/image_encoder.json", lambda d: d["args"].update(colour=1), "colour"),
    ],
)
def test_a_wrong_description_is_refused_by_name(copy: Path, name: str, change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(FormatError, match=message):
        load_checkpoint(edited(copy, name, change))


def test_what_is_not_used_is_said(copy: Path) -> None:
    def more(data: dict) -> None:
        data["args"]["models"]["slat_decoder_mesh"] = "ckpts/mesh"
        data["args"]["extra"] = 1

    assert load_checkpoint(edited(copy, "pipeline.json", more)).unused == ("extra", "model slat_decoder_mesh")


def test_sources_that_are_no_checkpoint(tmp_path: Path, folder: Path) -> None:
    for source, revision, message in [
        (tmp_path, None, "no such file"),
        ("nowhere", None, "owner/name"),
        ("../a/b", None, "owner/name"),
        (folder, "main", "no revision for a folder"),
    ]:
        with pytest.raises(FormatError, match=message):
            load_checkpoint(source, revision)


def test_a_hub_repository_is_read_file_by_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str | None]] = []

    def fetch(repository: str, name: str, revision: str | None) -> Path:
        asked.append((repository, name, revision))
        return folder / name

    monkeypatch.setattr("ss4d.checkpoint.fetch", fetch)
    checkpoint = load_checkpoint("someone/model", "0123abc")
    assert {(r, v) for r, _, v in asked} == {("someone/model", "0123abc")}
    assert sorted(name for _, name, _ in asked) == sorted(checkpoint.files)


def test_a_hub_that_does_not_answer_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = importlib.import_module("huggingface_hub")

    def offline(*_: object, **__: object) -> str:
        raise hub.errors.LocalEntryNotFoundError("no network\nand more")

    monkeypatch.setattr(hub, "hf_hub_download", offline)
    with pytest.raises(FormatError, match=r"someone/model/pipeline\.json at 0123abc.*Without a network: copy"):
        load_checkpoint("someone/model", "0123abc")


def test_a_model_of_another_repository(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ss4d.checkpoint.fetch", lambda repository, name, revision: copy / name)
    path = "someone/model/ckpts/ss_dec_conv3d_16l8_fp16"
    edited(copy, "pipeline.json", lambda d: d["args"]["models"].update(sparse_structure_decoder=path))
    assert f"{path}.safetensors" in load_checkpoint(copy).files


def test_no_code_inside_a_file_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "trace",)

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "torn.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("evil.pth", "torn.safetensors", "list.pth", "none.pth"):
        with pytest.raises(FormatError):
            read_tensors(tmp_path / name)
    assert not (tmp_path / "trace").exists()


# TRELLIS's layout


@pytest.fixture
def trellis(copy: Path) -> Path:
    """The tiny checkpoint as TRELLIS would hold it: its class names, no argument or tensor for time."""

    def forget(data: dict) -> None:
        for key in ("expand_self_attn", "window_size", "conv_type", "num_io_res4d_blocks", "io_block_channels_t"):
            if not (key == "window_size" and "representation_config" in data["args"]):
                data["args"].pop(key, None)
        data["args"].pop("pe_mode")

    def rename(data: dict) -> None:
        data["name"] = {"SparseStructureFlow4DModel": "SparseStructureFlowModel"}.get(data["name"], "SLatFlowModel")

    for name in ("ss_flow_video_4d", "slat_flow_video_4d", "slat_dec_gs_4d"):
        edited(copy, f"ckpts/{name}.json", forget)
    for name in ("ss_flow_video_4d", "slat_flow_video_4d"):
        edited(copy, f"ckpts/{name}.json", rename)
    path = copy / "ckpts/slat_flow_video_4d.safetensors"
    old = {name: tensor for name, tensor in load_file(path).items() if "_blocks_t." not in name}
    save_file(old, path)
    return copy


def test_trellis_becomes_4d_and_new_blocks_begin_as_documented(trellis: Path, folder: Path) -> None:
    checkpoint = load_checkpoint(trellis, warm_start="identity")
    model = checkpoint.models["slat_flow_model"]
    state, old = model.network.state_dict(), load_file(folder / "ckpts/slat_flow_video_4d.safetensors")
    report = next(report for report in checkpoint.reports if "slat_flow" in report.where)
    new = set(report.initialised)
    assert new and new == {name for name in state if "_blocks_t." in name}
    assert all(torch.equal(state[name], old[name]) for name in state if name not in new)
    for name in new:
        if ".conv2." in name:
            assert not state[name].any()
        if ".skip_connection.weight" in name:
            width = len(state[name])
            assert torch.equal(state[name], torch.cat([torch.eye(width), torch.zeros(width, width)], 1))
    assert model.name == "SLatFlow4DModel" and model.args["conv_type"] == "3D_1D"
    assert checkpoint.models["sparse_structure_flow_model"].args["window_size"] == 8
    assert len(SS4DPipeline(checkpoint).run(disc(2)).gaussians) == 2


def test_xavier_is_the_default_warm_start_and_other_gaps_are_errors(trellis: Path) -> None:
    network = load_checkpoint(trellis).models["slat_flow_model"].network
    skip = network.out_blocks_t[0].skip_connection
    again = load_checkpoint(trellis).models["slat_flow_model"].network
    assert torch.equal(skip.weight, again.out_blocks_t[0].skip_connection.weight)
    assert skip.weight.std() > 0.05 and not skip.bias.any()
    with pytest.raises(FormatError, match='"xavier" or "identity"'):
        load_checkpoint(trellis, warm_start="zero")  # type: ignore[arg-type]
    path = trellis / "ckpts/slat_flow_video_4d.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if name != "out_layer.bias"}, path)
    with pytest.raises(FormatError, match=r"missing: 1\n    out_layer\.bias"):
        load_checkpoint(trellis)


def test_4d_classes_keep_their_arguments() -> None:
    args = {"resolution": 16, "pe_mode": "ape"}
    assert to_4d("SparseStructureFlow4DModel", args) == ("SparseStructureFlow4DModel", args)
    assert to_4d("SparseStructureDecoder", args) == ("SparseStructureDecoder", args)


# samplers


def samplers(folder: Path) -> tuple[SamplerSettings, SamplerSettings]:
    checkpoint = load_checkpoint(folder)
    return checkpoint.structure_sampler, checkpoint.latent_sampler


@pytest.mark.parametrize(("steps", "expected"), [(25, FAST_STEPS), (2, 2)])
def test_fast_takes_fewer_steps_and_never_more(folder: Path, steps: int, expected: int) -> None:
    pipeline = SS4DPipeline.from_pretrained(folder, device="cpu")
    pipeline.sample_with(steps)
    pipeline.sample_fast()
    found = pipeline.checkpoint.structure_sampler, pipeline.checkpoint.latent_sampler
    assert found == tuple(replace(settings, steps=expected) for settings in samplers(folder))


def test_sampler_settings_survive_a_round_trip() -> None:
    settings = SamplerSettings(steps=7, cfg_interval=(0.25, 0.75))
    assert SamplerSettings.from_json(settings.to_json(), "x") == settings
