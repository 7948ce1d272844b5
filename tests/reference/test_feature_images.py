"""The networks that see single pictures against the packages they come from, with the same random weights at full size.

No published weights are needed. Files are written in their published form; matrices in them are overlapping windows of
one long row of random numbers, so that 150 million parameters make a file of some megabytes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench4d.errors import FormatError
from bench4d.features import check_record
from bench4d.metric import MetricUnavailable
from metrics import METRICS
from metrics.clip import cosine, successive
from metrics.features import clip, dreamsim, pictures
from metrics.features.torchvision_import import import_torchvision
from metrics.fid import FramesFrechet
from metrics.frechet import Frechet
from tools.random_weights import photographs, windows, write_clip, write_dreamsim, write_inception

CPU = torch.device("cpu")
TOLERANCE = 1e-5  # of the longest number in a vector
MINE = ["clip-vit-b32", "clip-bigg14", "clip-text-vit-b32", "clip-temporal-vit-b32", "dreamsim-ensemble"]
MINE += ["dreamsim-dino-vitb16", "fid-inception", "fid-vid-frames"]


RANDOM_FILLS = ["kaiming_uniform_", "xavier_uniform_", "uniform_", "normal_", "trunc_normal_"]


@pytest.fixture(autouse=True, scope="module")
def packages():
    """open_clip, dreamsim and pytorch_fid all import torchvision; the tests take no gradients.

    Networks are not filled with random numbers when made: every tensor is loaded afterwards, and filling takes longest.
    One thread: of two pictures at a time, several spend most of their time waiting for each other.
    """
    import_torchvision()
    threads = torch.get_num_threads()
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        for name in RANDOM_FILLS:
            patch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype == torch.float32
    assert theirs.abs().max() > 1e-3
    assert (theirs[0] - theirs[1]).abs().max() > 1e-3 * theirs.abs().max()  # the network does look at the pictures
    assert ((ours - theirs).abs().max() / theirs.abs().max()).item() < TOLERANCE


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip_package(clip_file):
    import open_clip

    network = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
    network.load_state_dict(torch.load(clip_file))
    return network.eval()


def test_clip_is_the_packages_transform_and_network(clip_file, clip_package):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    images = photographs(200, 280)
    ours = pictures.CLIP_VIT_B32.load({"clip-vit-b32": clip_file}, CPU)(torch.from_numpy(images))
    transform = image_transform_v2(PreprocessCfg(size=224, mean=clip.MEAN, std=clip.DEVIATION), is_train=False)
    theirs = clip_package.encode_image(torch.stack([transform(Image.fromarray(i)) for i in images]))
    assert_close(ours, theirs)


def test_clip_reads_prompts_as_the_package_does(clip_file, clip_package):
    import open_clip

    prompts = ["a dancing bear", "a skull that opens its mouth"]
    vector = pictures.CLIP_VIT_B32.text({"clip-vit-b32": clip_file}, CPU)
    ours = torch.stack([vector(prompt) for prompt in prompts])
    assert_close(ours, clip_package.encode_text(open_clip.get_tokenizer("ViT-B-32")(prompts)))


def hugging_face_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """OpenAI's names and layout as transformers' CLIPModel has them."""
    found = {
        "logit_scale": state["logit_scale"],
        "visual_projection.weight": state["visual.proj"].T,
        "text_projection.weight": state["text_projection"].T,
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
    }
    norms = {"visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm"}
    norms["ln_final"] = "text_model.final_layer_norm"
    for half, theirs in {"visual.transformer": "vision_model", "transformer": "text_model"}.items():
        for k in range(12):
            ours, target = f"{half}.resblocks.{k}", f"{theirs}.encoder.layers.{k}"
            names = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2"}
            names |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
            norms |= {f"{ours}.{a}": f"{target}.{b}" for a, b in names.items()}
            for part in ("weight", "bias"):
                for letter, chunk in zip("qkv", state[f"{ours}.attn.in_proj_{part}"].chunk(3), strict=True):
                    found[f"{target}.self_attn.{letter}_proj.{part}"] = chunk
    for a, b in norms.items():
        found |= {f"{b}.{part}": state[f"{a}.{part}"] for part in ("weight", "bias")}
    return found


def test_clip_is_hugging_faces_model_and_processor(clip_file):
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    network = transformers.CLIPModel(transformers.CLIPConfig(projection_dim=512)).eval()
    own, given = network.state_dict(), hugging_face_state(torch.load(clip_file))
    assert all(name.endswith("position_ids") for name in set(own) - set(given))
    network.load_state_dict(own | given)
    images = photographs(256, 256)
    pixels = CLIPImageProcessorPil()([Image.fromarray(i) for i in images], return_tensors="pt")["pixel_values"]
    theirs = network.visual_projection(network.vision_model(pixel_values=pixels).pooler_output)
    assert_close(pictures.CLIP_VIT_B32.load({"clip-vit-b32": clip_file}, CPU)(torch.from_numpy(images)), theirs)


def test_bigg14_at_two_layers_is_the_packages(tmp_path):
    import open_clip

    config = open_clip.get_model_config("ViT-bigG-14")
    assert config["embed_dim"] == pictures.CLIP_BIGG14.width
    config["vision_cfg"]["layers"] = 2
    config["text_cfg"] = {**config["text_cfg"], "layers": 1, "vocab_size": 49}
    network = open_clip.CLIP(**config).eval()
    network.load_state_dict(windows({n: tuple(t.shape) for n, t in network.state_dict().items()}, seed=1))
    torch.save(windows({n: tuple(t.shape) for n, t in network.state_dict().items()}, seed=1), tmp_path / "bigg.bin")
    images = torch.from_numpy(photographs(224, 224, 2))
    ours = clip.network_of(config, tmp_path / "bigg.bin", CPU)(images)
    assert_close(ours, network.encode_image(clip.prepare(images, 224)))


class Published(torch.nn.Module):
    """A stand-in for OpenAI's file: half-precision tensors in a TorchScript archive, and facts among them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("input_resolution", torch.tensor(224))
        self.proj = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float16), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.proj


