"""Bundles are written whole or not at all, and read back with errors that name the file."""

import dataclasses
import errno
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from nuwa_search.core.arch import EMPTY_BLOCK
from nuwa_search.core.device import DeviceKind
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy import write_bundle as writing
from nuwa_search.deploy.bundle import OWN_NAMES, read_bundle
from nuwa_search.deploy.bundle_facts import BundleFacts
from nuwa_search.deploy.file_hashes import hash_folder
from nuwa_search.deploy.write_bundle import BundleParts, parts_from_bundle, write_bundle
from tests.deploy.bundle_parts import (
    LABELS,
    PREPROCESS,
    make_certificate,
    make_device,
    make_measurement,
    make_parts,
)
from tests.deploy.export_families import FAMILIES, lively_model


def test_everything_is_there_and_reads_back(tmp_path: Path) -> None:
    parts = make_parts()
    bundle = write_bundle(tmp_path / "out" / "bundle", parts)
    again = read_bundle(bundle.dir)
    assert again == bundle
    assert (again.labels, again.preprocess, again.arch) == (LABELS, PREPROCESS, parts.arch)
    assert again.certificate is not None
    assert again.certificate.files == hash_folder(bundle.dir)
    assert again.certificate.created
    names = {p.name for p in bundle.dir.iterdir()}
    assert names == {
        "arch.json", "model.safetensors", "model.onnx", "build.sh", "certificate.json", "labels.txt", "README.md",
        "run.py", "run_engine.py", "classifier.py", "camera.py", "preprocess.json", "samples",
        "deepstream", "triton", "ros2", "cpp",
    }  # fmt: skip
    onnx.checker.check_model(onnx.load(bundle.dir / "model.onnx"))
    loaded = again.load_model().state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in parts.model.state_dict().items())
    assert list(bundle.dir.parent.iterdir()) == [bundle.dir]


def test_arch_keeps_the_places_of_blocks_that_are_gone(tmp_path: Path) -> None:
    model = lively_model(FAMILIES["dropped_blocks"])
    arch = dataclasses.replace(model.arch, blocks=(EMPTY_BLOCK, *model.arch.blocks, EMPTY_BLOCK))
    bundle = write_bundle(tmp_path / "b", BundleParts(model, arch, LABELS, PREPROCESS))
    assert bundle.arch.blocks == arch.blocks
    assert bundle.load_model().arch == model.arch


def test_a_bundle_that_names_no_preprocessing_has_the_first(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", make_parts())
    stored = json.loads((bundle.dir / "preprocess.json").read_text())
    assert stored.pop("pipeline") == PREPROCESS.pipeline
    (bundle.dir / "preprocess.json").write_text(json.dumps(stored))
    assert read_bundle(bundle.dir).preprocess.pipeline == 1
    (bundle.dir / "preprocess.json").write_text(json.dumps(stored | {"pipeline": 999}))
    with pytest.raises(NuwaError, match="preprocessing version 999"):
        read_bundle(bundle.dir)


def test_a_bundle_before_its_export(tmp_path: Path) -> None:
    model = lively_model(FAMILIES["token"])
    bundle = write_bundle(tmp_path / "b", BundleParts(model, model.arch, LABELS, PREPROCESS))
    assert bundle.certificate is None
    assert bundle.onnx_path is None
    assert bundle.build_path is None
    assert bundle.engine_path is None
    assert bundle.facts == BundleFacts()
    assert bundle.subnet_id == ""


def test_facts_outlive_the_certificate(tmp_path: Path) -> None:
    parts = make_parts()
    certificate = dataclasses.replace(make_certificate(parts.arch), subnet_id="abc")
    bundle = write_bundle(tmp_path / "b", dataclasses.replace(parts, certificate=certificate))
    assert (bundle.facts.top1, bundle.subnet_id) == (0.9, "abc")
    assert not (bundle.dir / "facts.json").exists()
    facts = dataclasses.replace(bundle.facts, subnet_id=bundle.subnet_id)
    bare = dataclasses.replace(parts_from_bundle(bundle), exported=None, certificate=None, facts=facts)
    again = write_bundle(bundle.dir, bare, replace=True)
    assert (again.facts.top1, again.subnet_id) == (0.9, "abc")
    assert parts_from_bundle(again).facts == again.facts
    exported = dataclasses.replace(parts_from_bundle(again), exported=parts.exported, certificate=certificate)
    assert not (write_bundle(bundle.dir, exported, replace=True).dir / "facts.json").exists()


def test_build_script_runs_the_exact_line_in_its_folder(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", make_parts())
    script = bundle.build_path
    assert script is not None
    assert script.stat().st_mode & stat.S_IXUSR
    assert "set -eu" in script.read_text().splitlines()
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "trtexec").write_text('#!/bin/sh\npwd\nfor a in "$@"; do echo "$a"; done\n')
    (tools / "trtexec").chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run([script], capture_output=True, text=True, check=True, env=environment, cwd="/")
    where, *arguments = done.stdout.splitlines()
    assert Path(where) == bundle.dir.resolve()
    assert arguments == list(make_parts().build_line or ())[1:]


def test_an_existing_bundle_is_replaced_only_when_asked(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    write_bundle(folder, make_parts())
    with pytest.raises(NuwaError, match="already"):
        write_bundle(folder, make_parts())
    (folder / "checkpoint.safetensors").write_bytes(b"mine")
    model = lively_model(FAMILIES["token"], seed=5)
    bundle = write_bundle(folder, BundleParts(model, model.arch, LABELS, PREPROCESS), replace=True)
    assert bundle.onnx_path is None
    assert (folder / "checkpoint.safetensors").read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [folder]


def test_folders_of_other_things_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(b"x")
    with pytest.raises(NuwaError, match="not a bundle"):
        write_bundle(folder, make_parts(), replace=True)
    assert [p.name for p in folder.iterdir()] == ["cat.jpg"]


@pytest.mark.parametrize("was_there", [False, True])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, was_there: bool) -> None:
    folder = tmp_path / "b"
    if was_there:
        write_bundle(folder, make_parts())
    before = {p.relative_to(tmp_path) for p in tmp_path.rglob("*")}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing, "save_weights", full)
    with pytest.raises(OutsideError, match="No space left"):
        write_bundle(folder, make_parts(), replace=True)
    assert {p.relative_to(tmp_path) for p in tmp_path.rglob("*")} == before


