"""FID-VID as the DisCo lineage means it. STAG4D's metric of that name is another one: fid-vid-frames."""

from __future__ import annotations

from dataclasses import replace

from .features.films import RESNET50_KINETICS
from .fvd import FVD_I3D
from .sets import floor

FID_VID_R3D = replace(
    FVD_I3D,
    id="fid-vid-r3d",
    definition=(
        "Frechet distance between all predicted and all true films, one film a view: 2,048 features of 3D ResNet-50 "
        "(Kinetics-400) averaged over pieces of 16 frames, the last frame repeated to fill the last piece; every "
        "channel resized by Pillow (bicubic, in float) to 112 x 112, less ActivityNet's mean."
    ),
    reference="Wang et al. 2023 (DisCo), its mode FVD-3DRN50",
    feature=RESNET50_KINETICS,
)
FID_VID_R3D_FLOOR = floor(FID_VID_R3D)