def test_openais_archive_is_read_and_another_networks_file_is_not(tmp_path):
    with torch.inference_mode(False):
        torch.jit.script(Published()).save(str(tmp_path / "clip.pt"))
    state = clip.read_state(tmp_path / "clip.pt")
    assert {name: tuple(t.shape) for name, t in state.items()} == {"proj": (2, 3)}
    torch.save({"visual.proj": torch.zeros(3, 3)}, tmp_path / "other.pt")
    with pytest.raises(FormatError, match="tensors of this CLIP"):
        clip.load(tmp_path / "other.pt", "ViT-B-32-quickgelu", CPU)


def test_a_missing_package_is_a_reason(monkeypatch):
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(clip, "import_module", absent)
    with pytest.raises(MetricUnavailable, match=r"open-clip-torch .*tools/install.py metrics"):
        clip.open_clip()


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory) -> Path:
    return write_inception(tmp_path_factory.mktemp("inception"))


def test_inception_is_pytorch_fids(inception_file, monkeypatch):
    import pytorch_fid.inception as package

    monkeypatch.setattr(package, "load_state_dict_from_url", lambda url, progress: torch.load(inception_file))
    images = torch.from_numpy(photographs(310, 200))
    theirs = package.InceptionV3().eval()(images.permute(0, 3, 1, 2) / 255)[0][:, :, 0, 0]
    assert_close(pictures.INCEPTION_FID.load({"inception-fid": inception_file}, CPU)(images), theirs)


def test_inception_with_tensorflows_resize_is_torch_fidelitys(inception_file):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(inception_file))
    images = torch.from_numpy(photographs(310, 200))
    theirs = network(images.permute(0, 3, 1, 2))[0]
    ours = pictures.INCEPTION_TF1.load({"inception-fid": inception_file}, CPU)(images)
    assert_close(ours, theirs)
    other = pictures.INCEPTION_FID.load({"inception-fid": inception_file}, CPU)(images)
    assert (other - theirs).abs().max() > 100 * TOLERANCE * theirs.abs().max()  # the two are different numbers


@pytest.fixture(scope="module")
def dreamsim_case(tmp_path_factory):
    """(variant) -> the package's model, and the archive that it would have been read from."""
    from dreamsim import model as package
    from dreamsim.feature_extraction.extractor import ViTExtractor
    from dreamsim.feature_extraction.vision_transformer import vit_base
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("dreamsim")
    states = {branch.member: windows(dreamsim.shapes(branch), seed=k) for k, branch in enumerate(dreamsim.ENSEMBLE)}
    dino = states[dreamsim.DINO.member]
    teacher = {"teacher": {f"backbone.{name}": tensor for name, tensor in dino.items()} | {"head.bias": torch.ones(1)}}
    torch.save(teacher, folder / dreamsim.DINO.member)
    for branch in (dreamsim.CLIP, dreamsim.OPEN_CLIP):
        torch.save({"state_dict": states[branch.member]}, folder / branch.member)
    ready_made = ViTExtractor.create_model

    def create_model(name: str, load_dir: str):
        if name != "dino_vitb16":
            return ready_made(name, load_dir)
        network = vit_base(patch_size=16)  # the package would fetch the same network's code and weights
        network.load_state_dict(dino)
        return network

    def make(variant: str, adapters: str) -> tuple[torch.nn.Module, Path]:
        with pytest.MonkeyPatch.context() as patch, torch.inference_mode(False):
            patch.setattr(ViTExtractor, "create_model", staticmethod(create_model))
            config = package.dreamsim_args["model_config"][variant]
            network = package.PerceptualModel(**config, device="cpu", load_dir=str(folder), normalize_embeds=True)
            tuned = get_peft_model(network, LoraConfig(r=4, lora_alpha=2, target_modules=["qkv"]))
            generator = torch.Generator().manual_seed(5)
            for name, parameter in tuned.named_parameters():
                if "lora_" in name:
                    parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)
            tuned.save_pretrained(folder / "pack" / adapters)
        for branch in dreamsim.ENSEMBLE if variant == "ensemble" else dreamsim.SINGLE:
            shutil.copy(folder / branch.member, folder / "pack")
        archive = shutil.make_archive(str(folder / variant), "zip", folder / "pack")
        shutil.rmtree(folder / "pack")
        return tuned.eval(), Path(archive)

    return make


