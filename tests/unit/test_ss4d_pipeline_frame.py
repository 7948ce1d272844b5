"""SS4D's frame is the benchmark's: true latents, decoded by the shipped networks, land on the truth in its renders; and
the pictures that the flows are trained with are those that inference makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench4d.benchmark import find_benchmark
from bench4d.clip import Clip
from bench4d.render import render_gaussians, render_mesh, to_straight
from bench4d.similarity import camera_to_camera, transformed
from ss4d.data.augment import on_black
from ss4d.data.build import Job, build
from ss4d.data.cameras import condition_cameras, generator_of
from ss4d.data.config import DataConfig
from ss4d.data.sources import SynthSource
from ss4d.data.store import Store
from ss4d.pipeline import Result, pictures
from ss4d.preprocess import preprocess
from ss4d.run import declared_camera
from ss4d.sparse import Sites, SparseTensor
from ss4d.training.export import read_networks

ROOT = Path(__file__).parents[2]
CLIPS, FRAMES = ["excavator-900015", "walker-900018"], 2  # lopsided: a turn or a flip would be seen
Data = tuple[DataConfig, list[SynthSource], Store]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    config, out = (
        replace(DataConfig.read("tiny"), frames=FRAMES),
        tmp_path_factory.mktemp("frame") / "data",
    )
    build(Job(config, out), CLIPS, "val", workers=1)
    return config, [SynthSource.open(name, FRAMES, config.rate(name)) for name in CLIPS], Store.read(out)


@pytest.mark.parametrize("number", range(len(CLIPS)))
def test_true_latents_land_on_the_truth(data: Data, number: int) -> None:
    """From voxels and features to the pixels of the protocol's cameras, through the alignment "declared"."""
    _, sources, store = data
    benchmark = find_benchmark("synth4d", ROOT)
    input_camera = benchmark.cameras[0]
    meshes = [sources[number].mesh_at(float(time)) for time in sources[number].times]
    seen = np.stack([to_straight(render_mesh(mesh, input_camera))[0] for mesh in meshes])
    clip = Clip(CLIPS[number], seen, 8, input_camera)
    networks, _ = read_networks(ROOT / "ss4d" / "checkpoints" / "tiny", "latent_vae", torch.device("cpu"))
    batch = store.batch(torch.tensor([number]), torch.tensor([0]), FRAMES)
    assert batch.feats is not None
    x = SparseTensor.on(Sites(batch.coords, batch.slots), batch.feats.float())
    with torch.no_grad():
        gaussians = networks["gaussian_decoder"](networks["latent_encoder"](x, FRAMES)[0], FRAMES)
    asset = Result([], gaussians, seen[..., :3]).to_asset(clip.times, declared_camera(clip, 0.0))
    assert asset.input_camera is not None
    matrix = camera_to_camera(asset.input_camera, input_camera)
    for frame, mesh in zip(asset.frames, meshes, strict=True):
        found = render_gaussians(transformed(frame, matrix), benchmark.cameras)[..., 3] > 0.5  # type: ignore[arg-type, type-var]
        truth = render_mesh(mesh, benchmark.cameras)[..., 3] > 0.5
        iou = (found & truth).sum((1, 2)) / (found | truth).sum((1, 2))
        assert iou.min() > 0.92, f"{benchmark.views}: {iou}"


def test_condition_pictures_are_those_of_inference(data: Data) -> None:
    config, sources, store = data
    for number, source in enumerate(sources):
        camera = condition_cameras(config.condition, generator_of(config.seed, source.id, "condition"))[0]
        meshes = [source.mesh_at(float(time)) for time in source.times]
        frames = np.stack([to_straight(render_mesh(mesh, camera, supersample=2))[0] for mesh in meshes])
        inference = np.stack([np.asarray(image) for image in preprocess(pictures(frames), config.condition.size)])
        stored = store.tensors["condition"][number * FRAMES : (number + 1) * FRAMES, 0]
        training = (255 * on_black(stored)).round().byte().permute(0, 2, 3, 1).numpy()
        np.testing.assert_array_equal(training, inference)


def test_training_sees_the_protocols_camera(data: Data) -> None:
    """Elevation and perspective of the benchmark's input lie well inside what the condition cameras are drawn from."""
    condition, protocol = data[0].condition, find_benchmark("synth4d", ROOT).data
    assert condition.azimuth == (0, 0)
    assert condition.elevation[0] + 5 <= protocol["views"][0]["elevation"] <= condition.elevation[1] - 5
    distances = [np.sqrt(3) / 2 / np.sin(np.radians(fov) / 2) for fov in condition.fov]
    assert distances[1] + 0.2 < protocol["rig"]["radius"] < distances[0] - 0.2
