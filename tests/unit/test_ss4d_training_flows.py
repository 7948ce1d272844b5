"""Trainings of SS4D's two flows: what they predict, what is drawn, that they learn, go on exactly and end in use."""

# ruff: noqa: F401, F811 (a fixture that is imported, and used as an argument)

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from bench4d.errors import FormatError
from ss4d.checkpoint import SamplerSettings, load_checkpoint
from ss4d.data.augment import on_black, spoilt
from ss4d.data.config import AugmentConfig, DataConfig
from ss4d.pipeline import SS4DPipeline
from ss4d.sampler import FlowEulerSampler
from ss4d.structure_vae import (
    SparseStructureDecoder,
    SparseStructureEncoder,
    StructureDecoderConfig,
    StructureEncoderConfig,
)
from ss4d.training import flow
from ss4d.training.__main__ import main
from ss4d.training.assemble import assemble
from ss4d.training.config import SECTIONS, read_training
from ss4d.training.export import export, read_network
from ss4d.training.latent_flow import LatentFlow
from ss4d.training.structure_flow import StructureFlow, fold_scale
from ss4d.training.task import Backend, Draws, build_networks
from ss4d.training.trainer import Options, train
from tests.toy_flows import CPU, LOSS, TRAIN, autoencoders, encoded, make, same, section

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- convention and draws --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [1e-5, 0.1])
def test_targets_are_what_the_sampler_integrates(sigma: float) -> None:
    """The field that predicts `target` for one x_0 leads from any noise to x_0 (and sigma of the noise)."""
    g = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 3, generator=g), torch.randn(2, 3, generator=g)

    def model(x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor, num_frames: int) -> torch.Tensor:
        time = (t / 1000)[:, None]
        own = (x - (1 - time) * x0) / (sigma + (1 - sigma) * time)  # the noise in x, by the definition of `noisy`
        return flow.target(x0, own, sigma)

    start, cond = flow.noisy(x0, noise, torch.ones(1), sigma), torch.zeros(2, 1, 1)
    found = FlowEulerSampler(sigma).sample(model, start, cond, steps=7, rescale_t=3.0, num_frames=2).x
    torch.testing.assert_close(found, x0 + sigma * noise, atol=1e-5, rtol=1e-5)
    # and the target is the derivative of the path in t
    h = 1e-3
    ahead, behind = (flow.noisy(x0.double(), noise.double(), torch.tensor(0.4 + d), sigma) for d in (h, -h))
    torch.testing.assert_close((ahead - behind).float() / (2 * h), flow.target(x0, noise, sigma), atol=2e-4, rtol=1e-3)


def test_draws_have_the_stated_distribution() -> None:
    options = flow.FlowLoss(unconditional=0.1)
    drawn = flow.draw(Draws(range(4000), CPU.device), options)
    logit = torch.logit(drawn.t.double())
    assert logit.mean() == pytest.approx(1.0, abs=0.07) and logit.std() == pytest.approx(1.0, abs=0.05)
    assert (~drawn.keep).double().mean() == pytest.approx(0.1, abs=0.02)
    assert abs(np.corrcoef(drawn.t, drawn.keep.double())[0, 1]) < 0.06
    again = flow.draw(Draws([17, 5], CPU.device), options)  # of a row alone: from its seed only
    assert torch.equal(again.t, drawn.t[[17, 5]]) and torch.equal(again.keep, drawn.keep[[17, 5]])


def test_times_and_dropped_conditions_are_those_of_clips() -> None:
    task, store = StructureFlow(section("structure_flow", {"unconditional": 0.5}), CPU, encoded(6, 4)), encoded(6, 4)
    seen: dict[str, Any] = {}
    network = task.networks["structure_flow"]
    names = ("x", "t", "cond", "frames")
    network.register_forward_pre_hook(lambda _, given: seen.update(zip(names, given, strict=True)))
    clips = torch.arange(6)
    batch = store.batch(clips, torch.zeros(6, dtype=torch.int64), 4)
    draws = Draws(range(20, 26), CPU.device)
    task.loss(task.networks, task.prepare(batch), 0, draws)
    drawn = flow.draw(Draws(range(20, 26), CPU.device), task.options)
    assert torch.equal(seen["t"].view(6, 4), 1000 * drawn.t[:, None].expand(6, 4)) and seen["frames"] == 4
    there = seen["cond"].view(6, 4, -1).abs().amax(2) > 0
    assert torch.equal(there, drawn.keep[:, None].expand(6, 4)) and 0 < drawn.keep.sum() < 6
    # x_t = (1 - t) x_0 + (sigma + (1 - sigma) t) noise with x_0 of deviation 1 in each channel, noise of frames unequal
    x0 = batch.structure_latents
    assert x0 is not None
    std = store.tensors["structure_latents"].double().std((0, 2, 3, 4), correction=0)
    t = drawn.t.repeat_interleave(4).view(-1, 1, 1, 1, 1).double()
    noise = (seen["x"] - (1 - t) * (x0 / std.view(-1, 1, 1, 1))) / (1e-5 + (1 - 1e-5) * t)
    assert noise.mean() == pytest.approx(0, abs=0.03) and noise.std() == pytest.approx(1, abs=0.03)
    assert (noise[0] - noise[1]).abs().mean() > 0.5


