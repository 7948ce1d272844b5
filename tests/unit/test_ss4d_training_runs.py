"""SS4D's trainings as runs: they learn, stop and go on exactly, split over processes, and end in usable weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file

from bench4d.errors import FormatError
from ss4d.checkpoint import NETWORKS
from ss4d.data.store import Store
from ss4d.loading import load_strictly, read_tensors
from ss4d.training import losses, state
from ss4d.training.__main__ import main
from ss4d.training.export import export, read_networks
from ss4d.training.latent_vae import LatentVAE
from ss4d.training.structure_vae import StructureVAE, reconstruct
from ss4d.training.task import Backend
from ss4d.training.trainer import Options, train
from tests.toy_store import toy_store, write_store
from tests.toy_training import SECTIONS, make_task, section, train_as

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = Backend.of("cpu")
VAES = ("structure_vae", "latent_vae")
CONFIG = Path(__file__).parents[2] / "ss4d" / "configs" / "tiny.json"


def log(run: Path, kind: str = "train") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    return [line for line in lines if line["kind"] == kind]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


# ---- learning --------------------------------------------------------------------------------------------------------


def test_structure_vae_overfits_one_clip(tmp_path: Path) -> None:
    settings = {"steps": 120, "clips": 1, "frames": 4, "lr": 1e-2, "warmup": 10, "log_every": 1, "clip_window": 1000}
    task, store = make_task("structure_vae", **settings), toy_store(clips=1)
    train(task, store, tmp_path, CPU, validation=store)
    lines = log(tmp_path)
    assert len(lines) == 120 and lines[-1]["loss"] < lines[0]["loss"] / 10
    assert lines[-1]["loss"] == pytest.approx(lines[-1]["dice"] + 1e-3 * lines[-1]["kl"], rel=1e-5)
    assert log(tmp_path, "validation")[-1]["iou"] > 0.85
    assert next((tmp_path / "pictures").glob("*.png")).stat().st_size > 500


def test_latent_vae_overfits_one_clip(tmp_path: Path) -> None:
    settings = {"steps": 120, "clips": 1, "frames": 2, "lr": 5e-3, "warmup": 10, "log_every": 1, "clip_window": 1000}
    task, store = make_task("latent_vae", **settings), toy_store(clips=1, frames=2)
    train(task, store, tmp_path, CPU, validation=store)
    lines = log(tmp_path)
    assert np.mean([line["loss"] for line in lines[-5:]]) < lines[0]["loss"] / 10
    expected = {"l1": 1.0, "ssim": 0.2, "kl": 1e-6, "volume": 1.0, "opacity": 1e-3}
    assert lines[-1]["loss"] == pytest.approx(sum(w * lines[-1][name] for name, w in expected.items()), rel=1e-5)
    validation = log(tmp_path, "validation")[-1]
    assert validation["psnr"] > 28 and validation["ssim"] > 0.93


# ---- stopping and going on -------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def kill_at(task: Any, step: int) -> None:
    """Let the loss of a step fail, as a killed process would: after the last checkpoint, before the next."""
    loss = task.loss

    def failing(networks: Any, inputs: Any, number: int, draws: Any) -> Any:
        if number == step:
            raise Killed
        return loss(networks, inputs, number, draws)

    task.loss = failing


@pytest.mark.parametrize("name, optimiser", [(name, "adamw") for name in VAES] + [("latent_vae", "muon")])
def test_resumed_run_ends_with_the_same_bits(tmp_path: Path, name: str, optimiser: str) -> None:
    store, steps = toy_store(clips=3), 5
    kill = int(np.random.default_rng(os.getpid()).integers(3, steps))  # after the first checkpoint
    straight = make_task(name, steps=steps, optimiser=optimiser)
    average = train(straight, store, tmp_path / "straight", CPU)
    broken = make_task(name, steps=steps, optimiser=optimiser)
    kill_at(broken, kill)
    with pytest.raises(Killed):
        train(broken, store, tmp_path / "broken", CPU)
    (tmp_path / "broken" / "checkpoints" / ".step-00000006").mkdir()  # a checkpoint that was being written
    assert state.latest(tmp_path / "broken").name == f"step-{kill // 2 * 2:08d}"
    resumed = make_task(name, steps=steps, optimiser=optimiser)
    again = train(resumed, store, tmp_path / "broken", CPU, Options(resume=True))
    assert same(straight.networks.state_dict(), resumed.networks.state_dict()), f"killed at step {kill}"
    assert same(average.state_dict(), again.state_dict())
    assert not same(average.state_dict(), straight.networks.state_dict())
    folders = [state.latest(tmp_path / run) for run in ("straight", "broken")]
    optimisers = [load_file(folder / "optimiser.safetensors") for folder in folders]
    assert any(key.startswith("momentum_buffer") for key in optimisers[0]) == (optimiser == "muon")
    assert same(*optimisers) and int(optimisers[0]["clip.seen"]) == steps
    assert len(state.checkpoints(tmp_path / "broken")) == 2  # train.keep


def test_run_stops_in_time_and_finishes_later(tmp_path: Path) -> None:
    store = toy_store()
    train(make_task("structure_vae"), store, tmp_path / "a", CPU, Options(minutes=0.0))
    assert state.latest(tmp_path / "a").name == "step-00000002"  # at the first line of the log
    train(make_task("structure_vae"), store, tmp_path / "a", CPU, Options(resume=True))
    train(make_task("structure_vae"), store, tmp_path / "a", CPU, Options(resume=True))  # nothing is left to do
    train(make_task("structure_vae"), store, tmp_path / "b", CPU)
    networks = [load_file(state.latest(tmp_path / run) / "networks.safetensors") for run in "ab"]
    assert same(*networks)


def test_mistakes_are_named(tmp_path: Path) -> None:
    store = toy_store()
    train(make_task("structure_vae", steps=2), store, tmp_path, CPU)
    with pytest.raises(FormatError, match="--resume"):
        train(make_task("structure_vae"), store, tmp_path, CPU)
    with pytest.raises(FormatError, match=r"other values of train\.lr"):
        train(make_task("structure_vae", lr=1.0), store, tmp_path, CPU, Options(resume=True))
    with pytest.raises(FormatError, match=r"other values of data\.clips"):
        train(make_task("structure_vae"), toy_store(clips=1), tmp_path, CPU, Options(resume=True))
    with pytest.raises(FormatError, match="multiple of the parts"):
        train(make_task("structure_vae"), store, tmp_path / "new", CPU, Options(accumulate=3))
    with pytest.raises(FormatError, match="resolution 8"):
        train(make_task("structure_vae"), toy_store(1, 2, resolution=16), tmp_path / "new", CPU)
    with pytest.raises(FormatError, match="at least one checkpoint"):
        train(make_task("structure_vae"), store, tmp_path / "new", CPU, Options(resume=True))
    with pytest.raises(FormatError, match=r"finite.*lower train\.lr"):
        train(make_task("structure_vae", lr=1e30), store, tmp_path / "wild", CPU)


# ---- several processes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["structure_vae", "latent_vae"])
def test_parts_of_a_batch_add_up(tmp_path: Path, name: str) -> None:
    store = toy_store()
    whole, parts = make_task(name), make_task(name)
    train(whole, store, tmp_path / "whole", CPU)
    train(parts, store, tmp_path / "parts", CPU, Options(accumulate=2))
    _check_close(whole.networks.state_dict(), parts.networks.state_dict())


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    mp.spawn(train_as, (2, "structure_vae", tmp_path), nprocs=2)
    task = make_task("structure_vae")
    average = train(task, toy_store(), tmp_path / "one", CPU)
    _check_close(task.networks.state_dict(), load_file(tmp_path / "networks.safetensors"))
    _check_close(average.state_dict(), load_file(tmp_path / "average.safetensors"))
    one, two = log(tmp_path / "one"), log(tmp_path / "run")
    assert [line["step"] for line in one] == [line["step"] for line in two] == [2, 4]
    assert one[-1]["loss"] == pytest.approx(two[-1]["loss"], rel=1e-4)


def _check_close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    """AdamW divides by the gradients' size, which turns rounding into steps of the learning rate where gradients are
    next to nothing: all but few numbers agree closely, and none differs by more than a fraction of the way gone."""
    start = make_task("structure_vae" if any("structure" in name for name in a) else "latent_vae").networks.state_dict()
    difference = torch.cat([(a[name] - b[name]).abs().flatten() for name in a])
    way = torch.cat([(a[name] - start[name]).abs().flatten() for name in a])
    assert way.max() > 5e-3
    assert difference.quantile(0.99) < 1e-5 and difference.max() < 0.2 * way.max()


# ---- GPU -------------------------------------------------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@needs_gpu
def test_gpu_trains_as_the_cpu_does(tmp_path: Path) -> None:
    """In float32 with plain kernels, up to the noise, which another generator draws there."""
    store, figures = toy_store(), []
    for backend in (CPU, replace(Backend.of("cuda"), precision="float32", attention="grouped", rasteriser="torch")):
        task = StructureVAE(section("structure_vae", steps=30, log_every=30, save_every=30, lr=1e-2), backend)
        train(task, on(store, backend.device), tmp_path / backend.device.type, backend)
        figures.append(log(tmp_path / backend.device.type)[-1]["dice"])
    assert figures[0] == pytest.approx(figures[1], rel=0.15)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("name", ["structure_vae", "latent_vae"])
def test_gpu_learns_with_its_own_kernels(tmp_path: Path, name: str) -> None:
    """bfloat16, attention in one launch, the CUDA rasteriser, inputs made on another stream."""
    if name == "latent_vae":
        pytest.importorskip("gsplat", reason="the package gsplat is missing")
    backend = Backend.of("cuda")
    store = on(toy_store(), backend.device)
    # Heads of 24 channels, batches of two clips: every step has other inputs than the one before.
    wanted = section(name, steps=300, log_every=10, save_every=300, validate_every=300, lr=5e-3, clip_window=1000)
    task = (StructureVAE if name == "structure_vae" else LatentVAE)(wanted, backend)
    average = train(task, store, tmp_path / "run", backend, validation=store)
    lines = log(tmp_path / "run")
    assert np.mean([line["loss"] for line in lines[-5:]]) < lines[0]["loss"] / 2
    again = (StructureVAE if name == "structure_vae" else LatentVAE)(wanted, backend)
    resumed = train(again, store, tmp_path / "run", backend, Options(resume=True))  # nothing is left to do
    assert same(average.state_dict(), resumed.state_dict())


def on(store: Store, device: torch.device) -> Store:
    return replace(store, tensors={name: tensor.to(device) for name, tensor in store.tensors.items()})


# ---- the command line, and what becomes of a run ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set on disk, and a configuration beside it."""
    folder = tmp_path_factory.mktemp("training")
    write_store(toy_store(), folder / "data")
    section = json.loads(CONFIG.read_text("utf-8"))["data"] | {"resolution": 8}
    (folder / "toy.json").write_text(json.dumps({"data": section, **SECTIONS}))
    return folder


