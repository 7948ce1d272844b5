"""PSNR and SSIM whose range is the span of the values at hand: what torchmetrics does if nobody says `data_range`.

The scripts of Consistent4D do. A picture without black and white in it is then measured with a shorter ruler than 255.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.ndimage import correlate1d

from bench4d.errors import FormatError
from bench4d.metric import Metric, View

from .psnr import CAP
from .silhouette import check_pair

WINDOW = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
WINDOW /= WINDOW.sum()

Pictures = UInt8[np.ndarray, "T H W 3"]


def psnr(predicted: Pictures, truth: Pictures) -> Float64[np.ndarray, " T"]:
    """dB, the peak being the span of values in the true picture; infinite for equal pictures, NaN if they have one
    value."""
    values = []
    for p, t in zip(predicted.astype(np.float64), truth.astype(np.float64), strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            values.append(10 * np.log10(np.square(t.max() - t.min()) / np.square(p - t).mean()))
    return np.array(values)


def ssim(predicted: Pictures, truth: Pictures) -> Float64[np.ndarray, " T"]:
    """Gaussian window 11 (sigma 1.5), K1 0.01, K2 0.03, windows inside the picture; the range is the larger span of the
    two."""
    values = []
    for p, t in zip(predicted.astype(np.float64), truth.astype(np.float64), strict=True):
        span = max(p.max() - p.min(), t.max() - t.min())
        c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
        mean_p, mean_t, pp, tt, pt = (_blurred(a) for a in (p, t, p * p, t * t, p * t))
        above = (2 * mean_p * mean_t + c1) * (2 * (pt - mean_p * mean_t) + c2)
        below = (mean_p**2 + mean_t**2 + c1) * (pp - mean_p**2 + tt - mean_t**2 + c2)
        with np.errstate(divide="ignore", invalid="ignore"):
            values.append((above / below).mean())
    return np.array(values)


def _blurred(image: Float64[np.ndarray, "H W 3"]) -> Float64[np.ndarray, "h w 3"]:
    """Window means, without the 5 pixels at each border where the window reaches out."""
    if min(image.shape[:2]) < len(WINDOW):
        raise FormatError("picture", "at least 11 x 11 pixels for SSIM", f"{list(image.shape[:2])}")
    return correlate1d(correlate1d(image, WINDOW, axis=0), WINDOW, axis=1)[5:-5, 5:-5]


def psnr_span(predicted: View, truth: View) -> Float64[np.ndarray, " T"]:
    """As `psnr`, at most `CAP`; `CAP` for equal pictures. NaN where the truth has one value and the prediction not."""
    check_pair(predicted, truth)
    values = psnr(predicted.rgb, truth.rgb)
    equal = (predicted.rgb == truth.rgb).all(axis=(1, 2, 3))
    return np.where(equal, CAP, np.where(np.isinf(values), np.nan, np.minimum(values, CAP)))


def ssim_span(predicted: View, truth: View) -> Float64[np.ndarray, " T"]:
    """As `ssim`; 1 for equal pictures, even of one value."""
    check_pair(predicted, truth)
    equal = (predicted.rgb == truth.rgb).all(axis=(1, 2, 3))
    return np.where(equal, 1.0, ssim(predicted.rgb, truth.rgb))


PSNR_SPAN = Metric(
    id="psnr-span",
    version=1,
    definition=(
        "10 log10(span^2 / mean squared error) over all pixels and channels of a frame, span: the largest minus the "
        "smallest value in the true frame, not 255; capped at 100 dB."
    ),
    unit="clip",
    needs="frames",
    direction="higher",
    units="dB",
    perfect=CAP,
    weights=(),
    reference="torchmetrics without data_range, as in the evaluation of arXiv 2311.02848",
    load=lambda weights: psnr_span,
)
SSIM_SPAN = Metric(
    id="ssim-span",
    version=1,
    definition=(
        "SSIM with an 11 x 11 Gaussian window (sigma 1.5), K1 0.01, K2 0.03, a channel at a time, windows inside the "
        "frame; its range is the larger span of values of the two frames, not 255."
    ),
    unit="clip",
    needs="frames",
    direction="higher",
    units="1",
    perfect=1.0,
    weights=(),
    reference="torchmetrics without data_range, as in the evaluation of arXiv 2311.02848",
    load=lambda weights: ssim_span,
)
