"""Trainings in parts: lengths of clips that grow, an encoder that is frozen, runs that stop on the way and go on."""

# ruff: noqa: F401, F811 (a fixture that is imported, and used as an argument)

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file

from bench4d.errors import FormatError
from bench4d.files import read_json
from ss4d.checkpoint import NETWORKS, Model, save_model
from ss4d.training import state
from ss4d.training.__main__ import main
from ss4d.training.assemble import assemble
from ss4d.training.config import CLASSES, read_training, with_half
from ss4d.training.evaluate_flow import evaluate_flow
from ss4d.training.export import export, halve, read_network, slim
from ss4d.training.order import rows
from ss4d.training.trainer import Options, World, train
from tests.toy_flows import CPU, autoencoders, encoded, make, same, section

pytestmark = pytest.mark.usefixtures("one_thread")

GROWING = [
    [2, 2, 4],
    [4, 4, 2],
]  # steps 0 and 1: 4 clips of 2 frames; 2 and 3: 2 of 4; then train.clips of train.frames


def test_phases_number_the_rows_without_gaps() -> None:
    settings = section("structure_flow", curriculum=GROWING, clips=1, frames=6).train
    shapes = [(settings.phase(step).clips, settings.phase(step).frames) for step in range(6)]
    assert shapes == [(4, 2), (4, 2), (2, 4), (2, 4), (1, 6), (1, 6)]
    drawn = []
    for step in range(6):
        phase = settings.phase(step)
        drawn += rows(7, step - phase.begin, phase.clips, [8] * 5, phase.frames, phase.before).clips
    assert len(drawn) == 14 and all(sorted(drawn[k : k + 5]) == [0, 1, 2, 3, 4] for k in (0, 5))
    assert drawn == rows(7, 0, 14, [8] * 5, 2).clips
    with pytest.raises(FormatError, match=r"train\.curriculum"):
        section("structure_flow", curriculum=[[4, 2, 4], [2, 4, 2]])
    with pytest.raises(FormatError, match=r"train\.freeze"):
        section("structure_flow", freeze="structure_decoder", freeze_after=2)


@pytest.mark.parametrize(("name", "stop"), [("structure_flow", 3), ("latent_flow", 4)])
def test_a_run_in_parts_ends_with_the_same_bits(tmp_path: Path, name: str, stop: int, autoencoders: Path) -> None:
    """Stopped inside a phase, where the encoder freezes, and at a border."""
    store, ends = encoded(clips=3, frames=6), []
    settings = {"curriculum": GROWING, "steps": 6, "frames": 6, "clips": 2}
    settings |= {"freeze": "image_encoder", "freeze_after": 3} if name == "structure_flow" else {}
    for run, untils in (("straight", [None]), ("parts", [stop, None])):
        for until in untils:
            task = make(name, store, autoencoders, **settings)
            options = Options(until=until, resume=run == "parts" and until is None)
            average = train(task, store, tmp_path / run, CPU, options)
            assert until is None or state.latest(tmp_path / run).name == f"step-{until:08d}"
        ends.append((task.networks.state_dict(), average.state_dict()))
    assert same(ends[0][0], ends[1][0]) and same(ends[0][1], ends[1][1])
    lines = [json.loads(line) for line in (tmp_path / "straight" / "log.jsonl").read_text("utf-8").splitlines()]
    frames = [round(line["frames_per_s"] * line["ms"] / 1000) for line in lines]
    assert frames == [8, 8, 8, 8, 12, 12]


def test_a_frozen_encoder_is_its_average_and_stays(tmp_path: Path) -> None:
    store, held = encoded(clips=3), []
    for until in (2, 5):
        task = make("structure_flow", store, steps=5, freeze="image_encoder", freeze_after=2)
        train(task, store, tmp_path, CPU, Options(until=until, resume=until > 2))
        path = state.latest(tmp_path)
        files = [load_file(path / f"{kind}.safetensors") for kind in ("networks", "average")]
        held.append([{k: x for k, x in file.items() if k.startswith("image_encoder.")} for file in files])
    (early, early_average), (late, late_average) = held
    assert not same(early, early_average)  # until then it is trained
    assert same(late, late_average) and same(late, early_average)
    flows = [
        task.networks["structure_flow"].state_dict(),
        make("structure_flow", store).networks["structure_flow"].state_dict(),
    ]
    assert not same(*flows)


def test_what_is_frozen_from_the_start_keeps_its_bits(tmp_path: Path) -> None:
    task = make("structure_flow", encoded(clips=3), steps=2, freeze="image_encoder")
    before = {name: network.state_dict() for name, network in copy.deepcopy(task.networks).items()}
    average = train(task, encoded(clips=3), tmp_path, CPU)
    for networks in (task.networks, average):
        assert same(networks["image_encoder"].state_dict(), before["image_encoder"])
        assert not same(networks["structure_flow"].state_dict(), before["structure_flow"])
    for wrong in ({"freeze_after": 3}, {"freeze": "image_encoder", "freeze_after": -1}):
        with pytest.raises(FormatError, match=r"train\.freeze"):
            section("structure_flow", **wrong)


def test_two_processes_freeze_as_one_does(tmp_path: Path) -> None:
    mp.spawn(frozen_run, (2, tmp_path / "two"), nprocs=2)  # type: ignore[no-untyped-call]
    frozen_run(0, 1, tmp_path / "one")
    averages = [load_file(state.latest(tmp_path / name) / "average.safetensors") for name in ("one", "two")]
    assert set(averages[0]) == set(averages[1])
    for name, tensor in averages[0].items():
        torch.testing.assert_close(averages[1][name], tensor, atol=2e-3, rtol=1e-2)


