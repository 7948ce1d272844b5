"""The parts of SS4D's training against closed forms and the metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import metrics.lpips
from bench4d.errors import FormatError
from bench4d.metric import View
from bench4d.render.gaussians_torch import splat
from metrics.psnr import psnr
from metrics.ssim import ssim
from ss4d.attention import attend_packed, use_kernel
from ss4d.checkpoint import NETWORKS
from ss4d.gaussian_decoder import SLatGaussianDecoder
from ss4d.sparse import SparseTensor
from ss4d.structure_vae import ChannelNorm
from ss4d.training import latent_vae, losses
from ss4d.training.config import CLASSES, SECTIONS, TrainSettings, change, parse_section, read_training
from ss4d.training.lpips import Perceptual, find_weights
from ss4d.training.optim import MOMENTS, GradientClip, Optimiser, ema_decay, learning_rate, update_ema
from ss4d.training.order import mix, rows
from ss4d.training.pictures import compare_voxels, sheet
from ss4d.training.task import Backend, Draws
from tests import toy_training
from tests.toy_store import toy_store

CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def as_view(image: torch.Tensor) -> View:
    rgb = (image * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return View(rgb, np.full(rgb.shape[:3], 255, np.uint8))


def pair(size: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Two similar 8-bit pictures in [0, 1], [2,3,S,S]."""
    a = torch.nn.functional.interpolate(noise(2, 3, 6, 6), size, mode="bilinear")
    b = (a + 0.2 * (noise(2, 3, size, size, seed=1) - 0.5)).clamp(0, 1)
    return (a * 255).round() / 255, (b * 255).round() / 255


# ---- losses ----------------------------------------------------------------------------------------------------------


def test_dice_in_closed_form_and_frame_by_frame() -> None:
    occupancy = torch.zeros(2, 1, 4, 4, 4)
    occupancy[0, 0, 0] = 1  # 16 voxels; the second frame is empty
    logits = torch.full((2, 1, 4, 4, 4), math.log(0.25 / 0.75))  # p = 1/4 everywhere, 16 in sum
    expected = [1 - (2 * 4 + 1) / (16 + 16 + 1), 1 - 1 / (16 + 0 + 1)]
    assert losses.dice(logits, occupancy).item() == pytest.approx(sum(expected) / 2, abs=1e-6)
    assert losses.dice(100 * (2 * occupancy - 1), occupancy).item() == pytest.approx(0, abs=1e-6)


