"""A folder of transformers' layout is a base: its outputs and its pixels are those of transformers."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nuwa_search.core.base import load_base
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.images import crop
from nuwa_search.core.transformers_folder import _share, timm_config_from_preprocessor
from nuwa_search.service.cli.main import cli, run
from tests.core.test_from_transformers import LABELS, random_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

PLAIN: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 3}
SQUASH = PLAIN | {"size": {"height": 28, "width": 28}, "do_resize": True}
CROPPED = PLAIN | {"size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 28, "width": 28}}


def folder_of(kind: str, path: Path, preprocessor: dict[str, object]) -> transformers.PreTrainedModel:
    model = random_model(kind)
    model.save_pretrained(path)
    (path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return model


@pytest.mark.parametrize(("kind", "told"), [("vit", SQUASH), ("dinov2", CROPPED), ("dinov2 with registers", SQUASH)])
def test_a_folder_is_a_base_with_the_outputs_of_transformers(
    kind: str, told: dict[str, object], tmp_path: Path
) -> None:
    model = folder_of(kind, tmp_path, told)
    base = load_base(str(tmp_path))
    images = torch.randn(2, 3, 28, 28)
    with torch.inference_mode():
        wanted, got = model(images).logits, base.model(images)
    assert (got - wanted).norm() / wanted.norm() < 1e-5
    assert base.label_names == tuple(LABELS.values())
    assert base.preprocess.mean == (0.5, 0.5, 0.5)
    assert (base.preprocess.crop_mode, base.preprocess.crop_pct) == (
        ("squash", 1.0) if told is SQUASH else ("center", 28 / 36)
    )


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the Hub with one model, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    model = tmp_path / "models--me--vit"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    return model / "snapshots" / commit


def test_a_model_on_the_hub_is_the_folder_of_its_files(hub: Path) -> None:
    model = folder_of("vit", hub, SQUASH)
    base = load_base("hf-hub:me/vit")
    images = torch.randn(2, 3, 28, 28)
    with torch.inference_mode():
        assert torch.allclose(base.model(images), model(images).logits, atol=1e-5)
    assert (base.name, base.label_names) == ("hf-hub:me/vit", tuple(LABELS.values()))
    assert base.preprocess.mean == (0.5, 0.5, 0.5)


def test_what_is_not_on_the_hub_is_said(hub: Path) -> None:
    with pytest.raises(OutsideError, match=r"config\.json of base hf-hub:me/other could not be fetched"):
        load_base("hf-hub:me/other")
    folder_of("vit", hub, SQUASH)
    (hub / "preprocessor_config.json").unlink()
    with pytest.raises(OutsideError, match=r"preprocessor_config\.json of base hf-hub:me/vit"):
        load_base("hf-hub:me/vit")
    (hub / "config.json").write_text('{"model_type": "swin"}')  # refused before any weights are asked for
    (hub / "model.safetensors").unlink()
    with pytest.raises(NuwaError, match="it is a 'swin'"):
        load_base("hf-hub:me/vit")
    with pytest.raises(NuwaError, match="names no model on the Hub"):
        load_base("hf-hub:a/b/c")


def test_positions_follow_the_size_that_the_preprocessor_makes(tmp_path: Path) -> None:
    folder_of("dinov2", tmp_path, CROPPED | {"crop_size": {"height": 21, "width": 21}, "size": {"shortest_edge": 24}})
    base = load_base(str(tmp_path))
    assert base.arch.img_size == base.preprocess.img_size == 21
    assert base.model(torch.randn(1, 3, 21, 21)).shape == (1, 5)


def test_images_may_be_of_another_shape(tmp_path: Path) -> None:
    folder_of("vit", tmp_path, SQUASH | {"size": {"height": 28, "width": 14}})
    base = load_base(str(tmp_path))
    assert base.arch.img_size == base.preprocess.img_size == (28, 14)
    assert base.model(torch.randn(1, 3, 28, 14)).shape == (1, 5)


@pytest.mark.parametrize("told", [SQUASH, CROPPED], ids=["squash", "crop"])
def test_pixels_are_those_of_transformers(told: dict[str, Any], tmp_path: Path) -> None:
    folder_of("vit", tmp_path, told)
    base = load_base(str(tmp_path))
    values = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    image = Image.fromarray(values).resize((90, 60), Image.Resampling.BICUBIC)
    processor = transformers.ViTImageProcessorPil(**told, do_rescale=True, do_normalize=True)
    wanted = processor(image, return_tensors="np")["pixel_values"][0]
    mine = (crop(image, base.preprocess).transpose(2, 0, 1) / 255 - 0.5) / 0.25
    assert np.abs(mine - wanted).max() <= 4.1 / 255  # one step of 8 bits, over a deviation of 1/4


def test_the_scaled_side_is_found_again_from_the_share_kept() -> None:
    for scaled in range(8, 600):
        for side in range(8, scaled + 1):
            assert int(side / _share(side, scaled)) == scaled


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"do_normalize": False}, "do_normalize"),
        ({"rescale_factor": 1}, "scales pixels by 1"),
        ({"resample": 9}, "resamples by 9"),
        ({"size": {"height": 28, "width": 0}}, "size"),
        ({"size": {"shortest_edge": 28}}, "no one size"),
        ({"size": {"shortest_edge": 28}, "do_center_crop": True, "crop_size": {"height": 28, "width": 14}}, "28x14"),
        ({"size": 28, "do_center_crop": True, "crop_size": {"height": 28, "width": 14}}, "another share of each side"),
        ({"size": None}, "size"),
    ],
)
def test_a_preprocessor_that_timm_has_not_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(NuwaError, match=said):
        timm_config_from_preprocessor(SQUASH | change, where="p")


def test_a_missing_preprocessor_is_named(tmp_path: Path) -> None:
    folder_of("vit", tmp_path, SQUASH)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(NuwaError, match=r"preprocessor_config\.json is missing"):
        load_base(str(tmp_path))


def test_folders_of_other_models_are_left_out_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of("vit", tmp_path / "mine", SQUASH)
    for name, config in (("llm", {"model_type": "llama"}), ("odd", {"a": 1}), ("broken", None)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{" if config is None else json.dumps(config))
        (tmp_path / name / "model.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert run(cli, ["base", "ls", "--json"], prog_name="nuwa") == 0
    shown = capsys.readouterr()
    rows = {row["name"]: row for row in json.loads(shown.out)["bases"]}
    assert set(rows) - {"vit_s14_focus"} == {"default", "./mine"}
    assert (rows["./mine"]["architecture"], rows["./mine"]["classes"], rows["./mine"]["img_size"]) == ("vit", 5, 28)
    assert all(f"./{name} is left out" in shown.err for name in ("llm", "odd", "broken"))
