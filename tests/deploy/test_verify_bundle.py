"""A bundle is checked on another machine: files against hashes, graph against weights."""

import dataclasses
import shutil
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.bundle import Bundle, read_bundle
from nuwa_search.deploy.verify_bundle import random_images, verify_bundle
from nuwa_search.deploy.write_bundle import BundleParts, write_bundle
from tests.deploy.bundle_parts import LABELS, PREPROCESS, make_certificate, make_device, make_parts
from tests.deploy.export_families import FAMILIES, lively_model


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "b", make_parts())


def test_an_intact_bundle_is_good_elsewhere(bundle: Bundle, tmp_path: Path) -> None:
    copied = shutil.copytree(bundle.dir, tmp_path / "elsewhere")
    check = verify_bundle(read_bundle(copied))
    assert check.is_good
    assert check.faults == ()
    assert [a.check for a in check.agreements] == ["fp32", "fp16"]  # its device computes in FP16


@pytest.mark.parametrize("name", ["README.md", "labels.txt", "run.py", "build.sh", "samples/bus.png"])
def test_changed_and_missing_files_are_named(bundle: Bundle, name: str) -> None:
    path = bundle.dir / name
    text = path.read_bytes()
    path.write_bytes(bytes([text[0] ^ 1]) + text[1:])
    check = verify_bundle(bundle)
    assert check.faults == (f"{name} was changed",)
    path.unlink()
    check = verify_bundle(bundle)
    assert not check.is_good
    assert check.faults == (f"{name} is missing",)


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
def test_one_flipped_bit_in_a_model_is_found(bundle: Bundle, name: str) -> None:
    path = bundle.dir / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    linked = ("triton/nuwa_vit/1/model.onnx was changed",) if name == "model.onnx" else ()
    assert verify_bundle(bundle).faults == (f"{name} was changed", *linked)


def test_files_of_the_user_are_no_fault(bundle: Bundle) -> None:
    (bundle.dir / "notes.txt").write_text("mine")
    check = verify_bundle(bundle)
    assert check.is_good
    assert check.files.extra == ("notes.txt",)


def test_a_graph_that_is_not_the_weights_is_found(tmp_path: Path) -> None:
    parts = make_parts()
    assert isinstance(parts.exported, onnx.ModelProto)
    tensor = next(t for t in parts.exported.graph.initializer if t.name == "head.bias")
    changed = numpy_helper.to_array(tensor).copy()
    changed[0] += 1
    tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    check = verify_bundle(write_bundle(tmp_path / "b", parts))
    assert not check.is_good
    assert "disagrees with PyTorch" in check.faults[0]


def test_given_images_are_used(bundle: Bundle) -> None:
    images = torch.zeros(5, 3, 24, 24, dtype=torch.uint8)
    assert {a.num_images for a in verify_bundle(bundle, images=images).agreements} == {5}


def test_devices_in_fp32_are_checked_in_fp32_alone(tmp_path: Path) -> None:
    parts = make_parts()
    certificate = dataclasses.replace(make_certificate(parts.arch), device=make_device(precision="fp32"))
    bundle = write_bundle(tmp_path / "b", dataclasses.replace(parts, certificate=certificate))
    assert [a.check for a in verify_bundle(bundle).agreements] == ["fp32"]


def test_a_bundle_without_certificate_cannot_be_verified(tmp_path: Path) -> None:
    model = lively_model(FAMILIES["token"])
    bundle = write_bundle(tmp_path / "b", BundleParts(model, model.arch, LABELS, PREPROCESS))
    with pytest.raises(NuwaError, match="no certificate"):
        verify_bundle(bundle)


def test_noise_is_repeatable(bundle: Bundle) -> None:
    assert torch.equal(random_images(bundle), random_images(bundle))
