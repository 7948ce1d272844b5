"""Attention and convolution chosen by name: from Python, from the command line and from a method's parameters."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from bench4d.errors import FormatError
from ss4d import adapters, pipeline, run
from ss4d.__main__ import main
from ss4d.attention import CrossAttention, SelfAttention
from ss4d.pipeline import SS4DPipeline
from ss4d.random_checkpoint import write_random_checkpoint
from ss4d.sparse import SparseConv

ROOT = Path(__file__).resolve().parents[2]
FOR_A_GPU = [("attention", name) for name in ("varlen", "xformers", "flash-attn")]
FOR_A_GPU += [("convolution", name) for name in ("triton", "spconv")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    write_random_checkpoint(path, "tiny", steps=2)
    return path


def test_choices_reach_every_layer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "check_choices", lambda *_: None)  # which refuses these on a CPU
    made = SS4DPipeline.from_pretrained(folder, device="cpu", attention="varlen", convolution="triton")
    networks = made.structure_flow, made.latent_flow, made.gaussian_decoder
    layers: list[Any] = [layer for network in networks for layer in network.modules()]
    attentions = [layer for layer in layers if isinstance(layer, SelfAttention | CrossAttention)]
    convolutions = [layer for layer in layers if isinstance(layer, SparseConv)]
    assert attentions and {layer.kernel for layer in attentions} == {"varlen"}
    assert convolutions and {layer.method for layer in convolutions} == {"triton"}


@pytest.mark.parametrize(("kind", "name"), FOR_A_GPU)
def test_what_needs_a_gpu_is_refused_before_anything_is_read(kind: str, name: Any, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=f'"{name}".*NVIDIA GPU.*cpu'):
        SS4DPipeline.from_pretrained(tmp_path / "nothing", device="cpu", **{kind: name})
    arguments = ["generate", str(tmp_path), "--checkpoint", str(tmp_path), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=f'"{name}".*NVIDIA GPU'):
        main([*arguments, "--device", "cpu", f"--{kind}", name])


@pytest.mark.parametrize("name", adapters.INSTALL)
def test_a_package_that_is_not_installed_is_named_with_its_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, command = adapters.INSTALL[name]
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(FormatError, match="the package") as error:
        adapters.require(name, torch.device("cuda"))
    assert name in str(error.value) and command in str(error.value)


def test_the_method_has_them_as_parameters(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = yaml.safe_load((ROOT / "ss4d/method.yaml").read_text("utf-8"))["parameters"]
    assert parameters["attention"] is None and parameters["convolution"] is None
    parameters |= {"checkpoint": str(folder), "device": "cpu", "convolution": "spconv"}
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"parameters": parameters, "weights": {}, "clips": []}), "utf-8")
    monkeypatch.setattr(sys, "argv", ["run.py", "--job", str(job)])
    with pytest.raises(FormatError, match=r'"spconv".*NVIDIA GPU'):
        run.main()
