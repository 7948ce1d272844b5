"""The case `pipeline`: everything from frames to Gaussians, with a stand-in for the image encoder."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ss4d.checkpoint import Checkpoint, Model, SamplerSettings
from ss4d.image_encoder import MEAN, STD, encode
from ss4d.pipeline import SS4DPipeline
from ss4d.sparse import SparseTensor

from .fixtures import Case, worst


class Averages(nn.Module):
    """20 averages of each colour: tokens are rows, their channels colours and columns."""

    image_size, mean, std = 518, MEAN, STD

    def forward(self, images: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(images, (5, 4))  # [T, 3, 5, 4]
        return pooled.transpose(1, 2).flatten(2)  # [T, 5, 12]


def compare(case: Case, built: dict[str, nn.Module]) -> dict[str, float]:
    record = case.record
    with torch.no_grad():  # as the case was made
        built["sparse_structure_decoder:"].out_layer[2].bias -= 0.8
    settings = SamplerSettings(**record["sampling"] | {"cfg_interval": tuple(record["sampling"]["cfg_interval"])})
    checkpoint = Checkpoint(
        models={role: Model(role, name, args, built[f"{role}:"]) for role, (name, args) in record["models"].items()},
        image_encoder=Averages(),
        encoder_name="averages",
        structure_sampler=settings,
        latent_sampler=settings,
        mean=tuple(record["slat_normalization"]["mean"]),
        std=tuple(record["slat_normalization"]["std"]),
    )
    pipeline = SS4DPipeline(checkpoint)
    latents: list[SparseTensor] = []
    pipeline.gaussian_decoder.register_forward_pre_hook(lambda _, args: latents.append(args[0]))
    frames = [Image.fromarray(frame.numpy()) for frame in case.part("in")["frames"]]
    result = pipeline.run(frames, seed=record["seed"])

    out = {f"{i}coords": voxels for i, voxels in enumerate(result.coords)}
    out["images"] = torch.from_numpy(result.images)
    for i, frame in enumerate(result.gaussians):
        for name in ("xyz", "features", "scaling", "rotation", "opacity"):
            out[f"{i}.{name}"] = getattr(frame, name)
    (latent,) = latents
    middle = {
        "slat_feats": latent.feats,
        "slat_coords": latent.coords,
        "coords": pipeline.run_structure(frames, record["seed"]),
    }
    middle["cond"] = encode(checkpoint.image_encoder, np.asarray(result.images), pipeline.device)
    return worst(out, case.part("out")) | worst(middle, case.part("mid"))