def test_kl_is_that_of_two_normal_distributions() -> None:
    mean, logvar = torch.tensor([0.3, -1.0], dtype=torch.float64), torch.tensor([0.5, -2.0], dtype=torch.float64)
    p = torch.distributions.Normal(mean, (logvar / 2).exp())
    expected = torch.distributions.kl_divergence(p, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(losses.kl(mean, logvar), expected)


def test_ssim_and_psnr_are_the_metrics() -> None:
    a, b = pair()
    np.testing.assert_allclose(losses.ssim(a.double(), b.double()).numpy(), ssim(as_view(a), as_view(b)), atol=1e-9)
    np.testing.assert_allclose(losses.ssim(a, b).numpy(), ssim(as_view(a), as_view(b)), atol=2e-5)
    np.testing.assert_allclose(losses.psnr(a, b).numpy(), psnr(as_view(a), as_view(b)), atol=1e-4)
    assert losses.psnr(a, a).tolist() == pytest.approx([100, 100])
    x, y = a[:1, :, :14, :13].double().requires_grad_(), b[:1, :, :14, :13].double()
    assert torch.autograd.gradcheck(lambda image: losses.ssim(image, y), (x,))


def test_iou() -> None:
    occupancy, logits = torch.zeros(2, 1, 2, 2, 2), torch.full((2, 1, 2, 2, 2), -1.0)
    occupancy[0, 0, 0, 0] = 1  # two voxels
    logits[0, 0, 0] = 1  # four, the two among them
    assert losses.iou(logits, occupancy).tolist() == [0.5, 1.0]  # nothing found where nothing is


def test_backgrounds_and_smaller_pictures() -> None:
    views = torch.zeros(2, 4, 4, 4, dtype=torch.uint8)
    views[:, :2] = torch.tensor([51, 102, 0, 102], dtype=torch.uint8)  # premultiplied: alpha 0.4
    images = losses.composite(losses.pictures(views, 4), torch.tensor([True, False]))
    torch.testing.assert_close(images[:, :, 0, 0], torch.tensor([[0.9, 1.0, 0.8], [0.1, 0.2, 0.0]]))


@pytest.fixture
def lpips_folder(tmp_path_factory: pytest.TempPathFactory):
    """Random weights in the canonical files: the arithmetic is the same."""
    folder = tmp_path_factory.mktemp("lpips")
    g = torch.Generator().manual_seed(3)
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    features = {}
    for k, shape in shapes.items():
        features[f"features.{k}.weight"] = torch.randn(shape, generator=g) / math.sqrt(math.prod(shape[1:]))
        features[f"features.{k}.bias"] = 0.1 * torch.randn(shape[0], generator=g)
    heads = {f"lin{k}.weight": torch.rand(1, shape[0], 1, 1, generator=g) for k, shape in enumerate(shapes.values())}
    save_file(features, folder / "alexnet-features.safetensors")
    save_file(heads, folder / "lpips-alex-heads.safetensors")
    return folder


def test_perceptual_distance_is_the_metric(lpips_folder) -> None:
    a, b = pair(64)
    weights = find_weights(lpips_folder)
    expected = metrics.lpips.load(weights, "alex", "cpu")(as_view(a), as_view(b))
    np.testing.assert_allclose(Perceptual(weights, CPU)(a, b).numpy(), expected, rtol=1e-4)


def test_perceptual_gradient_is_finite_where_all_features_are_zero(lpips_folder) -> None:
    weights = find_weights(lpips_folder)
    lpips = Perceptual(weights, CPU)
    for k in (0, 3, 6, 8, 10):
        lpips.convolutions[f"features.{k}.bias"].fill_(-100.0)
    x = noise(1, 3, 40, 40).requires_grad_()
    lpips(x, noise(1, 3, 40, 40, seed=2)).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_missing_weights_are_an_error(tmp_path) -> None:
    with pytest.raises(FormatError, match=r"alexnet-features.safetensors.*loss\.lpips=0"):
        find_weights(tmp_path)


# ---- Gaussians of a batch in one piece -------------------------------------------------------------------------------


def test_padded_batch_renders_as_frames_alone() -> None:
    store = toy_store(clips=1, frames=3, size=24)
    assert len(set(store.voxels_before.diff().tolist())) > 1  # unequal frames
    task = toy_training.make_task("latent_vae")
    decoder = task.networks["gaussian_decoder"]
    assert isinstance(decoder, SLatGaussianDecoder)
    torch.nn.init.normal_(decoder.out_layer.weight, std=0.3, generator=torch.Generator().manual_seed(1))
    inputs = task.prepare(store.batch(torch.tensor([0]), torch.tensor([0]), 3, all_views=True))
    z = SparseTensor(noise(len(inputs.x), 4), inputs.x.coords, inputs.x.slots)
    with torch.no_grad():
        image = latent_vae.render(latent_vae.decode(decoder, z, 3), inputs, "torch", factor=2)
        for t, frame in enumerate(decoder(z, 3)):
            parts = frame.xyz, frame.scaling, frame.rotation, frame.opacity[:, 0], frame.features
            for v in range(2):
                matrix = inputs.intrinsics[t, v] * torch.tensor([0.5, 0.5, 1.0])[:, None]
                alone = splat(*parts, inputs.camera_to_world[t, v], matrix, (12, 12), 0.1, True)
                torch.testing.assert_close(image[t, v].permute(1, 2, 0), alone, atol=2e-5, rtol=0)
    assert image[..., 3, :, :].amax() > 0.05


@pytest.mark.parametrize("name", ["structure_vae", "latent_vae"])
def test_loss_of_a_batch_is_the_mean_over_its_clips(name: str) -> None:
    """Terms do not depend on what else is in the batch, nor do the numbers drawn for a clip."""
    store, task = toy_store(), toy_training.make_task(name)
    for parameter in task.networks.parameters():  # layers that start at zero would hide differences
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))

    def terms(clips: list[int]) -> dict[str, torch.Tensor]:
        generators = [torch.Generator().manual_seed(clip) for clip in clips]
        batch = store.batch(torch.tensor(clips), torch.tensor([1] * len(clips)), 2, generators)
        with torch.no_grad():
            return task.loss(task.networks, task.prepare(batch), 0, Draws([9 + clip for clip in clips], CPU))

    whole, first, second = terms([0, 1]), terms([0]), terms([1])
    assert list(whole) == list(task.weights)
    for key, value in whole.items():
        assert value.item() == pytest.approx((first[key] + second[key]).item() / 2, rel=1e-5), key
        assert first[key].item() != pytest.approx(second[key].item(), rel=1e-4), key