def test_clips_are_spoilt_each_by_its_own_numbers() -> None:
    condition = encoded(4, 4).tensors["condition"][:, 0]
    config = AugmentConfig(0.7, 0.2, 0.7, 0.5)
    seeds = [3, 1, 4, 5]
    whole = spoilt(condition, 4, config, [torch.Generator().manual_seed(seed) for seed in seeds])
    for k, seed in enumerate(seeds):
        alone = spoilt(condition[4 * k : 4 * k + 4], 4, config, torch.Generator().manual_seed(seed))
        assert torch.equal(whole[4 * k : 4 * k + 4], alone)
    with pytest.raises(FormatError, match="one for each of 4 clips"):
        spoilt(condition, 4, config, [torch.Generator()])


@pytest.mark.parametrize("name", ["structure_flow", "latent_flow"])
def test_pictures_are_left_alone_where_the_loss_says_so(name: str, autoencoders: Path) -> None:
    store = encoded(2, 4)
    store = replace(store, config=replace(store.config, augment=AugmentConfig(0.7, 0.2, 0.7, 0.5)))
    condition, draws = store.tensors["condition"][:, 0], Draws([3, 1], CPU.device)
    made = {spoil: make(name, store, autoencoders, loss={"spoil": spoil}).condition for spoil in (True, False)}
    assert torch.equal(made[False].spoilt(condition, 4, draws), on_black(condition))
    assert not torch.equal(made[True].spoilt(condition, 4, draws), on_black(condition))


