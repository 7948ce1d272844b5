"""From frames to condition tokens: DINOv2 ViT-L/14 with registers, or a small trainable ViT of the same interface.

`encode` does what surrounds an encoder: resizing, normalisation and a plain LayerNorm of every token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor, nn

from bench4d.errors import FormatError
from bench4d.files import read_json, sha256_file

from .loading import LoadReport, load_strictly, read_tensors

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
DINO_FILE = "dinov2_vitl14_reg4_pretrain.pth"
DINO_URL = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/{DINO_FILE}"
DINO_HUB = "facebook/dinov2-with-registers-large"


class ImageEncoder(nn.Module):
    """What an encoder has besides a forward from normalised images [T,3,S,S] to tokens [T,L,C]."""

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def encode(
    encoder: ImageEncoder, frames: UInt8[np.ndarray, "T H W 3"], device: torch.device | str = "cpu", batch: int = 8
) -> Float32[Tensor, "T L C"]:
    """Condition tokens of all frames, from an encoder on `device`. The LayerNorm has no parameters and eps 1e-5."""
    tokens = []
    with torch.no_grad():
        for start in range(0, len(frames), batch):
            images = normalised(encoder, frames[start : start + batch]).to(device)
            features = encoder(images)  # [b,L,C]
            tokens.append(F.layer_norm(features.float(), features.shape[-1:]))
    return torch.cat(tokens)


def normalised(encoder: ImageEncoder, frames: UInt8[np.ndarray, "T H W 3"]) -> Float32[Tensor, "T 3 S S"]:
    """Lanczos to the encoder's size (nothing happens to frames that have it), [0,1], minus mean, over deviation."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise FormatError("frames", "uint8 RGB [T,H,W,3]", f"{frames.dtype} {list(frames.shape)}")
    size = (encoder.image_size, encoder.image_size)
    resized = [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)) for frame in frames]
    images = torch.from_numpy(np.stack(resized).astype(np.float32) / 255).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (encoder.mean, encoder.std))
    return ((images - mean) / std).contiguous()


# ---- DINOv2 ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DinoConfig:
    """DINOv2 with registers; the defaults are ViT-L/14. 518 = 37 * 14 is the grid it was trained on: its position
    embedding [1 + 37*37] is used as it is, never interpolated."""

    image_size: int = 518
    patch_size: int = 14
    width: int = 1024
    depth: int = 24
    heads: int = 16
    registers: int = 4


class DinoV2(ImageEncoder):
    """Tokens of DINOv2 before its last LayerNorm: class, registers, then patches row by row.

    The network is `transformers`' Dinov2WithRegistersModel (GELU feed-forward, layer scale, LayerNorm eps 1e-6).
    """

    mean, std = MEAN, STD

    def __init__(self, config: DinoConfig = DinoConfig()) -> None:
        super().__init__()
        library = _transformers()
        self.config, self.image_size = config, config.image_size
        settings = library.Dinov2WithRegistersConfig(
            image_size=config.image_size,
            patch_size=config.patch_size,
            hidden_size=config.width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            num_register_tokens=config.registers,
            mlp_ratio=4,
            hidden_act="gelu",
            layer_norm_eps=1e-6,
            qkv_bias=True,
            use_swiglu_ffn=False,
            attn_implementation="sdpa",
        )
        self.model = library.Dinov2WithRegistersModel(settings).eval()

    def forward(self, images: Float32[Tensor, "T 3 S S"]) -> Float32[Tensor, "T L C"]:
        if images.shape[1:] != (3, self.image_size, self.image_size):
            raise FormatError("images", f"[T,3,{self.image_size},{self.image_size}]", f"{list(images.shape)}")
        tokens = self.model.embeddings(images)  # [T, 1 + registers + patches, C]
        return self.model.encoder(tokens).last_hidden_state

    @staticmethod
    def load(
        source: str | Path, revision: str | None = None, config: DinoConfig = DinoConfig()
    ) -> tuple[DinoV2, LoadReport]:
        """The network with weights.

        Args:
            source: the official file `dinov2_vitl14_reg4_pretrain.pth` (or its tensors as .safetensors), a folder in
                the layout of `transformers` (config.json, model.safetensors), or a hub id such as
                `facebook/dinov2-with-registers-large`.
            revision: of the hub repository.
        """
        path = Path(source)
        if path.is_file() or path.suffix in (".pth", ".safetensors"):
            file, tensors = path, from_official(read_tensors(path), path)
        else:
            folder = path if path.is_dir() else _download(str(source), revision)
            check_library_config(folder, config)
            file = folder / "model.safetensors"
            tensors = read_tensors(file)
        with torch.device("meta"):
            encoder = DinoV2(config)
        tensors = spelled_for(encoder.model.state_dict(), tensors)
        report = load_strictly(encoder.model, tensors, file, sha256_file(file))
        return encoder.eval().requires_grad_(False), report