def test_windows_are_found_once_for_both_networks() -> None:
    store, task = toy_store(), toy_training.make_task("latent_vae")
    inputs = task.prepare(store.batch(torch.tensor([0]), torch.tensor([0]), 2, [torch.Generator()]))
    before = dict(inputs.x.sites._memory)
    assert len(before) == 2  # shifted and not
    task.loss(task.networks, inputs, 0, Draws([0], CPU))
    assert inputs.x.sites._memory == before


# ---- order of the data -----------------------------------------------------------------------------------------------


def test_order_is_a_function_of_the_step_and_covers_all_clips() -> None:
    lengths = [5, 8, 6, 9, 7]
    batches = [rows(3, step, 2, lengths, 5) for step in range(10)]
    assert batches[4] == rows(3, 4, 2, lengths, 5) != rows(4, 4, 2, lengths, 5)
    clips = [clip for batch in batches for clip in batch.clips]
    for epoch in range(4):
        assert sorted(clips[5 * epoch : 5 * epoch + 5]) == [0, 1, 2, 3, 4]
    assert clips[:5] != clips[5:10]
    for batch in batches:
        assert all(0 <= start <= lengths[clip] - 5 for clip, start in zip(batch.clips, batch.starts, strict=True))
    seeds = [seed for batch in batches for seed in batch.seeds]
    assert len(set(seeds)) == len(seeds)
    with pytest.raises(FormatError, match=r"at least train\.frames = 6"):
        rows(0, 0, 1, lengths, 6)


def test_window_starts_are_spread_evenly() -> None:
    starts = [start for step in range(500) for start in rows(0, step, 4, [8] * 4, 5).starts]
    assert np.bincount(starts, minlength=4) == pytest.approx([500] * 4, abs=80)
    assert mix(1, 2) != mix(2, 1) and 0 <= mix(2**70, -3) < 2**63


def test_larger_batches_are_whole_smaller_ones() -> None:
    large, small = rows(1, 1, 4, [6] * 9, 3), [rows(1, step, 2, [6] * 9, 3) for step in (2, 3)]
    assert large.clips == small[0].clips + small[1].clips and large.seeds == small[0].seeds + small[1].seeds
    assert large[1:3].starts == large.starts[1:3]


def test_draws_of_a_row_depend_on_its_seed_only() -> None:
    together = Draws([5, 6], CPU)
    x, coins = together.normal([(3, 2), (4, 2)]), together.coin(8)
    alone = Draws([6], CPU)
    assert torch.equal(x[3:], alone.normal([(4, 2)])) and torch.equal(coins[8:], alone.coin(8))
    assert 300 < int(Draws([7], CPU).coin(1000).sum()) < 700


# ---- optimiser -------------------------------------------------------------------------------------------------------


def test_learning_rate() -> None:
    cosine = TrainSettings(steps=111, clips=1, frames=1, lr=2.0, warmup=10, schedule="cosine", lr_end=0.1)
    rates = [learning_rate(step, cosine) for step in range(111)]
    assert rates[:10] == pytest.approx([0.2 * k for k in range(1, 11)])
    assert (rates[10], rates[60], rates[110]) == pytest.approx((2.0, 1.1, 0.2))
    constant = TrainSettings(steps=5, clips=1, frames=1, lr=2.0)
    assert [learning_rate(step, constant) for step in (0, 4)] == [2.0, 2.0]