def test_scale_folds_into_the_structure_autoencoder() -> None:
    torch.manual_seed(0)
    common: dict[str, Any] = {"latent_channels": 4, "num_res_blocks": 1, "num_res_blocks_middle": 1}
    encoder = SparseStructureEncoder(StructureEncoderConfig(1, channels=(8, 16), **common))
    decoder = SparseStructureDecoder(StructureDecoderConfig(1, channels=(16, 8), **common))
    x, std = (torch.rand(2, 1, 8, 8, 8) > 0.7).float(), torch.tensor([0.3, 1.0, 1.7, 20.0])
    with torch.no_grad():
        _, mean, logvar = encoder(x)
        logits = decoder(mean)
        fold_scale(encoder, decoder, std)
        _, new_mean, new_logvar = encoder(x)
        along = std.view(-1, 1, 1, 1)
        torch.testing.assert_close(new_mean, mean / along, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close((new_logvar / 2).exp(), (logvar / 2).exp() / along, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(decoder(mean / along), logits, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(new_mean, mean)


# ---- learning --------------------------------------------------------------------------------------------------------


def test_structure_flow_recovers_its_one_clip(tmp_path: Path, autoencoders: Path) -> None:
    settings = {"steps": 250, "clips": 4, "lr": 5e-3, "warmup": 10}
    store = encoded(clips=1)
    task = StructureFlow(section("structure_flow", **settings), CPU, store, autoencoders)
    average = train(task, store, tmp_path, CPU, validation=store)
    found = task.sample(average, store, 0)
    truth = store.tensors["structure_latents"].float()
    std = truth.std((0, 2, 3, 4), correction=0).view(-1, 1, 1, 1)
    error = ((found - truth) / std).square().mean()
    assert error < 0.1
    assert next((tmp_path / "pictures").glob("*.png")).stat().st_size > 300


def test_latent_flow_recovers_its_one_clip(tmp_path: Path, autoencoders: Path) -> None:
    settings = {"steps": 150, "clips": 4, "lr": 5e-3, "warmup": 10}
    store = encoded(clips=1)
    task = LatentFlow(section("latent_flow", **settings), CPU, store, autoencoders)
    average = train(task, store, tmp_path, CPU, validation=store)
    truth, found = store.tensors["latents"].float(), task.sample(average, store, 0).feats
    assert ((found - truth) / truth.std(0)).square().mean() < 0.1
    assert next((tmp_path / "pictures").glob("*.png")).stat().st_size > 300


# ---- stopping and going on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["structure_flow", "latent_flow"])
def test_resumed_run_ends_with_the_same_bits(tmp_path: Path, name: str, autoencoders: Path) -> None:
    store, tasks, averages = encoded(clips=3), [], []
    for run, stop in (("straight", None), ("broken", 3), ("broken", None)):
        task = make(name, store, autoencoders)
        options = Options(resume=stop is None and run == "broken")
        if stop is not None:
            task.loss = fail_at(task.loss, stop)
            with pytest.raises(KeyboardInterrupt):
                train(task, store, tmp_path / run, CPU, options)
            continue
        averages.append(train(task, store, tmp_path / run, CPU, options).state_dict())
        tasks.append(task.networks.state_dict())
    assert same(*tasks) and same(*averages) and not same(tasks[0], averages[0])


def fail_at(loss: Any, step: int) -> Any:
    def failing(networks: Any, inputs: Any, number: int, draws: Any) -> Any:
        if number == step:
            raise KeyboardInterrupt
        return loss(networks, inputs, number, draws)

    return failing


@pytest.mark.parametrize("name", ["structure_flow", "latent_flow"])
def test_parts_of_a_batch_add_up(tmp_path: Path, name: str, autoencoders: Path) -> None:
    store, ends = encoded(), []
    for parts in (1, 2):
        task = make(name, store, autoencoders, steps=2, save_every=2)
        train(task, store, tmp_path / str(parts), CPU, Options(accumulate=parts))
        ends.append(torch.cat([p.detach().flatten() for p in task.networks.parameters()]))
    difference = (ends[0] - ends[1]).abs()
    assert difference.quantile(0.98) < 1e-5


# ---- what becomes of the runs ----------------------------------------------------------------------------------------


def test_runs_become_a_checkpoint_of_the_pipeline(tmp_path: Path, autoencoders: Path) -> None:
    store, networks = encoded(), tmp_path / "networks"
    shutil.copytree(autoencoders, networks)
    structure = make("structure_flow", store, steps=2)
    average = train(structure, store, tmp_path / "structure", CPU)
    export(tmp_path / "structure", networks)  # with the image encoder
    train(make("latent_flow", store, networks, steps=2), store, tmp_path / "latent", CPU)
    runs = ["--structure-flow", str(tmp_path / "structure"), "--latent-flow", str(tmp_path / "latent")]
    main(["assemble", "--autoencoders", str(networks), *runs, "--out", str(tmp_path / "out")])
    pipeline = SS4DPipeline(load_checkpoint(tmp_path / "out"))
    assert pipeline.checkpoint.structure_sampler == structure.options.sampler
    assert pipeline.checkpoint.std == pytest.approx(store.normalisation["std"] if store.normalisation else None)
    # what the pipeline decodes from unit latents is what the autoencoder decodes from its own
    z = torch.randn(2, 4, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    own, _ = read_network(networks, "structure_decoder", CPU.device)
    to_data = cast(flow.Normalisation, average["normalisation"]).to_data
    torch.testing.assert_close(pipeline.structure_decoder(z), own(to_data(z)), atol=1e-5, rtol=1e-5)
    frames = [Image.fromarray(frame) for frame in store.tensors["views"][:2, 0].numpy()]
    coords = torch.tensor([[0, 1, 2, 3], [0, 4, 4, 4], [1, 2, 2, 2]], dtype=torch.int32)
    result = pipeline.run(frames, coords=coords)
    assert [len(found) for found in result.coords] == [2, 1] and result.gaussians[0].xyz.isfinite().all()
    # another image encoder than the one that stage 2 was trained with is refused
    train(make("structure_flow", store, steps=2, lr=1e-2), store, tmp_path / "other", CPU)
    with pytest.raises(FormatError, match="the image encoder of"):
        assemble(networks, tmp_path / "other", tmp_path / "latent", tmp_path / "mixed")


@pytest.mark.parametrize("name", ["structure_flow", "latent_flow"])
def test_bfloat16_computes_the_same_loss(name: str, autoencoders: Path) -> None:
    """Up to the precision of its products, and with first and last layers in full precision."""
    store, found = encoded(), []
    batch = store.batch(torch.tensor([0, 1]), torch.tensor([0, 0]), 2)
    for precision in ("float32", "bfloat16"):
        kind = {"structure_flow": StructureFlow, "latent_flow": LatentFlow}[name]
        task: Any = kind(section(name), replace(CPU, precision=precision), store, autoencoders)  # type: ignore[arg-type]
        wake(task.networks[name])
        loss = task.loss(task.networks, task.prepare(batch), 0, Draws([1, 2], CPU.device))["mse"]
        loss.backward()
        gradients = [p.grad.flatten() for p in task.networks.parameters() if p.grad is not None]
        found.append((loss.detach(), torch.cat(gradients)))
    (a, grad_a), (b, grad_b) = found
    assert a == pytest.approx(b.item(), rel=0.01) and a != b
    assert torch.cosine_similarity(grad_a, grad_b, dim=0) > 0.99


def wake(network: torch.nn.Module) -> None:
    """Numbers instead of the zeros that new networks have where blocks end."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def test_unfit_data_are_named(autoencoders: Path) -> None:
    store = encoded()
    task = make("structure_flow", store)
    task.check(store)
    small = replace(store, tensors={**store.tensors, "condition": store.tensors["condition"][:, :, ::2, ::2]})
    with pytest.raises(FormatError, match="condition pictures of 16 x 16"):
        task.check(small)
    latents = {**store.tensors, "structure_latents": store.tensors["structure_latents"][:, :2]}
    with pytest.raises(FormatError, match=r"structure latents \[4, 4, 4, 4\]"):
        task.check(replace(store, tensors=latents))
    with pytest.raises(FormatError, match="mean and deviation"):
        make("latent_flow", replace(store, normalisation=None), autoencoders)
    with pytest.raises(FormatError, match="--checkpoint"):
        make("latent_flow", store)
    with pytest.raises(FormatError, match="vary in every channel"):
        make("structure_flow", replace(store, tensors={**latents, "structure_latents": torch.zeros(4, 4, 4, 4, 4)}))


def test_tiny_flows_fit_their_data_and_autoencoders() -> None:
    sections = {name: read_training("tiny", name) for name in SECTIONS}
    data = DataConfig.read("tiny")
    structure, latent = (sections[name].networks for name in ("structure_flow", "latent_flow"))
    channels = sections["structure_vae"].networks["structure_decoder"]["latent_channels"]
    flows = (structure["structure_flow"], latent["latent_flow"])
    assert all(args["in_channels"] == args["out_channels"] == channels for args in flows)
    assert all(args["cond_channels"] == structure["image_encoder"]["width"] for args in flows)
    assert structure["image_encoder"]["image_size"] == data.condition.size
    assert (structure["structure_flow"]["resolution"], latent["latent_flow"]["resolution"]) == (8, data.resolution)
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in build_networks(sections[name]).parameters()) for name in ("structure_flow",)]
    assert sizes[0] < 8e6 and sections["latent_flow"].train.frames % 2 == 0


# ---- GPU -------------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["structure_flow", "latent_flow"])
def test_gpu_step_never_waits_and_learns(tmp_path: Path, name: str, autoencoders: Path) -> None:
    """With its own kernels. A second step's loss and gradients must not make the host wait."""
    backend, store = Backend.of("cuda"), encoded(clips=1)
    store = replace(store, tensors={key: x.to(backend.device) for key, x in store.tensors.items()})
    kind = {"structure_flow": StructureFlow, "latent_flow": LatentFlow}[name]
    wanted = section(name, steps=300, clips=4, lr=5e-3, warmup=10, log_every=10, save_every=300)
    task: Any = kind(wanted, backend, store, autoencoders)
    batch = store.batch(torch.tensor([0, 0]), torch.tensor([0, 0]), 2)
    for mode in ("default", "error"):
        inputs, draws = task.prepare(batch), Draws([1, 2], backend.device)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(mode)
        try:
            task.loss(task.networks, inputs, 0, draws)["mse"].backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    task.networks.zero_grad(set_to_none=True)
    train(task, store, tmp_path / "run", backend)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text("utf-8").splitlines()]
    assert np.mean([line["mse"] for line in lines[-5:]]) < lines[0]["mse"] / 3
