"""What pictures become before a network sees them: the packages' own preparation, bit for bit."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from metrics.features import clip, dreamsim, inception
from metrics.features.torchvision_import import import_torchvision
from tools.random_weights import photographs

SIZES = [(256, 256), (512, 512), (224, 224), (200, 280), (100, 90), (61, 96), (300, 512), (96, 128)]
ODD = [(310, 300), (333, 517)]  # resized for CLIP, these are an odd number of pixels longer than wide or high


@pytest.fixture(autouse=True, scope="module")
def packages():
    """open_clip, dreamsim and pytorch_fid all import torchvision."""
    import_torchvision()


def by_open_clip(images: np.ndarray) -> torch.Tensor:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform = image_transform_v2(PreprocessCfg(size=224, mean=clip.MEAN, std=clip.DEVIATION), is_train=False)
    return torch.stack([transform(Image.fromarray(image)) for image in images])


@pytest.mark.parametrize("size", SIZES)
def test_clip_prepares_as_open_clip(size):
    images = photographs(*size)
    assert torch.equal(clip.prepare(torch.from_numpy(images), 224), by_open_clip(images))


@pytest.mark.parametrize("size", SIZES + ODD)
def test_clip_prepares_as_hugging_faces_processor(size):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    images = photographs(*size)
    theirs = CLIPImageProcessorPil()([Image.fromarray(i) for i in images], return_tensors="pt")["pixel_values"]
    assert torch.equal(clip.prepare(torch.from_numpy(images), 224), theirs)


def test_of_an_odd_rest_open_clip_may_cut_off_the_other_pixel():
    """310 x 300 becomes 231 x 224: torchvision rounds the square's beginning, 3.5, to 4; Hugging Face takes 3."""
    images = photographs(310, 300)
    ours, theirs = clip.prepare(torch.from_numpy(images), 224), by_open_clip(images)
    assert torch.equal(ours[:, :, 1:], theirs[:, :, :-1]) and not torch.equal(ours, theirs)


@pytest.mark.parametrize("size", SIZES + ODD)
def test_inception_prepares_as_pytorch_fid(size):
    """Its own `forward`, with a network that changes nothing."""
    from pytorch_fid.inception import InceptionV3

    bare = SimpleNamespace(resize_input=True, normalize_input=True, blocks=[torch.nn.Identity()])
    bare.output_blocks, bare.last_needed_block = [0], 0
    images = torch.from_numpy(photographs(*size))
    theirs = InceptionV3.forward(bare, images.permute(0, 3, 1, 2) / 255)[0]
    assert theirs.shape == (2, 3, 299, 299) and theirs.min() >= -1
    assert torch.equal(inception.prepare(images), theirs)


@pytest.mark.parametrize("size", SIZES + ODD)
def test_tensorflows_resize_is_torch_fidelitys(size):
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as resized

    images = torch.from_numpy(photographs(*size))
    theirs = (resized(images.permute(0, 3, 1, 2).float(), size=(299, 299), align_corners=False) - 128) / 128
    assert torch.equal(inception.prepare_tf1(images), theirs)


@pytest.fixture(scope="module")
def dreamsims_transform(tmp_path_factory):
    """What `dreamsim.dreamsim` returns beside its network, which is neither made nor fetched here."""
    from dreamsim import model as package

    folder = tmp_path_factory.mktemp("dreamsim")
    (folder / "ensemble_lora").mkdir()
    config = dict.fromkeys(("r", "lora_alpha", "lora_dropout", "bias", "target_modules"))
    (folder / "ensemble_lora" / "adapter_config.json").write_text(json.dumps(config))
    nothing = torch.nn.Identity()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("download_weights", "PerceptualModel", "LoraConfig", "get_peft_model"):
            patch.setattr(package, name, lambda *_, **__: nothing)
        return package.dreamsim(pretrained=False, device="cpu", cache_dir=str(folder))[1]


@pytest.mark.parametrize("size", SIZES + ODD)
def test_dreamsim_prepares_as_the_package(dreamsims_transform, size):
    images = photographs(*size)
    theirs = torch.cat([dreamsims_transform(Image.fromarray(image)) for image in images])
    assert theirs.shape == (2, 3, 224, 224)
    assert torch.equal(dreamsim.shrink(torch.from_numpy(images), "bicubic"), theirs)


@pytest.mark.parametrize("size", SIZES + ODD)
def test_its_bilinear_form_is_torchvisions_on_tensors_up_to_rounding(size):
    """Its sums are in single precision, ours in double: up to a thousandth of a grey level."""
    from torchvision.transforms import Resize

    images = torch.from_numpy(photographs(*size))
    theirs = Resize((224, 224))(images.permute(0, 3, 1, 2).float() / 255)
    torch.testing.assert_close(dreamsim.shrink(images, "bilinear"), theirs, rtol=0, atol=1e-5)
