"""The bundle's own programs: what they print, what they need, and that they compute what the model computes."""

import ast
import json
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nuwa_search.core.images import ImageSet, pixels
from nuwa_search.core.logits import normalise
from nuwa_search.deploy.bundle import PROGRAMS, Bundle
from nuwa_search.deploy.export.graph import InputKind
from nuwa_search.deploy.write_bundle import BundleParts, write_bundle
from tests.deploy.bundle_parts import LABELS, PREPROCESS, make_parts, png
from tests.support.bundle_programs import program_at

ALLOWED_IMPORTS = {
    "numpy",
    "PIL",
    "onnxruntime",
    "tensorrt",
}  # camera.py asks for cv2 by name, and says if it is not there


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("run") / "b", make_parts())


def run(bundle: Bundle, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-I", str(bundle.dir / "run.py"), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize(("batch", "input_kind"), [(1, "normalised"), (2, "uint8"), (4, "unit")])
def test_it_says_what_the_model_says(tmp_path: Path, batch: int, input_kind: InputKind) -> None:
    bundle = write_bundle(tmp_path / "b", make_parts(batch=batch, input_kind=input_kind))
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    encoded = [png(30, 50, seed=1), png(24, 24, seed=2), png(100, 33, seed=3)]
    for name, data in zip(("a.png", "b.png", "below/c.png"), encoded, strict=True):
        (folder / name).write_bytes(data)
    done = run(bundle, str(folder), "--json", "--top", "7", "--repeat", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    images = ImageSet(encoded, np.zeros(3, dtype=np.int64), LABELS, "test")
    with torch.inference_mode():
        logits = bundle.load_model()(normalise(torch.from_numpy(pixels(images, PREPROCESS)), PREPROCESS))
    expected = torch.softmax(logits, dim=1).numpy()
    for row, found in zip(expected, answer["images"], strict=True):
        by_label = {t["label"]: t["probability"] for t in found["top"]}
        assert [by_label[label] for label in LABELS] == pytest.approx(row.tolist(), abs=1e-5)
        assert found["label"] == LABELS[int(row.argmax())]
        assert found["preprocess_ms"] > 0
        assert found["latency_ms"] > 0
    assert answer["schema"] == "nuwa.run/1"
    assert answer["batch"] == batch


def test_text_for_people(bundle: Bundle) -> None:
    done = run(bundle, str(bundle.dir / "samples"))
    assert done.returncode == 0, done.stderr
    first, second, last = done.stdout.splitlines()
    assert "bus.png: " in first
    assert "van.png: " in second
    assert "ms per batch of 1 measured on onnxruntime" in last
    assert "preprocessing" in last


@pytest.mark.parametrize(("threshold", "is_none"), [(0.0, False), (1.01, True), (None, None)])
def test_an_image_below_the_threshold_is_none_of_the_labels(
    bundle: Bundle, tmp_path: Path, threshold: float | None, is_none: bool | None
) -> None:
    folder = tmp_path / "b"
    shutil.copytree(bundle.dir, folder)
    certificate = json.loads((folder / "certificate.json").read_text())
    certificate["facts"]["none_below"] = threshold
    (folder / "certificate.json").write_text(json.dumps(certificate))
    for more in (["--json"], []):
        line = [sys.executable, str(folder / "run.py"), str(folder / "samples"), *more]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        if more:
            assert {image["is_none_of_these"] for image in json.loads(done.stdout)["images"]} == {is_none}
        else:
            assert ("none of these?" in done.stdout) is bool(is_none)


def test_wrong_use_ends_with_2(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not an image")
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, said in (
        ((str(tmp_path / "broken.png"),), "not a readable image"),
        ((str(tmp_path / "absent.png"),), "not a readable image"),
        ((str(empty),), "no images"),
        (("--top", "0", "x.png"), "at least 1"),
    ):
        done = run(bundle, *arguments)
        assert done.returncode == 2, arguments
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_it_goes_on_after_an_unreadable_image_and_names_it(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in (("a.png", png(30, 50)), ("b.jpg", b"torn"), ("c.png", png(24, 24))):
        (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(sys, "argv", ["run.py", str(tmp_path), "--json"])
    assert program_at(bundle.dir / "run.py").start() == 2
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert [Path(image["image"]).name for image in answer["images"]] == ["a.png", "c.png"]
    assert [Path(image["image"]).name for image in answer["failed"]] == ["b.jpg"]
    assert f"not a readable image: {tmp_path / 'b.jpg'}: " in said.err
    assert "1 of 3 images could not be read" not in said.out


def test_before_the_export_it_says_what_makes_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = make_parts()
    bare = write_bundle(tmp_path / "b", BundleParts(parts.model, parts.arch, LABELS, PREPROCESS, samples=parts.samples))
    monkeypatch.setattr(sys, "argv", ["run.py", str(bare.dir / "samples")])
    assert f"`nuwa export {bare.dir} --device host` writes it" in str(program_at(bare.dir / "run.py").start())


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("preprocess.json", {"img_size": 10**9}, "img_size as 1000000000"),
        ("preprocess.json", {"img_size": 32}, "preprocess.json makes images (3, 32, 32)"),
        ("preprocess.json", {"crop_pct": 0}, "crop_pct as 0"),
        ("preprocess.json", {"mean": [0.5]}, "no mean of three channels"),
        ("preprocess.json", {"interpolation": ["bicubic"]}, "no interpolation"),
        ("labels.txt", "one", "names 1 classes"),
        ("model.onnx", "no model", "model.onnx cannot be loaded"),
        ("certificate.json", "[]", "certificate.json holds no object"),
        ("certificate.json", "[" * 5000, "nested too deep"),
    ],
)
def test_a_damaged_bundle_is_named_and_takes_no_memory(
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: dict[str, Any] | str,
    said: str,
) -> None:
    folder = tmp_path / "b"
    shutil.copytree(bundle.dir, folder)
    path = folder / name
    path.write_text(change if isinstance(change, str) else json.dumps({**json.loads(path.read_text()), **change}))
    monkeypatch.setattr(sys, "argv", ["run.py", str(folder / "samples" / "bus.png")])
    assert said in str(program_at(folder / "run.py").start())


HIDE = """
import runpy, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Hidden())
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_it_runs_where_nothing_else_is_installed(bundle: Bundle) -> None:
    """Hide every installed package that numpy, pillow and onnxruntime do not ask for."""
    wanted, pending = set[str](), ["numpy", "pillow", "onnxruntime"]
    while pending:
        name = canonicalize_name(Requirement(pending.pop()).name)
        if name not in wanted:
            wanted.add(name)
            pending += [line for line in requires(name) or [] if "extra ==" not in line]
    hidden = {
        module
        for module, owners in packages_distributions().items()
        if not wanted & {canonicalize_name(owner) for owner in owners}
    }
    assert {"torch", "onnx", "scipy", "nuwa_search"} <= hidden
    code = f"import sys; sys.argv[:] = sys.argv[1:]; HIDDEN = {hidden!r}" + HIDE
    for program, before in (("run.py", []), ("camera.py", ["--source"])):
        line = [
            sys.executable,
            "-I",
            "-c",
            code,
            str(bundle.dir / program),
            *before,
            str(bundle.dir / "samples"),
            "--json",
        ]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        if program == "run.py":
            assert len(answer["images"]) == 2
            assert answer["latency_ms"] > 0
            assert answer["preprocess_ms"] > 0
        else:
            assert answer["frames"] == 2
            assert answer["frames_per_s"] > 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_scripts_need_little_and_parse_on_the_boards_python(bundle: Bundle, name: str) -> None:
    text = (bundle.dir / name).read_text()
    tree = ast.parse(text, feature_version=(3, 6))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    assert {n for n in found if n not in sys.stdlib_module_names} <= ALLOWED_IMPORTS
