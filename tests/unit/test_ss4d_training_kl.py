"""The latent autoencoder's weight of kl rises over the first steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ss4d.training import latent_vae
from ss4d.training.task import Draws
from tests import toy_training
from tests.toy_store import toy_store

CPU = torch.device("cpu")


def test_weight_of_kl_rises_from_nothing() -> None:
    store, task = toy_store(), toy_training.make_task("latent_vae")
    assert isinstance(task, latent_vae.LatentVAE)
    for parameter in task.networks.parameters():  # layers that start at zero would give a kl of zero
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    inputs = task.prepare(store.batch(torch.tensor([0]), torch.tensor([0]), 2, [torch.Generator()]))

    def terms(step: int, warmup: int) -> dict[str, float]:
        task.options = replace(task.options, kl_warmup=warmup)
        with torch.no_grad():
            return {k: x.item() for k, x in task.loss(task.networks, inputs, step, Draws([0], CPU)).items()}

    full = terms(0, 0)
    assert full["kl"] > 0
    for step, share in ((0, 0.0), (3, 0.3), (10, 1.0), (20, 1.0)):
        assert terms(step, 10) == pytest.approx(full | {"kl": share * full["kl"]})
