"""Record what the packages' video networks give for random weights, into tests/fixtures/video_networks.json.

    python -m venv oracle
    oracle/bin/pip install torch==2.13.0 numpy
    oracle/bin/pip install --no-deps cd-fvd==0.1.1 monai==1.6.1
    PYTHONPATH=. oracle/bin/python tests/reference/record_video_networks.py

I3D and VideoMAE are those of cd-fvd, 3D-ResNet-50 is MONAI's with the published strides. DisCo's I3D, which
Consistent4D uses, is cd-fvd's with its two differences put in: BatchNorm's epsilon 1e-3, and the last pooling over
single time steps.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from tests.reference.video_network_weights import random_input, random_state

OUT = Path(__file__).parents[1] / "fixtures" / "video_networks.json"


def filled(network: nn.Module, seed: int) -> nn.Module:
    """The network with our random weights under its own names; counts of batches apart."""
    own = dict(network.state_dict())
    names = {name: tuple(t.shape) for name, t in own.items() if "num_batches" not in name}
    network.load_state_dict(own | {name: torch.from_numpy(x) for name, x in random_state(names, seed).items()})
    return network.eval()


def run(network: nn.Module, shape: tuple[int, ...], low: float, high: float, seed: int) -> dict:
    with torch.inference_mode():
        values = network(torch.from_numpy(random_input(shape, low, high, seed)))
    return {
        "shape": shape,
        "low": low,
        "high": high,
        "seed": seed,
        "values": [float(f"{v:.9g}") for v in values.double().flatten().tolist()],
    }


def record_i3d() -> dict:
    from cdfvd.third_party.i3d.pytorch_i3d import InceptionI3d

    network = filled(InceptionI3d(400, in_channels=3), seed=1)
    recorded = {"cd-fvd": [run(network, (1, 3, t, 224, 224), -1, 1, seed=t) for t in (9, 16)]}
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3
    network.avg_pool = nn.AvgPool3d((1, 7, 7), stride=1)
    recorded["disco"] = [run(network, (1, 3, t, 224, 224), -1, 1, seed=t) for t in (5, 16)]
    return recorded | {"weights": 1}


def record_resnet() -> dict:
    from monai.networks.nets.resnet import ResNet

    network = ResNet(
        "bottleneck",
        layers=[3, 4, 6, 3],
        block_inplanes=[64, 128, 256, 512],
        n_input_channels=3,
        conv1_t_size=7,
        conv1_t_stride=(1, 2, 2),
        num_classes=400,
        shortcut_type="B",
        bias_downsample=False,
    )
    network = filled(network, seed=2)
    network.fc = nn.Identity()
    return {"weights": 2, "monai": [run(network, (1, 3, 16, 112, 112), -110, 140, seed=3)]}


def record_videomae() -> dict:
    from cdfvd.third_party.VideoMAEv2.videomaev2_finetune import VisionTransformer, vit_giant_patch14_224

    network = VisionTransformer(
        img_size=224,
        patch_size=14,
        num_classes=174,
        embed_dim=132,
        depth=3,
        num_heads=3,
        mlp_ratio=48 / 11,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        all_frames=16,
        tubelet_size=2,
        use_mean_pooling=True,
    )
    network = filled(network, seed=4)
    network.forward = network.forward_features
    runs = [run(network, (1, 3, t, 224, 224), 0, 1, seed=t) for t in (16, 7, 21, 32)]
    full = vit_giant_patch14_224(num_classes=174, all_frames=16, tubelet_size=2, use_mean_pooling=True)  # 4 GB
    count = sum(parameter.numel() for parameter in full.parameters())
    return {"weights": 4, "vit_g_parameters": count, "width": 132, "depth": 3, "heads": 3, "inner": 576, "cd-fvd": runs}


if __name__ == "__main__":
    versions = {"torch": torch.__version__, "numpy": np.__version__, "cd-fvd": "0.1.1", "monai": "1.6.1"}
    recorded = {"versions": versions, "i3d": record_i3d(), "resnet3d": record_resnet(), "videomae": record_videomae()}
    OUT.write_text(json.dumps(recorded, separators=(",", ":")) + "\n")
