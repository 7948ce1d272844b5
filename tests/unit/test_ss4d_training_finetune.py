"""Fine-tuning: flows that begin with a released checkpoint, and that take an image encoder as it is."""

# ruff: noqa: F401, F811 (a fixture that is imported, and used as an argument)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench4d.errors import FormatError
from bench4d.files import read_json
from ss4d.checkpoint import DINO, load_checkpoint
from ss4d.image_encoder import SmallEncoderConfig, SmallImageEncoder
from ss4d.random_checkpoint import write_random_checkpoint
from ss4d.training.__main__ import main
from ss4d.training.assemble import assemble
from ss4d.training.config import Section, parse_section, read_training
from ss4d.training.evaluate_flow import evaluate_flow
from ss4d.training.export import begin_with, export
from ss4d.training.flow import Frozen
from ss4d.training.latent_flow import LatentFlow
from ss4d.training.structure_flow import StructureFlow
from ss4d.training.trainer import Options, train
from tests.toy_flows import CPU, LOSS, NETWORKS, TRAIN, autoencoders, encoded, section


def without_encoder(**settings: Any) -> Section:
    networks = {"structure_flow": NETWORKS["structure_flow"]["structure_flow"]}
    return parse_section("structure_flow", {"networks": networks, "train": TRAIN | settings, "loss": LOSS}, 8, "toy")


@pytest.fixture
def frozen() -> Frozen:
    torch.manual_seed(3)
    args = NETWORKS["structure_flow"]["image_encoder"]
    return Frozen(SmallImageEncoder.from_args(args).eval().requires_grad_(False), "a" * 64)


def test_an_encoder_that_is_taken_as_it_is_stays_so(tmp_path: Path, autoencoders: Path, frozen: Frozen) -> None:
    store, before = encoded(), {name: x.clone() for name, x in frozen.network.state_dict().items()}
    task = StructureFlow(without_encoder(steps=3), CPU, store, autoencoders, frozen)
    average = train(task, store, tmp_path / "structure", CPU)
    assert set(average) == {"structure_flow", "normalisation"}
    assert all(torch.equal(x, before[name]) for name, x in frozen.network.state_dict().items())
    assert [path.name for path in export(tmp_path / "structure", tmp_path / "out")] == ["structure_flow.safetensors"]
    found = evaluate_flow(tmp_path / "structure", store, CPU, autoencoders, tmp_path / "figures", encoder=frozen)
    assert 0 <= found.figures["iou"] <= 1
    other = StructureFlow(without_encoder(steps=3), CPU, store, autoencoders, frozen._replace(sha256="b" * 64))
    with pytest.raises(FormatError, match="image_encoder"):  # another encoder is another run
        train(other, store, tmp_path / "structure", CPU, Options(resume=True))


def test_what_the_encoder_sees_decides_the_loss(frozen: Frozen) -> None:
    """The frozen encoder is used, not one of the section's."""
    store = encoded()
    torch.manual_seed(4)
    another = Frozen(SmallImageEncoder(frozen.network.config).eval(), "c" * 64)  # type: ignore[arg-type]
    velocities = []
    for encoder in (frozen, another, frozen):
        task = StructureFlow(without_encoder(), CPU, store, None, encoder)
        with torch.no_grad():
            for parameter in task.networks.parameters():  # zeros end every branch of new networks
                parameter.add_(torch.linspace(-0.1, 0.1, parameter.numel()).view_as(parameter))
        velocities.append(task.sample(task.networks, store, 0))
    assert torch.equal(velocities[0], velocities[2]) and not torch.allclose(velocities[0], velocities[1])


def test_one_encoder_or_the_other(autoencoders: Path, frozen: Frozen) -> None:
    for chosen, encoder, found in ((section("structure_flow"), frozen, "both"), (without_encoder(), None, "neither")):
        with pytest.raises(FormatError, match=found):
            StructureFlow(chosen, CPU, encoded(), autoencoders, encoder)