def frozen_run(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    try:
        store = encoded(clips=3, frames=4)
        task = make("structure_flow", store, steps=5, freeze="image_encoder", freeze_after=2, curriculum=[[3, 2, 4]])
        train(task, store, folder, CPU, Options(), world=World(rank, size))
    finally:
        if size > 1:
            dist.destroy_process_group()


def test_stages_beside_each_other_become_one_checkpoint(tmp_path: Path, autoencoders: Path) -> None:
    """The encoder is exported in half precision when it freezes; stage 1 goes on; thin copies of the runs suffice."""
    store, networks = encoded(), tmp_path / "networks"
    settings = {"steps": 4, "freeze": "image_encoder", "freeze_after": 2}
    train(make("structure_flow", store, **settings), store, tmp_path / "structure", CPU, Options(until=2))
    networks.mkdir()
    for file in autoencoders.iterdir():
        (networks / file.name).write_bytes(file.read_bytes())
    export(tmp_path / "structure", networks, "stored-half")
    assert load_file(networks / "image_encoder.safetensors")["patches.weight"].dtype == torch.float16
    encoder, _ = read_network(networks, "image_encoder", CPU.device)
    assert all(parameter.dtype == torch.float32 for parameter in encoder.parameters())
    train(make("latent_flow", store, networks, steps=2), store, tmp_path / "latent", CPU)
    train(make("structure_flow", store, **settings), store, tmp_path / "structure", CPU, Options(resume=True))
    for name in ("structure", "latent"):
        copy = slim(tmp_path / name, tmp_path / "slim" / name)
        whole = state.latest(tmp_path / name)
        assert (copy / "average.safetensors").stat().st_size < 0.6 * (whole / "average.safetensors").stat().st_size
    outs = []
    for runs in (tmp_path, tmp_path / "slim"):
        out = tmp_path / f"out{len(outs)}"
        assemble(networks, runs / "structure", runs / "latent", out, "stored-half")
        outs.append({file.stem: load_file(file) for file in out.glob("*.safetensors")})
    for name, tensors in outs[0].items():
        for key, tensor in tensors.items():  # the first and last layers have been rounded
            torch.testing.assert_close(outs[1][name][key].float(), tensor.float(), atol=1e-6, rtol=1e-3)
    assert len(outs[0]) == 7 and read_json(out / "pipeline.json") == read_json(tmp_path / "out0" / "pipeline.json")
    assemble(networks, tmp_path / "structure", tmp_path / "latent", out, changes=["loss.sampler.steps=3"])
    pipeline = read_json(out / "pipeline.json")["args"]
    assert [pipeline[f"{stage}_sampler"]["params"]["steps"] for stage in ("sparse_structure", "slat")] == [3, 3]
    # an encoder that has gone on learning is refused
    loose = {**settings, "freeze": "", "freeze_after": 0}
    train(make("structure_flow", store, **loose), store, tmp_path / "loose", CPU)
    with pytest.raises(FormatError, match="image encoder"):
        assemble(networks, tmp_path / "loose", tmp_path / "latent", tmp_path / "mixed")


@pytest.mark.parametrize(("name", "figure"), [("structure_flow", "iou"), ("latent_flow", "psnr")])
def test_evaluation_measures_the_average_of_a_run(
    tmp_path: Path,
    name: str,
    figure: str,
    autoencoders: Path,
) -> None:
    store = encoded()
    task = make(name, store, autoencoders, steps=2)
    average = train(task, store, tmp_path / "run", CPU, validation=store)
    found = evaluate_flow(tmp_path / "run", store, CPU, autoencoders, tmp_path / "out", 1)
    assert found.figures[figure] == pytest.approx(task.validate(average, store, [0])[figure], rel=1e-5)
    assert "G3" in str(found) or "G4" in str(found)
    assert (tmp_path / "out" / "sheet-0000.png").is_file() and list(found.clips) == ["toy-0"]
    fewer = evaluate_flow(tmp_path / "run", store, CPU, autoencoders, tmp_path / "fewer", 1, ["loss.sampler.steps=1"])
    assert name == "latent_flow" or fewer.figures != found.figures  # an untrained decoder does not care
    assert json.loads((tmp_path / "fewer" / "figures.json").read_text("utf-8"))["sampler"]["params"]["steps"] == 1
    with pytest.raises(SystemExit, match="--run"):
        main(["evaluate", name, "--checkpoint", str(autoencoders), "--data", "x", "--out", "y", "--device", "cpu"])


def test_shipped_weights_stay_small(tmp_path: Path) -> None:
    """As they are exported: at most 26 MB altogether, each below 15 MiB."""
    shipped = Path(__file__).parents[2] / "ss4d" / "checkpoints" / "tiny"
    sizes = {file.name: file.stat().st_size for file in shipped.glob("*.safetensors")}
    for family in ("structure_flow", "latent_flow"):
        for name, args in read_training("tiny", family).networks.items():
            network = NETWORKS[CLASSES[name]].from_args(with_half(name, args, True))  # type: ignore[attr-defined]
            network = halve(network) if name == "image_encoder" else network
            save_model(tmp_path, Model(name, CLASSES[name], args, network))
            sizes[f"{name}.safetensors"] = (tmp_path / f"{name}.safetensors").stat().st_size
    assert len(sizes) == 7 and sum(sizes.values()) <= 26e6 and max(sizes.values()) < 15 * 2**20