def test_muon_takes_the_matrices_of_blocks() -> None:
    """Their first step has about equal singular values and AdamW's size; all else moves by the rate, as with AdamW."""
    torch.manual_seed(0)
    blocks = torch.nn.ModuleList([torch.nn.Linear(24, 8)])
    network = torch.nn.ModuleDict({"blocks": blocks, "out": torch.nn.Linear(8, 4)})
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimiser = Optimiser(network, TrainSettings(steps=1, clips=1, frames=1, lr=1.0, optimiser="muon"), fused=False)
    adam = {
        f"{key}.{name}" for name in ("blocks.0.bias", "out.weight", "out.bias") for key in MOMENTS[torch.optim.AdamW]
    }
    assert optimiser.keys() == {"momentum_buffer.blocks.0.weight"} | adam
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter) * 10
    optimiser.step(0.01)
    moved = {name: before[name] - parameter.detach() for name, parameter in network.named_parameters()}
    values = torch.linalg.svdvals(moved.pop("blocks.0.weight")) / (0.01 * 0.2 * 24**0.5)
    assert values.min() > 0.6 and values.max() < 1.3
    assert all(torch.allclose(part.abs(), torch.tensor(0.01), rtol=1e-3) for part in moved.values())
    assert all(parameter.grad is None for parameter in network.parameters())
    with pytest.raises(FormatError, match="optimiser"):
        TrainSettings(steps=1, clips=1, frames=1, lr=1.0, optimiser="sgd")


def test_moving_average() -> None:
    assert [ema_decay(step, 0.9) for step in (0, 8, 1000)] == pytest.approx([0.1, 0.5, 0.9])
    network, average = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    torch.nn.init.constant_(network.weight, 3.0)
    network.running_mean.fill_(7.0)
    update_ema(average, network, 0.75)
    assert average.weight.tolist() == [1.5, 1.5] and average.running_mean.tolist() == [7.0, 7.0]


def test_gradients_are_clipped_at_a_percentile() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    clip = GradientClip(1.0, 75, 4, CPU)

    def clipped(length: float) -> tuple[float, float]:
        parameter.grad = torch.tensor([0.6, 0.8]) * length
        before, allowed = clip([parameter])
        assert before.item() == pytest.approx(length, rel=1e-6)
        return allowed.item(), parameter.grad.norm().item()

    assert clipped(5.0) == pytest.approx((1.0, 1.0), rel=1e-5)  # too few are known: the limit alone
    assert clipped(0.5) == pytest.approx((1.0, 0.5), rel=1e-5)
    clipped(0.1)
    expected = float(np.quantile([5.0, 0.5, 0.1, 0.3], 0.75))  # above the limit
    assert expected > 1 and clipped(0.3) == pytest.approx((1.0, 0.3), rel=1e-5)
    expected = float(np.quantile([0.9, 0.5, 0.1, 0.3], 0.75))  # 5.0 is forgotten
    assert clipped(0.9) == pytest.approx((expected, expected), rel=1e-5)
    other = GradientClip(1.0, 75, 4, CPU)
    other.load(clip.state())
    assert other.seen == 5 and torch.equal(other.lengths, clip.lengths)


# ---- configuration ---------------------------------------------------------------------------------------------------


def test_full_configuration_has_the_released_sizes() -> None:
    expected = {"structure_encoder": 59298192, "structure_decoder": 73671201}
    expected |= {"latent_encoder": 85817104, "gaussian_decoder": 85369024}
    for section in ("structure_vae", "latent_vae"):
        networks = read_training("full", section).networks
        for name in SECTIONS[section]:
            with torch.device("meta"):
                network = NETWORKS[CLASSES[name]].from_args({**networks[name], "use_fp16": False})
            assert sum(parameter.numel() for parameter in network.parameters()) == expected[name]


