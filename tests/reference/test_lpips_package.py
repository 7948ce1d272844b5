"""lpips-vgg, lpips-alex and tlp-alex against the authors' package, with the real weights of both.

The package's heads come from its wheel; its trunk is filled with the resolver's tensors, since it would download it.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bench4d.metric import View
from bench4d.weights import WeightsMissing, resolve
from metrics import METRICS
from metrics.features.torchvision_import import import_torchvision
from metrics.lpips import WEIGHTS, load
from metrics.tlp import temporal

TOLERANCE = 1e-6


@pytest.fixture(scope="module", params=["vgg", "alex"])
def networks(request):
    """(trunk, paths of the weights): real ones, or the module is skipped with the resolver's own words."""
    try:
        return request.param, {id: resolve(id) for id in WEIGHTS[request.param]}
    except WeightsMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def package(networks):
    """The package's network with the same trunk. A missing package is an error here, not a skip."""
    import_torchvision()
    import lpips

    trunk, paths = networks
    oracle = lpips.LPIPS(net=trunk, pnet_rand=True, verbose=False)
    state = load_file(paths[WEIGHTS[trunk][0]])
    filled = {}
    for name, tensor in oracle.net.state_dict().items():  # "slice2.5.weight": the number is torchvision's
        filled[name] = state["features." + name.partition(".")[2]]
        assert filled[name].shape == tensor.shape
    oracle.net.load_state_dict(filled, strict=True)
    assert len(filled) == len(state)
    return oracle.eval()


def views(size: tuple[int, int], count: int = 3, seed: int = 0) -> tuple[View, View]:
    """Smooth pictures and versions of them that are shifted, noisy and recoloured, on white."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    truth = np.full((count, *size, 3), 255, np.uint8)
    for picture in truth:
        centre, waves = random.uniform(0.35, 0.65, 2), random.uniform(8, 40, (3, 2))
        inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < 0.09
        colours = 127 + 120 * np.stack([np.sin(a * x + b * y) for a, b in waves], -1)
        picture[inside] = colours[inside].astype(np.uint8)
    predicted = np.roll(truth, 3, axis=2).astype(np.int16)
    predicted[1:] += random.integers(-40, 40, predicted[1:].shape, dtype=np.int16)
    predicted[2:, ..., 0] //= 2
    alpha = np.full(truth.shape[:3], 255, np.uint8)
    return View(predicted.clip(0, 255).astype(np.uint8), alpha), View(truth, alpha)


def oracle_values(package, predicted: View, truth: View) -> np.ndarray:
    images = [torch.from_numpy(v.rgb).permute(0, 3, 1, 2).float() / 127.5 - 1 for v in (predicted, truth)]
    with torch.inference_mode():
        return np.array([package(p[None], t[None]).item() for p, t in zip(*images, strict=True)])


@pytest.mark.parametrize("size", [(64, 64), (96, 61), (128, 160)])
def test_equals_the_package(networks, package, size):
    trunk, paths = networks
    predicted, truth = views(size)
    ours = load(paths, trunk, device="cpu")(predicted, truth)
    theirs = oracle_values(package, predicted, truth)
    assert theirs.min() > 0.02  # the pictures do differ
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)


def test_tlp_equals_the_packages_distances_of_successive_frames(networks, package):
    trunk, paths = networks
    predicted, truth = views((96, 61), count=4)
    ours = temporal(load(paths, trunk, device="cpu"))(predicted, truth)
    steps = [
        oracle_values(package, View(v.rgb[:-1], v.alpha[:-1]), View(v.rgb[1:], v.alpha[1:])) for v in (predicted, truth)
    ]
    theirs = np.abs(steps[0] - steps[1])
    assert theirs.max() > 0.02 and np.isnan(ours[0])
    np.testing.assert_allclose(ours[1:], theirs, rtol=0, atol=TOLERANCE)


def test_the_batch_size_changes_nothing(networks):
    trunk, paths = networks
    predicted, truth = views((80, 80), count=5)
    score = METRICS[f"lpips-{trunk}"].load(paths)
    values = [score(predicted, truth, batch=batch) for batch in (1, 2, 5)]
    np.testing.assert_allclose(values[1], values[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(values[2], values[0], rtol=0, atol=TOLERANCE)


def test_equal_images_are_at_zero_and_the_order_of_the_two_does_not_matter(networks):
    trunk, paths = networks
    predicted, truth = views((48, 48))
    score = load(paths, trunk, device="cpu")
    assert (score(truth, truth) == 0).all()
    np.testing.assert_allclose(score(predicted, truth), score(truth, predicted), rtol=0, atol=TOLERANCE)


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu(networks):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    trunk, paths = networks
    predicted, truth = views((256, 256))
    cpu, gpu = (load(paths, trunk, device=device)(predicted, truth) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(gpu, cpu, rtol=0, atol=2e-6)