@pytest.mark.parametrize("variant", ["ensemble", "dino_vitb16"])
def test_dreamsim_is_the_packages(dreamsim_case, variant):
    from torchvision import transforms

    ensemble = variant == "ensemble"
    network, path = dreamsim_case(variant, "ensemble_lora" if ensemble else "dino_vitb16_single_lora")
    feature = pictures.DREAMSIM_ENSEMBLE if ensemble else pictures.DREAMSIM_DINO_VITB16
    images = photographs(200, 260)
    transform = transforms.Compose(
        [transforms.Resize((224, 224), interpolation=transforms.InterpolationMode.BICUBIC), transforms.ToTensor()]
    )
    prepared = torch.stack([transform(Image.fromarray(image)) for image in images])
    ours = feature.load(dict.fromkeys(feature.weights, path), CPU)(torch.from_numpy(images))
    assert ours.shape[1] == feature.width
    assert_close(ours, network.embed(prepared))
    if not ensemble:
        theirs = network(prepared[:1], prepared[1:]).numpy()
        assert theirs.min() > 0.001
        found = METRICS[feature.id].load({})(ours[:1].numpy(), ours[1:].numpy())
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-6)


def test_dreamsim_names_what_an_archive_lacks(tmp_path):
    (tmp_path / "plain.zip").write_bytes(b"not a zip")
    with pytest.raises(FormatError, match="published archive"):
        dreamsim.load(tmp_path / "plain.zip", dreamsim.SINGLE, "dino_vitb16_single_lora", CPU)
    (tmp_path / "empty").mkdir()
    shutil.make_archive(str(tmp_path / "empty"), "zip", tmp_path / "empty")
    with pytest.raises(FormatError, match=r"a member dino_vitb16_pretrain.pth"):
        dreamsim.load(tmp_path / "empty.zip", dreamsim.SINGLE, "dino_vitb16_single_lora", CPU)


@pytest.mark.parametrize("id", MINE)
def test_records_fit_the_engine(id):
    check_record(METRICS[id])
    assert (Path(__file__).parents[2] / "docs" / "metrics" / f"{id}.md").is_file()


@pytest.fixture(scope="module")
def random_files(clip_file, inception_file, tmp_path_factory) -> dict[str, Path]:
    archive = write_dreamsim(tmp_path_factory.mktemp("archive"))
    return {"clip-vit-b32": clip_file, "inception-fid": inception_file, "dreamsim-ensemble": archive}


@pytest.mark.parametrize(
    "feature",
    [pictures.CLIP_VIT_B32, pictures.DREAMSIM_ENSEMBLE, pictures.INCEPTION_FID, pictures.INCEPTION_TF1],
    ids=lambda feature: feature.id,
)
def test_a_batch_gives_what_its_pictures_give(random_files, feature):
    network = feature.load({id: random_files[id] for id in feature.weights}, CPU)
    images = torch.from_numpy(photographs(64, 64, 3))
    alone = torch.cat([network(image[None]) for image in images])
    for whole in (network(images), torch.cat([network(images[:2]), network(images[2:])])):
        assert_close(whole, alone)


def test_cosines():
    rows = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    assert (cosine(rows, rows) == 1).all()
    np.testing.assert_allclose(cosine(rows, -3 * rows), -1, atol=1e-12)
    still = np.repeat(rows[:1], 4, axis=0)
    values = successive(still, rows[:4])
    assert (values[:3] == 1).all()
    assert np.isnan(values[3])
    assert np.isnan(successive(rows[:1], rows[:1])).all()
    with pytest.raises(FormatError, match="as many true ones"):
        cosine(rows, rows[:2])
    with pytest.raises(FormatError, match="length 0"):
        cosine(rows, 0 * rows)


def test_fid_vid_frames_is_the_mean_over_frame_numbers():
    random, frames = np.random.default_rng(1), 3
    clips = [(random.normal(size=(2 * frames, 4)), random.normal(1, 2, size=(2 * frames, 4))) for _ in range(6)]
    score, by_number = FramesFrechet(frames=frames), [Frechet() for _ in range(frames)]
    for predicted, truth in clips:
        score.add(predicted.astype(np.float32), truth.astype(np.float32))
        for k in range(frames):  # rows k and k + 3: the frame of both views
            by_number[k].add(predicted[[k, k + 3]].astype(np.float32), truth[[k, k + 3]].astype(np.float32))
    assert score.value() == pytest.approx(np.mean([d.value() for d in by_number]), rel=1e-12)
    with pytest.raises(FormatError, match="views of 3 frames"):
        score.add(np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32))
    with pytest.raises(MetricUnavailable, match="option `frames`"):
        FramesFrechet()
