"""What comes before SS4D's networks: image encoders, background removal."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench4d.errors import FormatError
from metrics.features.torchvision_import import import_torchvision
from ss4d import image_encoder, matting
from ss4d.image_encoder import (
    DINO_FILE,
    DinoConfig,
    DinoV2,
    SmallEncoderConfig,
    SmallImageEncoder,
    encode,
    find_dino,
    from_official,
    normalised,
    official_shapes,
    spelled_for,
)

TINY = DinoConfig(image_size=42, patch_size=14, width=32, depth=3, heads=4, registers=4)


# DINOv2


@pytest.fixture(scope="module")
def transformers():  # type: ignore[no-untyped-def]
    with contextlib.suppress(ImportError):
        import_torchvision()  # transformers imports it where it is installed
    return importlib.import_module("transformers")


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    """Random weights under the official names."""
    generator = torch.Generator().manual_seed(0)
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in official_shapes(TINY).items()}


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 42, 42, generator=torch.Generator().manual_seed(1))


def twin(w: dict[str, Tensor], images: Tensor, config: DinoConfig) -> Tensor:
    """DINOv2 with registers in terms of the official names: tokens before the last norm."""
    count, width = len(images), config.width
    patches = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=config.patch_size)
    x = torch.cat([w["cls_token"].expand(count, -1, -1), patches.flatten(2).transpose(1, 2)], 1) + w["pos_embed"]
    x = torch.cat([x[:, :1], w["register_tokens"].expand(count, -1, -1), x[:, 1:]], 1)
    for i in range(config.depth):
        part = {n.removeprefix(f"blocks.{i}."): t for n, t in w.items() if n.startswith(f"blocks.{i}.")}
        h = F.layer_norm(x, (width,), part["norm1.weight"], part["norm1.bias"], 1e-6)
        qkv = F.linear(h, part["attn.qkv.weight"], part["attn.qkv.bias"])
        q, k, v = qkv.reshape(count, -1, 3, config.heads, width // config.heads).permute(2, 0, 3, 1, 4)
        h = (q @ k.transpose(-1, -2) / math.sqrt(width // config.heads)).softmax(-1) @ v
        h = F.linear(h.transpose(1, 2).flatten(2), part["attn.proj.weight"], part["attn.proj.bias"])
        x = x + part["ls1.gamma"] * h
        h = F.layer_norm(x, (width,), part["norm2.weight"], part["norm2.bias"], 1e-6)
        h = F.gelu(F.linear(h, part["mlp.fc1.weight"], part["mlp.fc1.bias"]))
        x = x + part["ls2.gamma"] * F.linear(h, part["mlp.fc2.weight"], part["mlp.fc2.bias"])
    return x


@pytest.mark.parametrize("name", [DINO_FILE, "dino.safetensors"])
def test_dino_from_the_official_file_is_the_twin(transformers, official, images, tmp_path: Path, name: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / name
    (save_file if name.endswith("safetensors") else torch.save)(official, path)
    encoder, report = DinoV2.load(path, config=TINY)
    with torch.no_grad():
        tokens = encoder(images)
    expected = twin(official, images, TINY)
    assert tokens.shape == (2, 1 + 4 + 9, 32) and report.ok and len(report.sha256) == 64
    torch.testing.assert_close(tokens, expected, atol=2e-5 * float(expected.abs().max()), rtol=0)


def test_dino_is_the_librarys_last_hidden_state_before_its_norm(transformers, official, images) -> None:  # type: ignore[no-untyped-def]
    encoder = DinoV2(TINY)
    encoder.model.load_state_dict(spelled_for(encoder.model.state_dict(), from_official(official, "test")))
    with torch.no_grad():
        output = encoder.model(images, output_hidden_states=True)
        assert torch.equal(encoder(images), output.hidden_states[-1])
        assert torch.equal(encoder.model.layernorm(encoder(images)), output.last_hidden_state)


def test_a_folder_of_the_library_old_names_and_new(transformers, official, images, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    encoder = DinoV2(TINY)
    encoder.model.load_state_dict(spelled_for(encoder.model.state_dict(), from_official(official, "test")))
    encoder.model.save_pretrained(tmp_path / "folder")
    stored = load_file(tmp_path / "folder/model.safetensors")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/config.json").write_bytes((tmp_path / "folder/config.json").read_bytes())
    older = spelled_for(["encoder.layer.0.attention.attention.query.weight"], stored)
    assert "encoder.layer.2.attention.output.dense.bias" in older
    assert set(older) != set(spelled_for([], older)) and len(older) == len(stored)
    save_file(older, tmp_path / "old/model.safetensors")
    for folder in ("folder", "old"):
        loaded, _ = DinoV2.load(tmp_path / folder, config=TINY)
        with torch.no_grad():
            assert torch.equal(loaded(images), encoder(images))
    with pytest.raises(FormatError, match="num_hidden_layers"):
        DinoV2.load(tmp_path / "folder", config=DinoConfig(42, 14, 32, 5, 4))
    config = json.loads((tmp_path / "old/config.json").read_text()) | {"layer_norm_eps": 1e-5}
    (tmp_path / "old/config.json").write_text(json.dumps(config))
    with pytest.raises(FormatError, match="layer_norm_eps"):
        DinoV2.load(tmp_path / "old", config=TINY)


def test_dino_files_that_do_not_fit_are_named(transformers, official, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for change, message in [
        ({"blocks.0.ls1.gamma": None}, "missing: 1\n    encoder.layer.0.layer_scale1.lambda1"),
        ({"head.weight": torch.ones(1)}, "unexpected: 1\n    head.weight"),
        ({"pos_embed": torch.zeros(1, 257, 32)}, r"position_embeddings: file \[1, 257, 32\], network \[1, 10, 32\]"),
        ({"blocks.1.mlp.w12.weight": torch.ones(1)}, "blocks.1.mlp.w12.weight"),
    ]:
        tensors = {name: tensor for name, tensor in (official | change).items() if tensor is not None}
        save_file(tensors, tmp_path / "x.safetensors")
        with pytest.raises(FormatError, match=message):
            DinoV2.load(tmp_path / "x.safetensors", config=TINY)


def test_the_full_size_is_dinov2_vitl14_with_registers(transformers) -> None:  # type: ignore[no-untyped-def]
    with torch.device("meta"):
        encoder = DinoV2()
        tensors = {name: torch.empty(shape) for name, shape in official_shapes(DinoConfig()).items()}
    state = encoder.model.state_dict()
    renamed = spelled_for(state, from_official(tensors, "test"))
    assert {name: t.shape for name, t in renamed.items()} == {name: t.shape for name, t in state.items()}
    assert sum(t.numel() for t in state.values()) == 304_372_736
    assert state["embeddings.position_embeddings"].shape == (1, 1 + 37 * 37, 1024)
    with pytest.raises(FormatError, match=r"\[T,3,518,518\]"):
        encoder(torch.empty(1, 3, 224, 224, device="meta"))


def test_missing_dino_weights_say_what_to_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(FormatError, match=rf"https://dl\.fbaipublicfiles\.com/.*{DINO_FILE}"):
        find_dino([tmp_path])
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints" / DINO_FILE).touch()
    assert find_dino([tmp_path]).name == DINO_FILE


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **options: object) -> object:
        if name.split(".")[0] in ("transformers", "onnxruntime", "huggingface_hub"):
            raise ImportError(f"No module named {name}")
        return real(name, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    for call in (
        lambda: DinoV2(TINY),
        lambda: matting.open_network(tmp_path),
        lambda: image_encoder.DinoV2.load("owner/name"),
    ):
        with pytest.raises(FormatError, match=r"requirements/ss4d\.txt"):
            call()


# the small encoder, and what surrounds every encoder


def test_the_small_encoder_has_the_size_that_it_says() -> None:
    encoder = SmallImageEncoder(SmallEncoderConfig())
    assert sum(p.numel() for p in encoder.parameters()) == 1_865_664
    tokens = encode(encoder, np.zeros((3, 518, 518, 3), np.uint8), batch=2)
    assert tokens.shape == (3, 256, 192)
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(3, 256), atol=1e-5, rtol=0)
    assert SmallImageEncoder.from_args(encoder.args()).config == encoder.config


def test_the_small_encoder_learns() -> None:
    config = SmallEncoderConfig(image_size=16, patch_size=8, width=16, depth=1, heads=2)
    encoder = SmallImageEncoder(config)
    encoder(torch.randn(2, 3, 16, 16)).square().mean().backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for n, p in encoder.named_parameters() if "to_qkv" not in n
    )
    for wrong in ({"patch_size": 7}, {"heads": 5}, {"mean": (0.5,)}):
        with pytest.raises(FormatError):
            SmallEncoderConfig(**{"image_size": 16, "patch_size": 8, "width": 16} | wrong)


def test_patches_are_tokens_row_by_row() -> None:
    encoder = SmallImageEncoder(SmallEncoderConfig(image_size=16, patch_size=8, width=16, depth=0, heads=2))
    torch.nn.init.zeros_(encoder.positions)
    image = torch.zeros(1, 3, 16, 16)
    image[:, :, :8, 8:] = 1  # upper right
    different = (encoder(image) - encoder(torch.zeros_like(image))).abs().sum(-1)[0] > 0
    assert different.tolist() == [False, True, False, False]


def test_normalisation_and_no_resampling_at_the_encoders_own_size() -> None:
    encoder = SimpleNamespace(image_size=4, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0))
    frame = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3) * 5
    found = normalised(encoder, frame)  # type: ignore[arg-type]
    expected = (frame[0].transpose(2, 0, 1) / 255 - 0.5) / np.array([0.25, 0.5, 1.0])[:, None, None]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    with pytest.raises(FormatError, match="uint8 RGB"):
        normalised(encoder, np.zeros((1, 4, 4, 4), np.uint8))  # type: ignore[arg-type]


# background removal


class FakeNetwork:
    """Answers with how bright the image is."""

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="x")]

    def run(self, _: None, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert given["x"].shape == (1, 3, 320, 320) and given["x"].dtype == np.float32
        return [given["x"].mean(1, keepdims=True)]


def test_the_matte_is_stretched_and_specks_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matting, "open_network", lambda _: FakeNetwork())
    frame = np.zeros((64, 96, 3), np.uint8)
    frame[10:50, 20:60] = 200
    frame[2:5, 90:93] = 200  # a speck
    frame[40:60, 70:90] = 10  # faint
    rgba = matting.remove_background(frame[None], Path("none"))
    assert rgba.shape == (1, 64, 96, 4) and np.array_equal(rgba[..., :3], frame[None])
    alpha = rgba[0, ..., 3]
    assert (alpha[14:46, 24:56] > 200).all() and not alpha[:8].any() and not alpha[:, 65:].any()
    with pytest.raises(FormatError, match=r"frame 0.*none that U-2-Net sees"):
        matting.remove_background(np.zeros((1, 8, 8, 3), np.uint8), Path("none"))
    with pytest.raises(FormatError, match="uint8 RGB"):
        matting.remove_background(rgba, Path("none"))