@pytest.mark.parametrize("size", ["tiny", "small", "full"])
def test_configurations_fit_their_data(size: str) -> None:
    from ss4d.data.config import DataConfig

    data = DataConfig.read(size)
    latent = read_training(size, "latent_vae")
    assert latent.resolution == data.resolution and latent.train.frames <= data.frames
    for args in latent.networks.values():
        assert args["resolution"] == data.resolution and args["latent_channels"] == 8
    assert latent.networks["latent_encoder"]["in_channels"] == data.features.width
    assert data.views.size % latent.loss["coarse_factor"] == 0
    assert read_training(size, "structure_vae").train.frames <= data.frames


def test_changes_are_strict() -> None:
    changed = read_training("tiny", "latent_vae", ["train.lr=1e-5", "loss.lpips=0", "train.schedule=constant"])
    assert (changed.train.lr, changed.train.schedule, changed.loss["lpips"]) == (1e-5, "constant", 0)
    for bad in ("lr=1", "train.lr", "train.nothing=1", "nothing.lr=1", "train.schedule=linear", "train.steps=0"):
        with pytest.raises(FormatError):
            read_training("tiny", "latent_vae", [bad])
    with pytest.raises(FormatError, match='"networks", "train" and "loss"'):
        parse_section("latent_vae", change({"train": {}}, []), 8, "here")


# ---- devices ---------------------------------------------------------------------------------------------------------


def test_kernel_is_chosen_and_refuses_what_it_cannot() -> None:
    network = toy_training.make_task("latent_vae").networks["latent_encoder"]
    use_kernel(network, "varlen")
    assert {block.attn.kernel for block in network.blocks} == {"varlen"}
    with pytest.raises(FormatError, match="grouped"):
        use_kernel(network, "flash")  # type: ignore[arg-type]
    sizes = [1, 2] * 5  # more than a few runs of equally long sequences
    q = torch.zeros(sum(sizes), 1, 8)
    with pytest.raises(FormatError, match="half precision on CUDA"):
        attend_packed(q, q, q, sizes, sizes, "varlen")
    with pytest.raises(FormatError, match="device"):
        Backend.of("meta")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_varlen_kernel_and_its_derivative_on_a_gpu(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    q_lengths = torch.randint(0, 90, (300,), generator=g).tolist()
    k_lengths = [length + 1 + k % 7 for k, length in enumerate(q_lengths)]
    q, k, v = (
        torch.randn(sum(lengths), 4, 32, generator=g).to("cuda", dtype).requires_grad_()
        for lengths in (q_lengths, k_lengths, k_lengths)
    )
    grad = torch.randn(q.shape, generator=g).to("cuda", dtype)
    found = attend_packed(q, k, v, q_lengths, k_lengths, "varlen")
    gradients = torch.autograd.grad(found, (q, k, v), grad)
    wide = [x.detach().float().requires_grad_() for x in (q, k, v)]
    expected = attend_packed(*wide, q_lengths, k_lengths)
    tolerance = {torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=tolerance)
    for a, b in zip(gradients, torch.autograd.grad(expected, wide, grad.float()), strict=True):
        torch.testing.assert_close(a.float(), b, atol=3 * tolerance, rtol=3 * tolerance)


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_voxel_pictures_show_what_differs() -> None:
    truth = np.zeros((8, 8, 8), bool)
    truth[2, :, 6] = truth[5, 3, 1] = True  # a bar towards the viewer, upper left; a voxel, lower right
    found = truth.copy()
    found[2, :, 6], found[7, 0, 0] = False, True
    left, right = compare_voxels(truth, found, size=8)
    assert left[1, 2].tolist() == [255] * 3 and 0 < left[6, 5, 0] < 255 and left[7, 7].max() == 0
    assert right[1, 2].tolist() == [220, 60, 40] and right[6, 5].tolist() == left[6, 5].tolist()
    assert right[7, 7, 2] > right[7, 7, 0]
    whole = sheet([[left, right], [left]])
    assert whole.shape == (22, 22, 3) and np.array_equal(whole[2:10, 12:20], right)


def test_the_written_out_norm_of_training_is_the_layer_norm_of_inference() -> None:
    norm, x = ChannelNorm(16), 3 * torch.randn(2, 16, 5, 5, 5) + 7
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    with torch.no_grad():
        expected = norm(x)
    assert (norm(x) - expected).abs().max() < 1e-5
