"""How a training begins and computes: from exported weights, and with compiled blocks."""

# ruff: noqa: F401 (a fixture that is imported, and used as an argument)

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench4d.errors import FormatError
from bench4d.files import read_json, sha256_file, write_json
from ss4d.training.export import begin_with, export
from ss4d.training.structure_flow import StructureFlow
from ss4d.training.task import Draws, compile_blocks
from ss4d.training.trainer import Options, train
from tests.toy_flows import CPU, autoencoders, encoded, make, section


def test_training_begins_with_exported_weights(tmp_path: Path) -> None:
    store = encoded()
    average = train(make("structure_flow", store, steps=2, lr=1e-2), store, tmp_path / "first", CPU)
    export(tmp_path / "first", tmp_path / "weights")
    task = make("structure_flow", store, steps=2)
    init = begin_with(task.networks, task.section, tmp_path / "weights")
    assert init == {name: sha256_file(tmp_path / f"weights/{name}.safetensors") for name in init}
    assert sorted(init) == ["image_encoder", "structure_flow"]
    for name in init:
        for own, wanted in zip(task.networks[name].parameters(), average[name].parameters(), strict=True):
            assert own.requires_grad and torch.equal(own, wanted)
    train(task, store, tmp_path / "second", CPU, Options(init=init, until=1))
    assert read_json(tmp_path / "second/config.json")["init"] == init
    with pytest.raises(FormatError, match="init"):  # a run that began with other weights is another run
        train(make("structure_flow", store, steps=2), store, tmp_path / "second", CPU, Options(resume=True))


def test_what_a_folder_lacks_keeps_its_own_weights(tmp_path: Path) -> None:
    store = encoded()
    train(make("structure_flow", store, steps=2, lr=1e-2), store, tmp_path / "first", CPU)
    export(tmp_path / "first", tmp_path / "weights")
    (tmp_path / "weights/image_encoder.json").unlink()
    task, untouched = make("structure_flow", store), make("structure_flow", store)
    assert list(begin_with(task.networks, task.section, tmp_path / "weights")) == ["structure_flow"]
    own, other = (next(x.networks["image_encoder"].parameters()) for x in (task, untouched))
    assert torch.equal(own, other)
    with pytest.raises(FormatError, match=r"structure_encoder\.json or structure_decoder\.json"):
        begin_with(task.networks, replace(task.section, name="structure_vae"), tmp_path / "weights")
    described = read_json(tmp_path / "weights/structure_flow.json")
    described["args"]["num_blocks"] += 1
    write_json(tmp_path / "weights/structure_flow.json", described)
    with pytest.raises(FormatError, match=r"structure_flow\.safetensors"):
        begin_with(task.networks, task.section, tmp_path / "weights")


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler for TorchInductor")
def test_compiled_blocks_compute_the_same_gradients(tmp_path: Path) -> None:
    """For two lengths of clips, of which the second is another phase of a curriculum."""
    store, found = encoded(), []
    torch._dynamo.reset()
    for compiled in (False, True):
        task = StructureFlow(section("structure_flow"), CPU, store)
        with torch.no_grad():
            for parameter in task.networks.parameters():  # zeros end every branch of new networks
                parameter.add_(torch.linspace(-0.05, 0.05, parameter.numel()).view_as(parameter))
        if compiled:
            compile_blocks(task.networks)
        gradients = []
        for frames in (2, 1):
            batch = store.batch(torch.tensor([0, 1]), torch.tensor([0, 0]), frames)
            task.loss(task.networks, task.prepare(batch), 0, Draws([1, 2], CPU.device))["mse"].backward()
            gradients.append(torch.cat([p.grad.flatten() for p in task.networks.parameters() if p.grad is not None]))
        found.append(torch.stack(gradients))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert found[0].abs().max() > 1e-3
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-4)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler for TorchInductor")
def test_compiled_trainings_end_where_others_do(tmp_path: Path) -> None:
    """With counted products, moving averages, a freezing encoder and checkpoints, as in any training."""
    store, ends = encoded(), []
    torch._dynamo.reset()
    for compiled in (False, True):
        task = make("structure_flow", store, steps=3, freeze="image_encoder", freeze_after=2)
        average = train(task, store, tmp_path / str(compiled), replace(CPU, compile=compiled))
        ends.append(torch.cat([parameter.flatten() for parameter in average.parameters()]))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    difference = (ends[0] - ends[1]).abs()
    assert (
        difference.quantile(0.98) < 1e-5
    )  # AdamW's first steps are signs: where a gradient is nearly 0 they may differ
