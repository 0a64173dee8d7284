"""measure, predict and evaluate on what ships in the package."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import onnx
import pytest
import timm
import torch

from nuwa_search.core.base import load_base
from nuwa_search.core.class_scores import class_scores
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.logits import logits_of
from nuwa_search.core.sources import open_task, task_base
from nuwa_search.core.tensors import split_tensors, task_tensors
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.models import onnx_from_text
from nuwa_search.latency.devices.registry import builtin_specs
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store
from tests.support.toy_images import write_colours


def answer(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert run(cli, [*args, "--json"], prog_name="nuwa") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
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
    low, high = found["board_interval_ms"]
    assert low < latency["median"] < high


def test_a_file_that_is_no_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no model")
    assert run(cli, ["measure", str(path), "--db", str(tmp_path / "a.sqlite")], prog_name="nuwa") == 2
    assert "net.onnx" in capsys.readouterr().err


def test_base_knows_cifar100_as_its_card_says(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vehicles = ["--classes", "bicycle,bus,motorcycle,pickup_truck,train"]
    about = ("default", "--data", str(shared / "data" / "cifar100"), *vehicles)
    found = answer(capsys, "evaluate", *about)
    assert (found["head"], found["split"], found["num_images"], found["top5"]) == ("restricted", "test", 250, None)
    assert found["top1"] == pytest.approx(0.876, abs=0.005)
    whole = answer(capsys, "evaluate", *about, "--head", "all")
    assert (whole["head"], whole["top1"]) == ("all", pytest.approx(0.728, abs=0.005))
    low, high = whole["top5_interval"]  # of the hundred outputs
    assert low < whole["top5"] < high


def test_images_that_no_longer_ship_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """No other images stand in for them without a word."""
    assert run(cli, ["evaluate", "default", "--data", "cifar100-sample"], prog_name="nuwa") == 2
    told = capsys.readouterr().err
    assert "'cifar100-sample' shipped with earlier versions" in told
    assert "--data PATH" in told


def test_a_base_that_does_not_know_the_classes_gets_the_head_of_a_search(
    tmp_path: Path, toy_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(write_colours(tmp_path / "others", ("cold", "leafy", "warm")))
    base = load_base(str(toy_base))
    task = open_task(base, data=data, label_column=None, classes=None, seed=0)
    model = task_base(base, task, task_tensors(task, base.preprocess)).model
    test = split_tensors(task.test, base.preprocess)
    wanted = class_scores(logits_of(model, test.images, base.preprocess), test.labels)

    evaluate = ["base", "evaluate", str(toy_base), "--data", data]
    assert run(cli, [*evaluate, "--json"], prog_name="nuwa") == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["head"], found["split"], found["num_images"]) == ("fitted", "test", len(task.test))
    assert found["classes"] == ["cold", "leafy", "warm"]
    assert (found["top1"], tuple(found["top1_interval"])) == (wanted.top1, wanted.top1_interval)
    assert f"a head was fitted to {len(task.train)} training images" in told.err
    assert run(cli, [*evaluate, "--split", "train"], prog_name="nuwa") == 2
    assert "wanted split test, found 'train'" in capsys.readouterr().err
    assert run(cli, [*evaluate, "--head", "all"], prog_name="nuwa") == 2
    assert "does not know all of these classes" in capsys.readouterr().err


def test_too_few_images_for_a_head_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    for name in ("bus", "spaceship"):
        (tmp_path / "all" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "all" / name / "a.png")
    assert run(cli, ["evaluate", "default", "--data", str(tmp_path / "all")], prog_name="nuwa") == 2
    assert "'bus' has 1" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["measure", "predict"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing.onnx", "at nothing.onnx"),
        ("./nothing", "no file or folder at ./nothing"),
        ("my/bundle", "no file or folder at my/bundle"),
        ("arch.json", "no file or folder at arch.json"),
        ("empty", "the folder empty holds neither a bundle"),
        ("vit_tinny", "no file or folder is called that"),
        ("notes.json", "holds no arch"),
    ],
)
def test_a_path_that_leads_nowhere_is_no_base(
    verb: str,
    text: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.json").write_text("[1]")
    assert run(cli, [verb, text, "--db", "a.sqlite"], prog_name="nuwa") == 2
    err = capsys.readouterr().err
    assert message in err
    assert "hint:" in err
    assert "known:" not in err


def test_predict_sends_onnx_files_to_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(onnx_from_arch(load_base().arch, opset=13, has_weights=False), tmp_path / "net.onnx")
    db = str(tmp_path / "a.sqlite")
    assert run(cli, ["predict", str(tmp_path / "net.onnx"), "--db", db], prog_name="nuwa") == 2
    assert "nuwa measure" in capsys.readouterr().err


@pytest.fixture(scope="module")
def traced_vits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ViT of timm's as torch's own exporter writes it: fixed at opset 13, newer, and with a free batch."""
    folder = tmp_path_factory.mktemp("traced")
    timm.layers.set_fused_attn(enable=False)  # opset 13 has no way to write the fused one
    try:
        sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
        net = timm.create_model("vit_tiny_patch16_224", pretrained=False, **sizes).eval()
    finally:
        timm.layers.set_fused_attn(enable=True)
    image = torch.zeros(1, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that its older exporter is going away
        for name, opset, axes in (("opset13", 13, {}), ("opset17", 17, {}), ("free", 13, {"image": {0: "batch"}})):
            torch.onnx.export(
                net,
                (image,),
                str(folder / f"{name}.onnx"),
                opset_version=opset,
                dynamo=False,
                input_names=["image"],
                dynamic_axes=axes,
            )
    return folder


@pytest.mark.parametrize(("name", "warning"), [("opset13", None), ("free", "leaves the batch open")])
def test_a_vit_from_torchs_exporter_is_measured(
    traced_vits: Path, name: str, warning: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = str(tmp_path / "a.sqlite")
    found = answer(capsys, "measure", str(traced_vits / f"{name}.onnx"), "--device", "jetson-nano", "--db", db)
    total_ms = sum(kernel["ms"] for kernel in found["breakdown"])
    assert total_ms == pytest.approx(found["latency_ms"]["median"])
    said = " ".join(found["warnings"])
    assert warning is None or warning in said


def test_a_graph_too_new_for_the_boards_parser_is_refused(
    traced_vits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["measure", str(traced_vits / "opset17.onnx"), "--device", "jetson-nano", "--db", str(tmp_path / "a.sqlite")]
    assert run(cli, line, prog_name="nuwa") == 2
    said = capsys.readouterr().err
    assert "opset 17; the parser of TensorRT 8.2.1 takes up to opset 13" in said
    assert "write it at opset 13" in said


def test_weights_in_a_file_of_their_own_are_read_for_a_real_device(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    arch = dataclasses.replace(load_base().arch, blocks=load_base().arch.blocks[:1])
    onnx.save(onnx_from_arch(arch, opset=17), path, save_as_external_data=True, location="net.data")
    with open_store(str(tmp_path / "a.sqlite")) as store:
        for device, has_weights in (("host", True), ("jetson-nano", False)):
            model = onnx_from_text(str(path), store, builtin_specs()[device])
            assert all(tensor.HasField("raw_data") for tensor in model.graph.initializer) == has_weights
        (tmp_path / "net.data").unlink()
        with pytest.raises(NuwaError, match="lie in another file"):
            onnx_from_text(str(path), store, builtin_specs()["host"])
