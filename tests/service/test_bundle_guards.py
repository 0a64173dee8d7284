"""Bundles are not overwritten unasked, and every kind of tampering is found."""

import json
import shutil
from pathlib import Path

import pytest

from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.write_bundle import BundleParts, write_bundle
from nuwa_search.service.cli.main import cli, run
from tests.deploy.bundle_parts import LABELS, PREPROCESS, png
from tests.deploy.export_families import FAMILIES, lively_model

FILES = ("arch.json", "model.safetensors", "model.onnx", "labels.txt", "preprocess.json", "run.py", "certificate.json")


def nuwa(*args: str) -> int:
    return run(cli, args, prog_name="nuwa")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle exported for the emulated Jetson Nano; tests work on copies."""
    model = lively_model(FAMILIES["token"])
    folder = tmp_path_factory.mktemp("bundle") / "b"
    write_bundle(folder, BundleParts(model, model.arch, LABELS, PREPROCESS, samples=(("bus.png", png(40, 30)),)))
    db = str(folder.parent / "a.sqlite")
    assert nuwa("export", str(folder), "--device", "jetson-nano", "--db", db, "-q", "--json") == 0
    return folder


@pytest.fixture
def bundle(exported: Path, tmp_path: Path) -> Path:
    shutil.copytree(exported, tmp_path / "bundle")
    return tmp_path / "bundle"


def verdict(bundle: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    code = nuwa("verify", str(bundle), "--json")
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, json.loads(captured.out) if captured.out else {}


def test_an_untouched_bundle_passes(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verdict(bundle, capsys)[0] == 0


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["changed", "missing", "truncated", "emptied", "a folder"])
def test_tampering_of_every_kind_is_one(bundle: Path, capsys: pytest.CaptureFixture[str], name: str, kind: str) -> None:
    path = bundle / name
    content = path.read_bytes()
    path.unlink()
    if kind == "a folder":
        path.mkdir()
    elif kind != "missing":
        changed = content[:-1] + bytes([content[-1] ^ 1])
        path.write_bytes({"changed": changed, "truncated": content[: len(content) // 2], "emptied": b""}[kind])
    code, answer = verdict(bundle, capsys)
    assert code == 1
    assert answer["is_good"] is False
    assert answer["faults"]


def test_a_folder_that_is_no_bundle_is_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for folder in (tmp_path, tmp_path / "nothing", tmp_path / "notes.txt"):
        assert verdict(folder, capsys) == (2, {})


def test_an_export_for_another_device_is_replaced_only_when_that_is_said(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["export", str(bundle), "--device", "jetson-tx2", "--db", str(tmp_path / "a.sqlite"), "-q"]
    before = (bundle / "certificate.json").read_bytes()
    assert nuwa(*line) == 2
    assert "Replace the export for jetson-nano" in capsys.readouterr().err
    assert (bundle / "certificate.json").read_bytes() == before
    assert nuwa(*line, "-y", "--json") == 0
    certificate = read_bundle(bundle).certificate
    assert certificate is not None
    assert certificate.device.name == "jetson-tx2"


def test_a_bundle_is_not_derived_over(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (bundle / "model.safetensors").read_bytes()
    line = ["derive", "--arch", str(bundle), "-o", str(bundle), "--db", str(tmp_path / "a.sqlite")]
    assert nuwa(*line) == 2
    err = capsys.readouterr().err
    assert "Replace the bundle" in err
    assert "hint: add -y" in err
    assert (bundle / "model.safetensors").read_bytes() == before
