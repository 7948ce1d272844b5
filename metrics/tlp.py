"""tLP (Chu et al. 2020): whether a video changes from frame to frame as much as the true one, to a perceptual eye."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from bench4d.metric import Metric, Score, View
from bench4d.pictures import DeviceView

from .lpips import WEIGHTS, load
from .silhouette import check_pair


def part(view: View, frames: slice) -> View:
    """These frames of it, on its device if it is on one; nothing is copied."""
    rgb, alpha = view.rgb[frames], view.alpha[frames]
    return DeviceView(rgb, alpha, view.pixels[frames]) if isinstance(view, DeviceView) else View(rgb, alpha)


def temporal(distance: Score) -> Score:
    """tLP with this distance of pictures, a score function of frames."""

    def steps(view: View, batch: int | None) -> Float64[np.ndarray, " T-1"]:
        """From each frame to the next."""
        values: Float64[np.ndarray, " T-1"] = distance(part(view, slice(-1)), part(view, slice(1, None)), batch=batch)
        return values

    def score(predicted: View, truth: View, *, batch: int | None = None) -> Float64[np.ndarray, " T"]:
        """The difference of the two distances from the frame before; NaN for the first frame, which has none."""
        check_pair(predicted, truth)
        values = np.full(len(truth), np.nan)
        if len(truth) >= 2:
            values[1:] = np.abs(steps(predicted, batch) - steps(truth, batch))
        return values

    return score


TLP_ALEX = Metric(
    id="tlp-alex",
    version=1,
    definition=(
        "|d(prediction[t-1], prediction[t]) - d(truth[t-1], truth[t])|, d = lpips-alex (LPIPS v0.1, AlexNet, full "
        "size); not multiplied by 100; no value for the first frame."
    ),
    unit="clip",
    needs="frames",
    direction="lower",
    units="1",
    perfect=0.0,
    weights=WEIGHTS["alex"],
    reference="Chu, Xie, Mayer, Leal-Taixé, Thuerey 2020 (TecoGAN), with LPIPS as in package lpips 0.1.4",
    load=lambda weights: temporal(load(weights, "alex")),
)