def from_official(tensors: Mapping[str, Tensor], where: str | Path) -> dict[str, Tensor]:
    """The tensors of the official checkpoint under the library's names.

    | official | library |
    |---|---|
    | `cls_token`, `mask_token`, `register_tokens` | `embeddings.` and the same name |
    | `pos_embed` [1, 1+P, C] | `embeddings.position_embeddings` |
    | `patch_embed.proj` | `embeddings.patch_embeddings.projection` |
    | `blocks.i.norm1`, `norm2`, `mlp.fc1`, `mlp.fc2` | `encoder.layer.i.` and the same name |
    | `blocks.i.attn.qkv` [3C, C] | `...attention.q_proj`, `k_proj`, `v_proj`: first, second, last third of the rows |
    | `blocks.i.attn.proj` | `...attention.o_proj` |
    | `blocks.i.ls1.gamma`, `ls2.gamma` | `...layer_scale1.lambda1`, `layer_scale2.lambda1` |
    | `norm` | `layernorm` |
    """
    renamed: dict[str, Tensor] = {}
    whole = {"pos_embed": "embeddings.position_embeddings"}
    whole |= {name: f"embeddings.{name}" for name in ("cls_token", "mask_token", "register_tokens")}
    modules = {"patch_embed.proj": "embeddings.patch_embeddings.projection", "norm": "layernorm"}
    parts = {"attn.proj": "attention.o_proj"} | {name: name for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")}
    scales = {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        if name in whole:
            renamed[whole[name]] = tensor
        elif module in modules:
            renamed[f"{modules[module]}.{kind}"] = tensor
        elif name.startswith("blocks.") and name.count(".") >= 3:
            _, number, rest = name.split(".", 2)
            part, front = rest.rpartition(".")[0], f"encoder.layer.{number}"
            if part == "attn.qkv":
                if tensor.shape[0] % 3:
                    raise FormatError(where, f"{name} with 3C rows", f"{list(tensor.shape)}")
                for which, third in zip("qkv", tensor.chunk(3), strict=True):
                    renamed[f"{front}.attention.{which}_proj.{kind}"] = third.contiguous()
            elif rest in scales:
                renamed[f"{front}.{scales[rest]}"] = tensor
            else:
                renamed[f"{front}.{parts[part]}.{kind}" if part in parts else name] = tensor
        else:
            renamed[name] = tensor  # unknown: the strict loader names it
    return renamed


def official_shapes(config: DinoConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the official checkpoint."""
    width, patch = config.width, config.patch_size
    tokens = 1 + (config.image_size // patch) ** 2
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width), "pos_embed": (1, tokens, width)}
    shapes |= {"register_tokens": (1, config.registers, width), "mask_token": (1, width)}
    linears: dict[str, tuple[int, ...]] = {"patch_embed.proj": (width, 3, patch, patch)}
    norms = ["norm"]
    for i in range(config.depth):
        block = f"blocks.{i}"
        norms += [f"{block}.norm1", f"{block}.norm2"]
        linears |= {f"{block}.attn.qkv": (3 * width, width), f"{block}.attn.proj": (width, width)}
        linears |= {f"{block}.mlp.fc1": (4 * width, width), f"{block}.mlp.fc2": (width, 4 * width)}
        shapes |= {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
    for name, shape in linears.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes


# How `transformers` calls the projections of an attention: up to 5.17 at least, and from 5.23 at the latest.
OLDER = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}


def spelled_for(known: Collection[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, attentions called as in the names that a network knows: files and networks may differ in age."""
    older = any(".attention.attention.query." in name for name in known)
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in OLDER.items():
            name = name.replace(new, old) if older else name.replace(old, new)
        renamed[name] = tensor
    return renamed


def check_library_config(folder: Path, config: DinoConfig) -> None:
    """Refuse a folder of another DINOv2: a different patch or image size would load, and mean something else."""
    found = read_json(folder / "config.json")
    wanted = {"image_size": config.image_size, "patch_size": config.patch_size, "hidden_size": config.width}
    wanted |= {"num_hidden_layers": config.depth, "num_attention_heads": config.heads}
    wanted |= {"num_register_tokens": config.registers}
    differing = {key: found.get(key) for key, value in wanted.items() if found.get(key) != value}
    unlike = {"hidden_act": "gelu", "layer_norm_eps": 1e-6, "mlp_ratio": 4, "qkv_bias": True, "use_swiglu_ffn": False}
    differing |= {key: found[key] for key, value in unlike.items() if found.get(key, value) != value}
    if differing:
        raise FormatError(folder / "config.json", f"a DINOv2 with {wanted | unlike}", f"{differing}")


def find_dino(places: list[Path]) -> Path:
    """The official checkpoint in one of these folders, or in torch.hub's. Raises FormatError with what to do."""
    folders = [*places, Path(torch.hub.get_dir()) / "checkpoints"]
    for folder in folders:
        for name in (DINO_FILE, Path(DINO_FILE).with_suffix(".safetensors")):
            if (folder / name).is_file():
                return folder / name
    raise FormatError(
        "image encoder",
        f"the weights of DINOv2 ViT-L/14 with registers, a file {DINO_FILE}",
        "none in " + ", ".join(map(str, folders)),
        f"Download {DINO_URL} into one of them, or name a file, a folder or the hub id {DINO_HUB} as image encoder.",
    )


def _transformers() -> Any:
    try:
        import transformers
        from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel  # noqa: F401 (imported late)
    except ImportError as error:
        cause = error.__cause__ or error
        raise FormatError(
            "image encoder",
            "the package transformers with DINOv2",
            f"{type(cause).__name__}: {str(cause)[:160]}",
            "pip install -r requirements/ss4d.txt (a torchvision built for another torch has to go: it is not needed).",
        ) from None
    return transformers


def _download(repository: str, revision: str | None) -> Path:
    from .hub import fetch

    for name in ("config.json", "model.safetensors"):
        file = fetch(repository, name, revision)
    return file.parent


# ---- a small encoder -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SmallEncoderConfig:
    """A ViT that trains in minutes; the defaults have 1,865,664 parameters and give 256 tokens of 192 channels."""

    image_size: int = 128
    patch_size: int = 8
    width: int = 192
    depth: int = 4
    heads: int = 6
    mlp_ratio: int = 4
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size or self.width % self.heads:
            found = f"image {self.image_size}, patch {self.patch_size}, width {self.width}, heads {self.heads}"
            raise FormatError("SmallEncoderConfig", "whole patches, and a width that the heads divide", found)
        if len(self.mean) != 3 or len(self.std) != 3:
            raise FormatError("SmallEncoderConfig", "a mean and a deviation per colour", f"{self.mean}, {self.std}")

    @staticmethod
    def from_args(args: Mapping[str, Any]) -> SmallEncoderConfig:
        known = {field.name for field in fields(SmallEncoderConfig)}
        if unknown := sorted(set(args) - known):
            raise FormatError("SmallImageEncoder", f"arguments among {sorted(known)}", f"{unknown}")
        lists = {key: tuple(value) for key, value in args.items() if key in ("mean", "std")}
        return SmallEncoderConfig(**(dict(args) | lists))


class SmallImageEncoder(ImageEncoder):
    """Patches, a learned position each, pre-norm transformer blocks; no class token and no last norm (see `encode`)."""

    def __init__(self, config: SmallEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.image_size, self.mean, self.std = config.image_size, config.mean, config.std
        tokens = (config.image_size // config.patch_size) ** 2
        self.patches = nn.Conv2d(3, config.width, config.patch_size, config.patch_size)
        self.positions = nn.Parameter(torch.empty(1, tokens, config.width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.ModuleList(SmallBlock(config) for _ in range(config.depth))

    def forward(self, images: Float32[Tensor, "T 3 S S"]) -> Float32[Tensor, "T L C"]:
        x = self.patches(images)  # [T,C,S/p,S/p]
        x = x.flatten(2).transpose(1, 2)  # [T,L,C], patches row by row
        x = x + self.positions
        for block in self.blocks:
            x = block(x)
        return x

    @classmethod
    def from_args(cls, args: Mapping[str, Any]) -> SmallImageEncoder:
        return cls(SmallEncoderConfig.from_args(args))

    def args(self) -> dict[str, Any]:
        """As they stand in a checkpoint's JSON."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self.config).items()}


class SmallBlock(nn.Module):
    def __init__(self, config: SmallEncoderConfig) -> None:
        super().__init__()
        width, self.heads = config.width, config.heads
        self.norm1 = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.to_out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, config.mlp_ratio * width)
        self.narrow = nn.Linear(config.mlp_ratio * width, width)

    def forward(self, x: Float32[Tensor, "T L C"]) -> Float32[Tensor, "T L C"]:
        count, length, width = x.shape
        qkv = self.to_qkv(self.norm1(x)).view(count, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [T,heads,L,C/heads]
        h = F.scaled_dot_product_attention(q, k, v)
        x = x + self.to_out(h.transpose(1, 2).reshape(count, length, width))
        return x + self.narrow(F.gelu(self.widen(self.norm2(x))))