@pytest.mark.parametrize("name", ["structure_vae", "latent_vae"])
def test_command_line_from_data_to_figures(data: Path, tmp_path: Path, name: str, capsys: Any) -> None:
    run, folder = tmp_path / "run", tmp_path / "checkpoint"
    common = ["--data", str(data / "data"), "--device", "cpu"]
    arguments = [name, "--config", str(data / "toy.json"), "--val", str(data / "data"), "--out", str(run), *common]
    main([*arguments, "--steps", "2", "--set", "train.ema=0.5"])
    main([*arguments, "--steps", "4", "--set", "train.ema=0.5", "--resume"])
    assert log(run)[-1]["step"] == 4 and "data" in json.loads((run / "config.json").read_text("utf-8"))
    main(["export", str(run), "--out", str(folder)])
    average = load_file(state.latest(run) / "average.safetensors")
    for network in SECTIONS[name]["networks"]:
        described = json.loads((folder / f"{network}.json").read_text("utf-8"))
        fresh = NETWORKS[described["name"]].from_args(described["args"])
        assert load_strictly(fresh, read_tensors(folder / f"{network}.safetensors"), folder).ok
        assert all(torch.equal(average[f"{network}.{key}"], x) for key, x in fresh.state_dict().items())
    capsys.readouterr()
    main(["evaluate", name, "--checkpoint", str(folder), "--out", str(tmp_path / "figures"), *common])
    gate = {"structure_vae": "G1: iou", "latent_vae": "G2: psnr"}[name]
    assert gate in capsys.readouterr().out
    record = json.loads((tmp_path / "figures" / "figures.json").read_text("utf-8"))
    assert set(record["clips"]) == {"toy-0", "toy-1"} and set(record["weights"]) == set(SECTIONS[name]["networks"])
    mean = np.mean(list(record["clips"].values()))
    assert record["figures"][gate.split()[1]] == pytest.approx(mean)
    assert (tmp_path / "figures" / "sheet-0000.png").is_file()