def test_a_target_below_a_file_is_an_outside_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutsideError):
        write_bundle(tmp_path / "file" / "b", make_parts())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": LABELS[:-1]}, "6 labels"),
        ({"labels": (*LABELS[:-1], "two\nlines")}, "line break"),
        ({"arch": FAMILIES["relu"]}, "is not of arch"),
        ({"certificate": make_certificate(FAMILIES["relu"])}, "certificate is of arch"),
        ({"exported": None}, "needs the exported model"),
        ({"samples": (("../up.png", b""),)}, "plain file name"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(NuwaError, match=said):
        write_bundle(tmp_path / "b", dataclasses.replace(make_parts(), **changes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["arch.json", "labels.txt", "preprocess.json", "model.safetensors"])
def test_missing_parts_are_named(tmp_path: Path, name: str) -> None:
    folder = write_bundle(tmp_path / "b", make_parts()).dir
    (folder / name).unlink()
    with pytest.raises(NuwaError, match=f"{name} is missing"):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["arch.json", "preprocess.json", "certificate.json"])
@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_damaged_parts_are_named(tmp_path: Path, name: str, content: str) -> None:
    folder = write_bundle(tmp_path / "b", make_parts()).dir
    (folder / name).write_text(content)
    with pytest.raises(NuwaError):
        read_bundle(folder)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(NuwaError, match="no bundle at"):
        read_bundle(tmp_path / "absent")
    with pytest.raises(NuwaError, match="not a whole bundle"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(("kind", "said"), [("ssh", True), ("emulated", False)])
def test_only_what_was_measured_is_called_proven(tmp_path: Path, kind: DeviceKind, said: bool) -> None:
    parts = make_parts()
    spec = make_device(kind=kind)
    measured = make_measurement(device=spec)
    certificate = dataclasses.replace(make_certificate(parts.arch), device=spec, measurement=measured)
    bundle = write_bundle(tmp_path / "b", dataclasses.replace(parts, certificate=certificate))
    text = (bundle.dir / "README.md").read_text()
    assert ("proven" in text) is said
    assert ("What was checked and emulated" in text) is not said


def test_readme_says_what_is_known_and_how_to_run(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", make_parts()).dir
    text = (folder / "README.md").read_text()
    for words in (
        "Warning: short run.",
        "28.00 ms emulated",
        "met (emulated)",
        "between 25.20 and 33.60 ms",
        "python run.py samples",
        "sh build.sh",
    ):
        assert words in text
    assert json.loads((folder / "arch.json").read_text())["embed_dim"] == 24


@pytest.mark.parametrize("has_engine", [False, True])
def test_a_step_reads_all_parts_and_writes_them_again(tmp_path: Path, has_engine: bool) -> None:
    parts = make_parts()
    if has_engine:
        (tmp_path / "built").mkdir()
        engine = tmp_path / "built" / "any.engine"
        engine.write_bytes(b"engine")
        engine.with_name("any.engine.json").write_text("{}")
        parts = dataclasses.replace(parts, engine=engine)
    bundle = write_bundle(tmp_path / "b", parts)
    hashes = hash_folder(bundle.dir)
    assert ({"model.engine", "model.engine.json"} <= hashes.keys()) is has_engine
    write_bundle(bundle.dir, parts_from_bundle(bundle), replace=True)
    assert hash_folder(bundle.dir) == hashes
    assert parts_from_bundle(bundle).build_line == list(parts.build_line or ())


def test_the_documentation_names_every_file() -> None:
    text = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")
    assert [name for name in OWN_NAMES if f"`{name}" not in text] == []


def test_labels_keep_separators_that_are_no_line_breaks(tmp_path: Path) -> None:
    parts = make_parts()
    labels = ("line\u2028separator", "form\x0cfeed", "next\x85line", *LABELS[3:])
    bundle = write_bundle(tmp_path / "b", BundleParts(parts.model, parts.arch, labels, PREPROCESS))
    assert read_bundle(bundle.dir).labels == labels
