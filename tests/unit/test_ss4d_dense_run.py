"""SS4D's samplers and the preparation of frames."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench4d.errors import FormatError
from ss4d.preprocess import crop_box, preprocess
from ss4d.sampler import FlowEulerCfgSampler, FlowEulerGuidanceIntervalSampler, FlowEulerSampler, times
from ss4d.sparse import SparseTensor

# ---- samplers --------------------------------------------------------------------------------------------------------


def towards(data: Tensor) -> Any:
    """The exact velocity of a flow whose data is one point, given as a function of x_t = (1-t) x_0 + (s+(1-s)t) n."""

    def velocity(x: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        t = t.view(-1, *[1] * (x.ndim - 1)) / 1000
        noise = (x - (1 - t) * data) / (1e-5 + (1 - 1e-5) * t)
        return (1 - 1e-5) * noise - data

    return velocity


def test_euler_walks_straight_lines() -> None:
    data, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    run = FlowEulerSampler().sample(towards(data), noise, torch.zeros(2, 1, 1), steps=7, rescale_t=3.0, trajectory=True)
    torch.testing.assert_close(run.x, data, rtol=0, atol=1e-4)
    assert len(run.x_t) == len(run.x_0) == 7
    assert torch.equal(run.x_t[-1], run.x)
    for estimate in run.x_0:
        torch.testing.assert_close(estimate, data, rtol=0, atol=1e-4)


def test_times() -> None:
    assert times(4, 1.0) == [1, 0.75, 0.5, 0.25, 0]
    assert times(25, 3.0)[0] == 1
    assert sum(t >= 0.5 for t in times(25, 3.0)[:-1]) == 19
    with pytest.raises(FormatError, match="steps: expected at least 1"):
        times(0, 1.0)


class Recorder:
    """A model that is a constant plus its condition, and remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, float, int]] = []

    def __call__(self, x: Tensor, t: Tensor, cond: Tensor, num_frames: int) -> Tensor:
        assert t.shape == (len(x),)
        assert t.dtype == torch.float32
        assert len(cond) == len(x)
        self.calls.append((float(t[0]), float(cond.mean()), num_frames))
        return torch.ones_like(x) * cond.mean()


def test_guidance_within_an_interval() -> None:
    model, x = Recorder(), torch.zeros(3, 2)
    cond, none = torch.full((1, 4, 2), 2.0), torch.full((1, 4, 2), 1.0)  # one condition for all slots
    sampler = FlowEulerGuidanceIntervalSampler()
    run = sampler.sample(model, x, cond, none, steps=4, cfg_strength=3.0, cfg_interval=(0.5, 0.75), num_frames=3)
    expected = [(1000, 2), (750, 2), (750, 1), (500, 2), (500, 1), (250, 2)]  # the ends belong to the interval
    assert model.calls == [(t, c, 3) for t, c in expected]
    torch.testing.assert_close(run.x, torch.full((3, 2), -(2 + 5 + 5 + 2) / 4))
    with pytest.raises(FormatError, match="cfg_interval: expected two times"):
        sampler.sample(model, x, cond, none, cfg_interval=(0.5,), num_frames=3)


def test_guidance_at_all_times() -> None:
    model = Recorder()
    cond, none = torch.full((3, 4, 2), 2.0), torch.full((3, 4, 2), 1.0)
    run = FlowEulerCfgSampler().sample(model, torch.zeros(3, 2), cond, none, steps=2, cfg_strength=1.0, num_frames=1)
    assert len(model.calls) == 4
    torch.testing.assert_close(run.x, torch.full((3, 2), -3.0))
    assert not run.x_t


def test_sparse_tensors_are_sampled_like_dense_ones() -> None:
    coords = torch.tensor([[0, 1, 2, 3], [2, 0, 0, 1]], dtype=torch.int32)  # slot 1 is empty
    noise = torch.randn(2, 4)

    def field(x: Any, t: Tensor, cond: Tensor) -> Any:
        feats = getattr(x, "feats", x)
        v = feats.sin() * t[0] / 1000 + cond.mean()
        return v if feats is x else x.replace(v)

    def sample(x: Any, slots: int) -> Any:
        cond = torch.randn(slots, 2, 2, generator=torch.Generator().manual_seed(0))[:1]
        sampler = FlowEulerGuidanceIntervalSampler()
        return sampler.sample(field, x, cond, torch.zeros_like(cond), steps=3, cfg_strength=2.0, trajectory=True)

    sparse, dense = sample(SparseTensor(noise, coords, slots=3), 3), sample(noise, 2)
    assert sparse.x.slots == 3
    assert torch.equal(sparse.x.feats, dense.x)
    assert torch.equal(sparse.x_0[1].feats, dense.x_0[1])


# ---- frames ----------------------------------------------------------------------------------------------------------


def frame(box: tuple[int, int, int, int] | None, size: tuple[int, int] = (60, 40), alpha: int = 255) -> Image.Image:
    """Red in a box (left, top, right, bottom), transparent green elsewhere."""
    image = Image.new("RGBA", size, (0, 255, 0, 0))
    if box:
        image.paste((255, 0, 0, alpha), box)
    return image


def test_all_frames_share_one_crop() -> None:
    frames = [frame((10, 10, 20, 20)), frame(None), frame((40, 5, 51, 12))]
    # x 10 to 50, y 5 to 19: centre (30, 12), half the side 24; 12 - 24 = -12 is outside the image
    assert crop_box(frames) == (6, -12, 54, 36)
    first, second, third = (np.asarray(image) for image in preprocess(frames))
    assert first.shape == (518, 518, 3)
    scale = 518 / 48
    assert first[round(27 * scale), round(9 * scale)].tolist() == [255, 0, 0]
    assert third[round(20 * scale), round(40 * scale)].tolist() == [255, 0, 0]
    assert not second.any()
    assert not first[..., 1:].any()  # colours of transparent pixels never show


def test_box_is_cut_towards_zero() -> None:
    assert crop_box([frame((0, 0, 4, 4))]) == (0, 0, 3, 3)  # 1.5 - 1.8 = -0.3 -> 0
    assert crop_box([frame((7, 7, 9, 9))]) == (6, 6, 8, 8)


def test_half_transparent_is_darker() -> None:
    pixels = np.asarray(preprocess([frame((10, 10, 20, 20), alpha=128)])[0])
    assert pixels[259, 259].tolist() == [math.floor(np.float32(128) / 255 * 255), 0, 0]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one image; found none"),
        ([frame((1, 1, 9, 9)), frame((1, 1, 9, 9)).convert("RGB")], "frame 1: expected RGBA; found RGB"),
        ([frame((1, 1, 9, 9)), frame((1, 1, 9, 9), (60, 41))], "frame 0, 60 x 40; found 60 x 41"),
        ([frame(None), frame(None)], "something visible; found alpha 0 everywhere in all 2 frames"),
        ([frame((3, 4, 4, 5))], r"one visible pixel, \(3, 4\)"),
    ],
)
def test_what_cannot_be_cropped(frames: list[Image.Image], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        preprocess(frames)