def test_runs_with_dinov2_become_a_checkpoint_that_names_it(tmp_path: Path, autoencoders: Path, frozen: Frozen) -> None:
    store = encoded()
    train(StructureFlow(without_encoder(steps=1), CPU, store, None, frozen), store, tmp_path / "structure", CPU)
    for name, encoder in (("latent", frozen), ("other", frozen._replace(sha256="b" * 64))):
        task = LatentFlow(section("latent_flow", steps=1), CPU, store, autoencoders, encoder)
        train(task, store, tmp_path / name, CPU)
    assemble(autoencoders, tmp_path / "structure", tmp_path / "latent", tmp_path / "out")
    assert read_json(tmp_path / "out/pipeline.json")["args"]["image_cond_model"] == DINO
    assert not (tmp_path / "out/image_encoder.json").exists()
    with pytest.raises(FormatError, match=r"a{64}"):
        assemble(autoencoders, tmp_path / "structure", tmp_path / "other", tmp_path / "mixed")


def test_released_layouts_are_what_fine_tuning_begins_with(tmp_path: Path) -> None:
    """Weights and units of the latents; what is assembled without further training is the checkpoint again."""
    write_random_checkpoint(tmp_path / "released", "tiny")
    arguments = ["begin", "--checkpoint", str(tmp_path / "released"), "--out", str(tmp_path / "begin")]
    main(arguments)
    released = load_checkpoint(tmp_path / "released")
    store = encoded()
    doubled = {name: torch.cat([store.tensors[name]] * 2, 1) for name in ("latents", "structure_latents")}
    unit = {key: (float(key == "std"),) * 8 for key in ("mean", "std")}
    store = replace(store, tensors={**store.tensors, **doubled}, normalisation=unit)
    roles = {"structure_flow": "sparse_structure_flow_model", "latent_flow": "slat_flow_model"}
    for name, role in roles.items():
        networks = {name: dict(released.models[role].args)}
        chosen = parse_section(name, {"networks": networks, "train": TRAIN, "loss": LOSS}, 16, "toy")
        encoder = Frozen(released.image_encoder, "a" * 64)
        task: Any = (StructureFlow if name == "structure_flow" else LatentFlow)(
            chosen, CPU, store, tmp_path / "begin", encoder
        )
        begun = begin_with(task.networks, chosen, tmp_path / "begin")
        assert sorted(begun) == sorted([name, "normalisation"])
        for key, tensor in released.models[role].network.state_dict().items():
            assert torch.equal(task.networks[name].state_dict()[key], tensor)
        units = task.networks["normalisation"]
        wanted = (released.mean, released.std) if name == "latent_flow" else ([0.0] * 8, [1.0] * 8)
        assert all(torch.allclose(x, torch.tensor(y)) for x, y in zip((units.mean, units.std), wanted, strict=True))


def test_full_configuration_takes_dinov2() -> None:
    sections = {name: read_training("full", name) for name in ("structure_flow", "latent_flow")}
    assert all(list(chosen.networks) == [name] for name, chosen in sections.items())
    assert all(chosen.networks[name]["cond_channels"] == 1024 for name, chosen in sections.items())
    small = SmallEncoderConfig()
    assert sections["structure_flow"].networks["structure_flow"]["cond_channels"] != small.width


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "TypeError"),
        ('{"latent_flow": {"mean": [0, 0, 0, 0]}}', "KeyError: 'std'"),
        ('{"latent_flow": {"mean": [0, 0, 0, "x"], "std": [1, 1, 1, 1]}}', "could not convert"),
        ('{"latent_flow": {"mean": [0, 0, 0, 0], "std": [1, 1, 0, 1]}}', "positive deviations"),
        ('{"latent_flow": {"mean": [0, 0, 0, 0], "std": [1, 1, 1, 1e999]}}', "number 1e999"),
        ('{"latent_flow": {"mean": [0, 0, 0], "std": [1, 1, 1]}}', "mean"),
    ],
)
def test_spoilt_units_are_named(tmp_path: Path, autoencoders: Path, text: str, message: str) -> None:
    store = encoded()
    task = LatentFlow(section("latent_flow", steps=1), CPU, store, autoencoders)
    train(task, store, tmp_path / "run", CPU)
    export(tmp_path / "run", tmp_path / "begin")
    (tmp_path / "begin/normalisation.json").write_text(text)
    with pytest.raises(FormatError, match=message) as error:
        begin_with(task.networks, task.section, tmp_path / "begin")
    assert "normalisation.json" in str(error.value)
