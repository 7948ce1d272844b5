"""The video networks against the packages' (recorded, see record_video_networks.py), with the same random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bench4d.errors import FormatError
from bench4d.metric import MetricUnavailable
from metrics.features import i3d, resnet3d, videomae
from metrics.features.resize import resize_float
from metrics.features.state import read_state
from tests.reference.video_network_weights import random_film, random_input, random_state

pytestmark = pytest.mark.usefixtures("one_thread")

RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "video_networks.json").read_text("utf-8"))
TOLERANCE = 1e-5  # of the largest number of an output
CPU = torch.device("cpu")
SIZES = videomae.Config(*(RECORDED["videomae"][name] for name in ("width", "depth", "heads", "inner")))


def tensors(shapes, seed: int) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values) for name, values in random_state(shapes, seed).items()}


def given(run: dict) -> torch.Tensor:
    return torch.from_numpy(random_input(tuple(run["shape"]), run["low"], run["high"], run["seed"]))


def check(ours: torch.Tensor, run: dict) -> None:
    theirs = np.array(run["values"])
    assert theirs.std() > 0.01  # the network does answer
    np.testing.assert_allclose(ours.flatten().numpy(), theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())


@pytest.fixture(scope="module")
def i3d_state():
    return tensors(i3d.shapes(), RECORDED["i3d"]["weights"])


@pytest.fixture(scope="module")
def resnet_state():
    return tensors(resnet3d.shapes(), RECORDED["resnet3d"]["weights"])


@pytest.mark.parametrize("run", RECORDED["i3d"]["cd-fvd"], ids=lambda run: f"{run['shape'][2]}-frames")
def test_i3d_equals_cd_fvd(i3d_state, run):
    check(i3d.i3d(given(run), i3d.prepare(i3d_state, epsilon=1e-5), pooled=2), run)


@pytest.mark.parametrize("run", RECORDED["i3d"]["disco"], ids=lambda run: f"{run['shape'][2]}-frames")
def test_i3d_equals_discos_form(i3d_state, run):
    check(i3d.i3d(given(run), i3d.prepare(i3d_state)), run)


def test_the_two_forms_of_i3d_differ():
    """The same 16 frames: what separates Consistent4D's FVD from cd-fvd's with the same file."""
    one, two = (np.array(RECORDED["i3d"][form][-1]["values"]) for form in ("cd-fvd", "disco"))
    assert np.abs(one - two).max() > 100 * TOLERANCE * np.abs(one).max()


def test_resnet50_equals_monai(resnet_state):
    run = RECORDED["resnet3d"]["monai"][0]
    check(resnet3d.resnet50(given(run), resnet3d.prepare(resnet_state)), run)


@pytest.mark.parametrize("run", RECORDED["videomae"]["cd-fvd"], ids=lambda run: f"{run['shape'][2]}-frames")
def test_videomae_equals_cd_fvd(run):
    state = tensors(videomae.shapes(SIZES), RECORDED["videomae"]["weights"])
    check(videomae.videomae(given(run), state, SIZES), run)


def test_vit_g_has_as_many_parameters_as_the_packages():
    count = sum(int(np.prod(shape)) for shape in videomae.shapes(videomae.VIT_G).values())
    assert count == RECORDED["videomae"]["vit_g_parameters"]


# What films become before a network sees them.


def by_pillow(film: np.ndarray, side: int) -> np.ndarray:
    """Each channel of each frame as Consistent4D's and DisCo's scripts resize it."""

    def resized(channel: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(channel.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))

    return np.stack([np.stack([resized(frame[..., c]) for c in range(3)], -1) for frame in film])


def assert_within_one_unit(ours: np.ndarray, theirs: np.ndarray) -> None:
    """float32 arrays: equal, but for at most one value in 1,000 that is the float next to the other's.

    Pillow's sums and ours are in double precision, in another order; where one lies halfway between two floats, either
    may come out. Both are finite and of one sign, so that their bits count floats.
    """
    steps = np.abs(ours.view(np.int32).astype(np.int64) - theirs.view(np.int32))
    assert steps.max() <= 1 and (steps > 0).mean() < 1e-3


@pytest.mark.parametrize("size", [(256, 256), (96, 61), (300, 512)])
def test_films_are_resized_by_pillow(size):
    film = random_film(3, *size, seed=1)
    film[:, : size[0] // 2] = 255
    small = resize_float(torch.from_numpy(film).float(), (224, 224), "bicubic").numpy()
    assert_within_one_unit(small, by_pillow(film, 224))
    ours = i3d.squash(torch.from_numpy(film))
    assert np.array_equal(ours.numpy(), small / np.float32(127.5) - 1)
    assert ours.max() > 1  # bicubic overshoots, and nothing cuts it off
    ours = resnet3d.pieces(torch.from_numpy(film))
    assert ours.shape == (1, 3, 16, 112, 112)
    theirs = (by_pillow(film, 112) - np.array(resnet3d.MEAN)).transpose(3, 0, 1, 2)
    np.testing.assert_allclose(ours[0, :, :3].numpy(), theirs, rtol=0, atol=1e-4)
    assert (ours[0, :, 3:] == ours[0, :, 2:3]).all()  # the last frame fills the piece


def test_long_films_come_in_pieces_of_16():
    film = torch.from_numpy(random_film(35, 16, 16, seed=2))
    pieces = resnet3d.pieces(film)
    assert pieces.shape == (3, 3, 16, 112, 112)
    assert torch.equal(pieces[1], resnet3d.pieces(film[16:32])[0])
    assert torch.equal(resnet3d.pieces(film[:32]), pieces[:2])


def test_the_crop_is_the_middle_of_the_shorter_side():
    wide = torch.zeros(2, 20, 60, 3, dtype=torch.uint8)
    wide[:, :, 20:40] = 255  # the middle square
    cropped = i3d.crop(wide)
    assert cropped.shape == (3, 2, 224, 224)
    assert (cropped[..., 8:-8] == 1).all() and cropped.min() >= -1
    assert torch.allclose(i3d.crop(wide.transpose(1, 2)), cropped.transpose(2, 3), atol=1e-6)
    film = torch.from_numpy(random_film(2, 224, 224, seed=3))
    assert torch.allclose(i3d.crop(film), film.permute(3, 0, 1, 2) / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("prepare", [i3d.crop, videomae.squash])
def test_shrinking_is_not_antialiased(prepare):
    """To a quarter: of each 4 x 4 pixels only the middle four count."""
    film = torch.from_numpy(random_film(1, 896, 896, seed=4))
    middle = film[0].view(224, 4, 224, 4, 3)[:, 1:3, :, 1:3].double().mean(dim=(1, 3)) / 255
    ours = prepare(film)[:, 0].permute(1, 2, 0)
    if prepare is i3d.crop:
        ours = (ours + 1) / 2
    assert torch.allclose(ours.double(), middle, rtol=0, atol=1e-6)


# Whole features, from files.


class StandIn(torch.nn.Module):
    """Has the signature of StyleGAN-V's program; gives means of its input, and fails if it is asked to prepare it."""

    def forward(
        self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> torch.Tensor:
        assert not rescale and not resize and return_features
        assert x.shape[1] == 3 and x.shape[3] == 224 and x.shape[4] == 224
        return x.mean(dim=(3, 4)).flatten(1).mean(dim=1, keepdim=True).expand(-1, 400)


@pytest.fixture(scope="module")
def files(tmp_path_factory, i3d_state, resnet_state):
    """Weights in their published forms: state dicts of torch.save, wrapped as the checkpoints are."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {id: folder / f"{id}.pt" for id in ("i3d-400", "i3d-torchscript", "resnet50-kinetics", "videomae-ssv2")}
    counts = {"Mixed_3b.b0.bn.num_batches_tracked": torch.tensor(7)}
    torch.save(i3d_state | counts, paths["i3d-400"])
    state = {f"module.{name}": tensor for name, tensor in resnet_state.items()}
    torch.save(
        {"epoch": 3, "arch": "resnet-50", "state_dict": state},
        paths["resnet50-kinetics"],
        _use_new_zipfile_serialization=False,  # the published file is older than that form
    )
    torch.save({"module": tensors(videomae.shapes(SIZES), 4)}, paths["videomae-ssv2"])
    torch.jit.script(StandIn()).save(paths["i3d-torchscript"])
    return paths


def load_videomae(weights, device):
    return videomae.load(weights, device, SIZES)


NETWORKS = {
    "i3d-400": (i3d.load, 400, 5),
    "i3d-torchscript": (i3d.load_torchscript, 400, 10),
    "resnet50-kinetics": (resnet3d.load, 2048, 5),
    "videomae-ssv2": (load_videomae, SIZES.width, 4),
}


@pytest.mark.parametrize("id", NETWORKS)
def test_a_batch_gives_what_its_films_give(files, id):
    load, width, frames = NETWORKS[id]
    network = load(files, CPU)
    films = torch.from_numpy(np.stack([random_film(frames, 40, 40, seed) for seed in range(2)]))
    together = network(films)
    assert together.shape == (2, width) and together.dtype == torch.float32
    assert torch.equal(together, torch.cat([network(film[None]) for film in films]))
    assert not torch.allclose(together[0], together[1], rtol=1e-3)


def test_features_of_a_film_are_the_networks_of_its_preparation(files, resnet_state):
    """Two pieces are averaged, and the classifier is not applied."""
    film = torch.from_numpy(random_film(20, 24, 24, seed=5))
    ours = resnet3d.load(files, CPU)(film[None])[0]
    w = resnet3d.prepare(resnet_state)
    theirs = torch.stack([resnet3d.resnet50(piece[None], w)[0] for piece in resnet3d.pieces(film)]).mean(dim=0)
    assert torch.allclose(ours, theirs, rtol=0, atol=float(TOLERANCE * theirs.abs().max()))


def test_short_films_have_no_vector(files):
    network = i3d.load_torchscript(files, CPU)
    with pytest.raises(MetricUnavailable, match="10 frames or more, these have 9"):
        network(torch.zeros(1, 9, 8, 8, 3, dtype=torch.uint8))
    with pytest.raises(MetricUnavailable, match="2 frames or more, these have 1"):
        load_videomae(files, CPU)(torch.zeros(1, 1, 8, 8, 3, dtype=torch.uint8))


def test_another_networks_file_is_refused(files, tmp_path):
    with pytest.raises(FormatError, match=r"the \d+ tensors of this network; found an unknown"):
        read_state(files["i3d-400"], resnet3d.shapes())
    shapes = {"a": (2,), "b": (3,)}
    save_file({"a": torch.zeros(2), "b": torch.zeros(4)}, tmp_path / "w.safetensors")
    with pytest.raises(FormatError, match=r"b \[4\] instead of \[3\]"):
        read_state(tmp_path / "w.safetensors", shapes)
    for content in ([torch.zeros(2)], {"state_dict": {"a": 1}}):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(FormatError, match="expected a state dict"):
            read_state(tmp_path / "w.pt", shapes, inside=("state_dict",))
    save_file({"x.a": torch.ones(2, dtype=torch.float16), "x.b": torch.zeros(3)}, tmp_path / "w.safetensors")
    assert read_state(tmp_path / "w.safetensors", shapes, prefix="x.")["a"].dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.parametrize("id", NETWORKS)
def test_gpu_equals_cpu(files, id):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    load, _, frames = NETWORKS[id]
    film = torch.from_numpy(random_film(frames, 40, 40, seed=1))[None]
    here = load(files, CPU)(film)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False, deterministic=True, benchmark=False):
        there = load(files, torch.device("cuda"))(film.cuda()).cpu()
    assert torch.allclose(here, there, rtol=0, atol=float(1e-4 * here.abs().max()))