def test_half_precision_export(tmp_path: Path) -> None:
    store = toy_store()
    average = train(make_task("structure_vae"), store, tmp_path / "run", CPU)
    export(tmp_path / "run", tmp_path / "half", "half")
    networks, _ = read_networks(tmp_path / "half", "structure_vae", torch.device("cpu"))
    types = {name: tensor.dtype for name, tensor in networks["structure_decoder"].state_dict().items()}
    assert types["blocks.0.conv1.weight"] == torch.float16 and types["out_layer.2.weight"] == torch.float32
    for (truth, whole), (_, half) in zip(
        reconstruct(average, store, [0]), reconstruct(networks, store, [0]), strict=True
    ):
        torch.testing.assert_close(whole, half, atol=0.02, rtol=0.02)
        assert losses.iou(whole, truth).shape == (4,)
    export(tmp_path / "run", tmp_path / "stored", "stored-half")
    stored, _ = read_networks(tmp_path / "stored", "structure_vae", torch.device("cpu"))
    for name, network in networks.items():
        assert all(torch.equal(x.float(), stored[name].state_dict()[key]) for key, x in network.state_dict().items())


def test_errors_end_without_a_traceback(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ss4d.training", "structure_vae", "--config", "tiny", "--device", "cpu"]
    command += ["--data", str(data / "data"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CONFIG.parents[2])
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "expected resolution 32" in done.stderr and "found 8" in done.stderr
