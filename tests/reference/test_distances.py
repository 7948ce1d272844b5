"""The statistics of sets against pytorch-fid and torch-fidelity, on the same vectors."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from metrics.features.torchvision_import import import_torchvision
from metrics.frechet import Frechet, frechet_distance
from metrics.kernel import Kernel

import_torchvision()  # both packages import it


def vectors(count, width, seed, mean=0.0):
    """Not negative and skewed, as the activations of Inception are."""
    random = np.random.default_rng(seed)
    scale = np.random.default_rng(99).gamma(1.0, 0.5, width)
    return np.float32(np.abs(random.normal(size=(count, width)) + mean) * scale)


def value(score, x, y):
    for k in range(0, len(x), 37):
        score.add(x[k : k + 37], y[k : k + 37])
    return score.value()


def test_frechet_equals_pytorch_fid():
    fid_score = importlib.import_module("pytorch_fid.fid_score")
    x, y = vectors(400, 64, 1), vectors(400, 64, 2, mean=0.2)
    moments = [(v.mean(axis=0), np.cov(v, rowvar=False)) for v in (x.astype(np.float64), y.astype(np.float64))]
    expected = fid_score.calculate_frechet_distance(*moments[0], *moments[1])
    assert value(Frechet(), x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(*moments[0], *moments[1]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [400, 50])  # 50: covariances of rank 49
def test_frechet_equals_torch_fidelity(count):
    from torch_fidelity import metric_fid

    x, y = vectors(count, 64, 1), vectors(count, 64, 2, mean=0.2)
    moments = [metric_fid.fid_features_to_statistics(torch.from_numpy(v).double()) for v in (x, y)]
    expected = metric_fid.fid_statistics_to_metric(*moments, False)["frechet_inception_distance"]
    assert value(Frechet(), x, y) == pytest.approx(expected, rel=1e-9 if count > 64 else 1e-5)


def test_kernel_equals_torch_fidelity_on_one_full_subset():
    from torch_fidelity import metric_kid

    x, y = vectors(150, 64, 1), vectors(150, 64, 2, mean=0.2)
    options = {"kid_subsets": 1, "kid_subset_size": 150, "rng_seed": 1, "verbose": False, "kid_kernel": "poly"}
    options |= {"kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1.0}
    tensors = [torch.from_numpy(v).double() for v in (x, y)]
    expected = metric_kid.kid_features_to_metric(*tensors, **options)["kernel_inception_distance_mean"]
    assert value(Kernel(), x, y) == pytest.approx(expected, rel=1e-9)
