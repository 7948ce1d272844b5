"""Sparse operators against dense ones, loops over voxels, and the laws they obey."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from bench4d.errors import FormatError
from ss4d.sparse import (
    SparseConv,
    SparseTensor,
    per_clip,
    pool_space,
    pool_time,
    space_windows,
    time_windows,
    unpool,
)
from ss4d.sparse.neighbours import neighbours

SIDE, FRAMES = 5, 4


def some_voxels(
    slots: int = 8, channels: int = 3, seed: int = 0, empty: tuple[int, ...] = (), dtype: torch.dtype = torch.float32
) -> SparseTensor:
    """A third of the voxels of a small grid, in a random order within each slot."""
    generator = torch.Generator().manual_seed(seed)
    occupied = torch.rand(slots, SIDE, SIDE, SIDE, generator=generator) < 0.35
    occupied[list(empty)] = False
    coords = occupied.nonzero()
    coords = coords[torch.randperm(len(coords), generator=generator)]
    coords = coords[coords[:, 0].argsort(stable=True)]
    feats = torch.randn(len(coords), channels, generator=generator, dtype=dtype)
    return SparseTensor(feats, coords, slots)


def shuffled(x: SparseTensor, seed: int = 1) -> tuple[SparseTensor, torch.Tensor]:
    """The same voxels in another order within each slot, and that order."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    order = order[x.coords[order, 0].argsort(stable=True)]
    return SparseTensor(x.feats[order], x.coords[order], x.slots), order


def by_coords(x: SparseTensor) -> dict[tuple[int, ...], torch.Tensor]:
    return {tuple(c): f for c, f in zip(x.coords.tolist(), x.feats, strict=True)}


def loop_convolution(x: SparseTensor, conv: SparseConv, frames: int) -> torch.Tensor:
    """The definition, voxel by voxel and tap by tap."""
    known, weight = by_coords(x), conv.conv.weight
    if weight.ndim == 5:
        weight = weight[:, None]  # [O, 1, x, y, z, I]
    rows = []
    for slot, *xyz in x.coords.tolist():
        total = conv.conv.bias.clone()
        for tap in itertools.product(*map(range, weight.shape[1:-1])):
            step = [a - size // 2 for a, size in zip(tap, weight.shape[1:-1], strict=True)]
            there = (slot + step[0], *(p + s for p, s in zip(xyz, step[1:], strict=True)))
            if there in known and there[0] // frames == slot // frames:
                total = total + weight[(slice(None), *tap)] @ known[there]
        rows.append(total)
    return torch.stack(rows)


def test_conv3d_is_the_dense_convolution_where_voxels_are():
    x, conv = some_voxels(), SparseConv(3, 4, (3, 3, 3))
    slot, i, j, k = x.coords.long().T
    grid = torch.zeros(x.slots, SIDE, SIDE, SIDE, 3)
    grid[slot, i, j, k] = x.feats
    dense = F.conv3d(grid.permute(0, 4, 1, 2, 3), conv.conv.weight.permute(0, 4, 1, 2, 3), conv.conv.bias, padding=1)
    y = conv(x, FRAMES)
    torch.testing.assert_close(y.feats, dense[slot, :, i, j, k], atol=1e-5, rtol=0)
    assert y.sites is x.sites


@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 1, 1, 1), (3, 3, 3, 3), (1, 1, 1, 1), (5, 1, 3, 1)])
def test_convolutions_follow_the_definition(kernel):
    x, conv = some_voxels(), SparseConv(3, 2, kernel)
    torch.testing.assert_close(conv(x, FRAMES).feats, loop_convolution(x, conv, FRAMES), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kernel", [(3, 1, 1, 1), (3, 3, 3, 3)])
def test_clips_are_alone(kernel):
    x, conv = some_voxels(slots=2 * FRAMES), SparseConv(3, 2, kernel)
    second = x.coords[:, 0] >= FRAMES
    feats = x.feats.clone()
    feats[second] += 1
    assert torch.equal(conv(x.replace(feats), FRAMES).feats[~second], conv(x, FRAMES).feats[~second])
    assert not torch.equal(conv(x.replace(feats), 2 * FRAMES).feats[~second], conv(x, 2 * FRAMES).feats[~second])


@pytest.mark.parametrize("empty", [(), (2,), (7,), (0,), (2, 3, 6, 7)])
def test_empty_slots_are_slots(empty):
    x = some_voxels(empty=empty)
    for kernel in [(3, 3, 3), (3, 1, 1, 1)]:
        conv = SparseConv(3, 2, kernel)
        torch.testing.assert_close(conv(x, FRAMES).feats, loop_convolution(x, conv, FRAMES), atol=1e-5, rtol=0)
    assert x.slots == 8 and [len(feats) for feats in x.per_slot()] == x.sites.lengths
    assert sum(len(feats) == 0 for feats in x.per_slot()) == len(empty)
    half = pool_time(pool_space(x), FRAMES)
    assert half.slots == 4 and len(half.sites.lengths) == 4
    assert unpool(unpool(half, "time"), "space").sites is x.sites
    assert per_clip(half.sites, 2).lengths == [sum(half.sites.lengths[:2]), sum(half.sites.lengths[2:])]


def test_the_order_of_voxels_does_not_matter():
    x = some_voxels()
    y, order = shuffled(x)
    for kernel in [(3, 3, 3), (3, 1, 1, 1), (3, 3, 3, 3)]:
        conv = SparseConv(3, 2, kernel)
        torch.testing.assert_close(conv(y, FRAMES).feats, conv(x, FRAMES).feats[order])
    for pooled_x, pooled_y in [
        (pool_space(x), pool_space(y)),
        (pool_time(x, FRAMES), pool_time(y, FRAMES)),
    ]:
        assert torch.equal(pooled_x.coords, pooled_y.coords)
        torch.testing.assert_close(pooled_x.feats, pooled_y.feats)
        kind = pooled_x.trail[-1].kind
        torch.testing.assert_close(unpool(pooled_y, kind).feats, unpool(pooled_x, kind).feats[order])


def test_pooling_counts_a_zero_among_the_children():
    coords = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1], [0, 2, 0, 0], [1, 0, 0, 0]], dtype=torch.int32)
    x = SparseTensor(torch.tensor([[1.0], [2.0], [6.0], [5.0], [7.0]]), coords, 2)
    y = pool_space(x)
    assert y.coords.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
    assert y.feats.flatten().tolist() == [9 / 4, 5 / 2, 7 / 2]
    y = pool_time(x, 2)
    assert y.slots == 1 and y.coords.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1], [0, 2, 0, 0]]
    torch.testing.assert_close(y.feats.flatten(), torch.tensor([8 / 3, 2 / 2, 6 / 2, 5 / 2]))


