"""Background removal for videos without alpha: U-2-Net (small) as ONNX, frame by frame.

SS4D wants objects that are already cut out. This is for plain videos, and it is a small network: look at the result
(`--save-frames`), and prefer a better matte where there is one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from bench4d.errors import FormatError
from bench4d.weights import resolve

SIDE = 320  # pixels a side that the network was trained on and that its file fixes
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
FAINT = 0.1  # alpha below this becomes 0: the crop box is drawn around everything that is not quite transparent
SPECK = 0.05  # parts with less than this share of the largest part's area are dropped, for the same reason


def remove_background(
    frames: UInt8[np.ndarray, "T H W 3"], weights: Path | None = None, progress: bool = False
) -> UInt8[np.ndarray, "T H W 4"]:
    """The frames with straight alpha.

    Args:
        weights: u2netp.onnx; None lets bench4d.weights find or fetch it. Raises WeightsMissing.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise FormatError("frames", "uint8 RGB [T,H,W,3]", f"{frames.dtype} {list(frames.shape)}")
    session = open_network(weights or resolve("u2netp"))
    alphas = []
    for k, frame in enumerate(tqdm(frames, "background", disable=not progress)):
        alpha = without_specks(saliency(session, frame))
        if not alpha.any():
            raise FormatError(f"frame {k}", "an object in front of a background", "none that U-2-Net sees")
        alphas.append(np.rint(255 * alpha).astype(np.uint8))
    return np.concatenate([frames, np.stack(alphas)[..., None]], axis=3)


def open_network(path: Path) -> Any:
    """An onnxruntime session on the CPU, on one thread so that equal frames give equal alpha."""
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError:
        raise FormatError(
            "background removal",
            "the package onnxruntime",
            "none",
            "pip install -r requirements/ss4d.txt, or give frames that have alpha.",
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def saliency(session: Any, frame: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "H W"]:
    """The network's answer in [0, 1], stretched to that range frame by frame, at the frame's own size."""
    small = np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float32)
    image = (small / max(float(small.max()), 1.0) - MEAN) / STD  # the brightest value counts as white
    answers = session.run(None, {session.get_inputs()[0].name: image.transpose(2, 0, 1)[None]})
    answer = answers[0][0, 0]  # [320,320]; the others are its side outputs
    span = float(answer.max() - answer.min())
    stretched = (answer - answer.min()) / span if span > 0 else np.zeros_like(answer)
    size = (frame.shape[1], frame.shape[0])
    return np.asarray(Image.fromarray(stretched).resize(size, Image.Resampling.BILINEAR), np.float32)


def without_specks(alpha: Float32[np.ndarray, "H W"]) -> Float32[np.ndarray, "H W"]:
    """Faint pixels and small separate parts become fully transparent."""
    solid = alpha >= FAINT
    parts, count = ndimage.label(solid)
    if not count:
        return np.zeros_like(alpha)
    areas = np.bincount(parts.ravel())[1:]
    kept = np.flatnonzero(areas >= SPECK * areas.max()) + 1
    return np.where(np.isin(parts, kept), alpha, np.float32(0))
