"""measure, predict and evaluate on what ships in the package."""

import json
from pathlib import Path

import onnx
import pytest

from deploy.export.from_arch import onnx_from_arch
from nuwa.base import load_base
from service.cli.main import cli, run


def answer(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, object]:
    assert run(cli, [*args, "--json"], prog_name="nuwa") == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def test_any_onnx_file_is_measured_and_the_breakdown_adds_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(onnx_from_arch(load_base().arch, opset=13), path)
    found = answer(capsys, "measure", str(path), "--device", "jetson-nano", "--db", str(tmp_path / "a.sqlite"))
    latency, kernels = found["latency_ms"], found["breakdown"]
    assert isinstance(latency, dict)
    assert isinstance(kernels, list)
    assert sum(k["ms"] for k in kernels) == pytest.approx(latency["median"])
    assert found["provenance"] == "emulated"
    low, high = found["board_interval_ms"]  # type: ignore[misc]  # JSON
    assert low < latency["median"] < high


def test_a_file_that_is_no_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no model")
    assert run(cli, ["measure", str(path), "--db", str(tmp_path / "a.sqlite")], prog_name="nuwa") == 2
    assert "net.onnx" in capsys.readouterr().err


def test_base_evaluates_as_its_card_says(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "evaluate", "default", "--classes", "bicycle,bus,motorcycle,pickup_truck,train")
    assert (found["head"], found["split"], found["num_images"], found["top5"]) == ("restricted", "test", 250, None)
    assert found["top1"] == pytest.approx(0.876, abs=0.005)
    whole = answer(
        capsys, "evaluate", "default", "--classes", "bicycle,bus,motorcycle,pickup_truck,train", "--head", "all"
    )
    assert (whole["head"], whole["top1"]) == ("all", pytest.approx(0.728, abs=0.005))


def test_images_of_other_classes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    for name in ("bus", "spaceship"):
        (tmp_path / "all" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "all" / name / "a.png")
    assert run(cli, ["evaluate", "default", "--data", str(tmp_path / "all")], prog_name="nuwa") == 2
    assert "does not know all of these classes" in capsys.readouterr().err