def test_pooling_a_full_cube_gives_eight_ninths_of_the_mean():
    coords = torch.cartesian_prod(torch.arange(1), *[torch.arange(2)] * 3)
    x = SparseTensor(torch.rand(8, 3), coords, 1)
    torch.testing.assert_close(pool_space(x).feats[0], x.feats.mean(0) * 8 / 9)


def test_up_sampling_walks_back_level_by_level():
    x = some_voxels()
    levels = [x, pool_space(x)]
    levels.append(pool_space(levels[-1]))  # two levels in space, then one in time
    levels.append(pool_time(levels[-1], FRAMES))
    h = levels[-1]
    for level, kind in zip(reversed(levels[:-1]), ["time", "space", "space"], strict=True):
        coarse, h = by_coords(h), unpool(h, kind)
        assert h.sites is level.sites and h.trail == level.trail
        shift = (2, 1, 1, 1) if kind == "time" else (1, 2, 2, 2)
        for coords, feats in by_coords(h).items():
            assert torch.equal(feats, coarse[tuple(c // s for c, s in zip(coords, shift, strict=True))])
    with pytest.raises(FormatError, match="last down-sampling was in 'time'; found 'space'"):
        unpool(levels[1], "time")
    with pytest.raises(FormatError, match="no down-sampling"):
        unpool(x, "space")


@pytest.mark.parametrize(("slots", "frames"), [(6, 3), (5, 5), (8, 3)])
def test_pooling_in_time_refuses_odd_clips(slots, frames):
    with pytest.raises(FormatError, match=r"num_frames: expected (an even number|a divisor)"):
        pool_time(some_voxels(slots=slots), frames)


def test_windows_follow_the_definition():
    x, window, shift, frames = some_voxels(slots=12), 4, 2, 6  # 6 is no multiple of 4

    def groups(sequences):
        parts = sequences.sort(torch.arange(len(x))).split(sequences.lengths)
        assert torch.equal(sequences.unsort(sequences.sort(x.feats)), x.feats)
        return {frozenset(part.tolist()) for part in parts}

    def wanted(key):
        found = {}
        for row, coords in enumerate(x.coords.tolist()):
            found.setdefault((key(coords[0]), *((c + shift) // window for c in coords[1:])), set()).add(row)
        return set(map(frozenset, found.values()))

    assert groups(space_windows(x.sites, window, shift)) == wanted(lambda slot: slot)
    in_time = groups(time_windows(x.sites, frames, window, shift))
    assert in_time == wanted(lambda slot: (slot + shift) // window + slot // frames)
    clip = x.coords[:, 0] // frames
    assert all(len({int(clip[row]) for row in group}) == 1 for group in in_time)


def test_initial_weights():
    torch.manual_seed(0)
    for kernel in [(3, 3, 3), (3, 3, 3, 3), (3, 1, 1, 1)]:
        conv = SparseConv(16, 64, kernel)
        bound = 1 / math.sqrt(16 * math.prod(kernel))
        assert conv.conv.weight.shape == (64, *kernel, 16) and conv.conv.bias.shape == (64,)
        for parameter in (conv.conv.weight, conv.conv.bias):
            assert 0.9 * bound < parameter.abs().max() <= bound
        assert conv.conv.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 1, 1, 1), (3, 3, 3, 3)])
def test_derivatives_of_convolutions(kernel):
    x = some_voxels(slots=4, channels=2, dtype=torch.float64)
    corner = (x.coords[:, 1:] < 3).all(1)  # few voxels, close to each other
    x, conv = SparseTensor(x.feats[corner], x.coords[corner], 4), SparseConv(2, 2, kernel).double()
    assert sum(len(tap.output) for tap in neighbours(x.sites, conv.kernel, 2)) > 5

    def run(feats, weight, bias):
        return torch.func.functional_call(conv, {"conv.weight": weight, "conv.bias": bias}, (x.replace(feats), 2)).feats

    leaves = [t.detach().clone().requires_grad_() for t in (x.feats, conv.conv.weight, conv.conv.bias)]
    assert torch.autograd.gradcheck(run, leaves)


def test_derivatives_of_pooling():
    x = some_voxels(slots=4, channels=2, dtype=torch.float64)
    feats = x.feats.requires_grad_()

    def run(feats):
        y = x.replace(feats)
        return unpool(unpool(pool_time(pool_space(y), 4), "time"), "space").feats

    assert torch.autograd.gradcheck(run, (feats,))


def test_half_precision_sums_in_single():
    x, conv = some_voxels(channels=16), SparseConv(16, 8, (3, 3, 3)).half()
    exact = SparseConv(16, 8, (3, 3, 3))
    exact.load_state_dict({name: p.float() for name, p in conv.state_dict().items()})
    x = x.replace(x.feats.half())
    y = conv(x, FRAMES).feats
    assert y.dtype == torch.float16 and pool_space(x).feats.dtype == torch.float16
    torch.testing.assert_close(y.float(), exact(x.replace(x.feats.float()), FRAMES).feats, atol=2e-3, rtol=1e-3)


def test_maps_are_made_once():
    x = some_voxels()
    taps = neighbours(x.sites, (3, 3, 3, 3), FRAMES)
    assert neighbours(x.replace(x.feats + 1).sites, (3, 3, 3, 3), FRAMES) is taps
    assert neighbours(x.sites, (3, 3, 3, 3), 2 * FRAMES) is not taps
    assert neighbours(x.sites, (1, 3, 3, 3), FRAMES) is neighbours(x.sites, (1, 3, 3, 3), 2 * FRAMES)
    assert pool_space(x).sites is pool_space(x.replace(-x.feats)).sites


@pytest.mark.parametrize(
    ("coords", "slots", "message"),
    [
        ([[0, 0, 0, 0], [0, 0, 0, 0]], 1, "each voxel once"),
        ([[1, 0, 0, 0], [0, 0, 0, 0]], 2, "ascending order"),
        ([[0, 0, 0, 0], [2, 0, 0, 0]], 2, "slots from 0 to 1"),
        ([[0, -1, 0, 0]], 1, "voxel indices >= 0"),
        ([[0, 0, 0]], 1, r"int32 \[N,4\]"),
        ([[0, 2**30, 2**30, 2**30]], 1, "62 bits"),
    ],
)
def test_coordinates_that_are_refused(coords, slots, message):
    with pytest.raises(FormatError, match=message):
        SparseTensor(torch.zeros(len(coords), 1), torch.tensor(coords, dtype=torch.int32), slots)


def test_other_refusals():
    x = some_voxels()
    with pytest.raises(FormatError, match="at least one voxel"):
        SparseTensor(torch.zeros(0, 1), torch.zeros(0, 4, dtype=torch.int32), 2)
    with pytest.raises(FormatError, match=r"found torch\.float32"):
        SparseTensor(x.feats, x.coords.float(), 8)
    with pytest.raises(FormatError, match="one row per voxel"):
        x.replace(x.feats[1:])
    with pytest.raises(FormatError, match="8 rows; found 7"):
        x.rows(torch.zeros(7, 2))
    with pytest.raises(FormatError, match="3 channels; found 2"):
        SparseConv(3, 2, (3, 3, 3))(x.replace(x.feats[:, :2]), FRAMES)
    with pytest.raises(FormatError, match="odd sizes"):
        SparseConv(3, 2, (2, 2, 2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 1, 1, 1), (3, 3, 3, 3)])
def test_cuda_agrees_and_repeats_itself(kernel):
    x, conv = some_voxels(dtype=torch.float64), SparseConv(3, 2, kernel).double()
    there = SparseTensor(x.feats.cuda(), x.coords.cuda(), x.slots)
    expected = pool_time(pool_space(conv(x, FRAMES)), FRAMES).feats
    conv.cuda()
    found = [pool_time(pool_space(conv(there, FRAMES)), FRAMES).feats for _ in range(2)]
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(found[0].cpu(), expected)
