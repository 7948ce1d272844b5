"""The metrics, one file each. `METRICS` maps every id to its record; importing this loads no network."""

from __future__ import annotations

from bench4d.metric import Metric

from . import chamfer, fscore, iou, jitter, lpips, psnr, resources, silhouette, ssim

METRICS: dict[str, Metric] = {
    "psnr": psnr.PSNR,
    "psnr-masked": psnr.PSNR_MASKED,
    "ssim": ssim.SSIM,
    "ssim-masked": ssim.SSIM_MASKED,
    "lpips-vgg": lpips.LPIPS_VGG,
    "lpips-alex": lpips.LPIPS_ALEX,
    "silhouette-iou": silhouette.SILHOUETTE_IOU,
    "jitter": jitter.JITTER,
    "chamfer": chamfer.CHAMFER,
    "chamfer-floor": chamfer.CHAMFER_FLOOR,
    "fscore": fscore.FSCORE,
    "iou": iou.IOU,
    "time": resources.TIME,
    "memory-cpu": resources.MEMORY_CPU,
    "memory-gpu": resources.MEMORY_GPU,
}
