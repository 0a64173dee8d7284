"""The engine's own outputs, over a real SSH server: right to the last printed digit, or none."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.runtime import FloatArray, RunsModels
from nuwa_search.deploy.runtimes.onnxruntime import OnnxRuntime
from nuwa_search.deploy.tensorrt.outputs import output_from_export
from nuwa_search.deploy.tensorrt.report import CutOffError
from nuwa_search.deploy.tensorrt.trtexec import infer_line
from nuwa_search.latency.devices.emulated import EmulatedDevice
from nuwa_search.latency.devices.emulated_specs import EMULATED_SPECS
from nuwa_search.latency.devices.host import HostDevice
from nuwa_search.latency.devices.host_facts import host_spec
from tests.support.ssh_board import Cut, SshBoard
from tests.support.ssh_rig import BUILD, NANO, Rig

INFER = "--exportOutput"


def make_model(*, seed: int = 0, batch: int = 1, elem_type: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A net of 2 x 3 x 4 images that tells channels, places and magnitudes apart."""
    weights = np.random.default_rng(seed).standard_normal((36, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"], "flat", axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["logits"], "head"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", elem_type, [batch, 3, 3, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 5])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def make_images(*, batch: int = 1) -> FloatArray:
    return np.random.default_rng(7).standard_normal((batch, 3, 3, 4)).astype(np.float32)


@pytest.fixture
def rig(board: SshBoard) -> Iterator[Rig]:
    rig = Rig(board)
    yield rig
    for device in rig.devices:
        device.close()
    assert board.leftovers() == []


class TestOutputs:
    @pytest.mark.parametrize("batch", [1, 2])
    def test_they_are_those_of_the_model_that_was_sent(self, rig: Rig, batch: int) -> None:
        model, images = make_model(batch=batch), make_images(batch=batch)
        device = rig.device(dataclasses.replace(NANO, batch=batch))
        engine = device.compiled(model)
        expected = OnnxRuntime().load(model.SerializeToString()).run(images)
        assert engine.run(images) == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert engine.input_shape == (batch, 3, 3, 4)
        assert engine.runtime == "tensorrt 8.2.1"

    @pytest.mark.parametrize("version", ["8.0.1", "8.6.1", "10.3.0", "11.4.0"])
    def test_other_releases(self, rig: Rig, version: str) -> None:
        rig.board.version = version
        spec = dataclasses.replace(NANO, runtime_version=version, compute_capability="8.7", precision="fp32")
        expected = OnnxRuntime().load(make_model().SerializeToString()).run(make_images())
        assert rig.device(spec).compiled(make_model()).run(make_images()) == pytest.approx(expected, rel=1e-5, abs=1e-5)

    def test_latency_and_outputs_are_of_one_engine(self, rig: Rig) -> None:
        device = rig.device(with_profile=False)
        engine = device.compiled(make_model())
        assert "engine_sha256" in (state := device.measure(make_model()).state)
        assert state["engine_sha256"] == engine.artifact_sha256
        engine.run(make_images())
        assert rig.board.num_commands(BUILD) == 1

    def test_images_of_another_shape_or_type_are_refused_here(self, rig: Rig) -> None:
        engine = rig.device().compiled(make_model())
        for images in (make_images(batch=2), make_images().astype(np.float64)):
            with pytest.raises(NuwaError, match="the model takes float32"):
                engine.run(images)
        assert rig.board.num_commands(INFER) == 0

    def test_a_lost_connection_or_cut_output_is_run_again(self, rig: Rig) -> None:
        engine = rig.device().compiled(make_model())
        expected = engine.run(make_images())
        rig.board.cuts.append(Cut(INFER))
        rig.board.fault("infer-cut", 1)
        assert (engine.run(make_images()) == expected).all()
        assert rig.board.num_commands(INFER) == 4

    def test_an_engine_that_overflows_says_so(self, rig: Rig) -> None:
        rig.board.fault("infer-nan")
        logits = rig.device().compiled(make_model()).run(make_images())
        assert np.isnan(logits[0, 0])
        assert np.isfinite(logits[0, 1:]).all()

    def test_an_engine_changed_on_the_board_is_never_run(self, rig: Rig) -> None:
        engine = rig.device().compiled(make_model())
        (path,) = rig.board.tmp.rglob("*.engine")
        path.write_bytes(
            path.read_bytes().replace(make_model().SerializeToString(), make_model(seed=1).SerializeToString())
        )
        with pytest.raises(NuwaError, match="magicTag") as caught:
            engine.run(make_images())
        assert "build it again" in caught.value.hint


class TestStore:
    def test_engines_outlive_a_stay_until_they_are_forgotten(self, rig: Rig) -> None:
        for _ in range(2):
            with rig.device(keeps_engines=True, with_profile=False) as device:
                device.measure(make_model())
                assert device.has_engine(make_model())
                assert not device.has_engine(make_model(seed=1))
        assert rig.board.num_commands(BUILD) == 1
        assert len(rig.board.kept()) == 1
        with rig.device(keeps_engines=True) as device:
            device.forget(make_model())
            device.forget(make_model(seed=1))
        assert rig.board.kept() == []

    def test_a_build_that_broke_leaves_nothing_that_counts(self, rig: Rig) -> None:
        rig.board.fault("build-hang", 1)
        rig.board.cuts.append(Cut(BUILD, after_s=0.6))
        with rig.device(keeps_engines=True, max_attempts=1) as device, pytest.raises(OutsideError):
            device.measure(make_model())
        (store,) = (rig.board.root / "home").rglob(NANO.device_id)
        (store / "0123456789abcdef-fp16-495.engine.part").write_text("half")
        with rig.device(keeps_engines=True, with_profile=False) as device:
            device.measure(make_model())
        assert [path.name for path in store.glob("*.part")] == []
        assert len(rig.board.kept()) == 1

    def test_a_reboot_costs_no_engine(self, rig: Rig) -> None:
        with rig.device(keeps_engines=True, with_profile=False) as device:
            device.measure(make_model())
            rig.board.cuts.append(Cut("--exportTimes", then='rm -rf "$TMPDIR"/*'))
            device.measure(make_model())
        assert rig.board.num_commands(BUILD) == 1


def test_host_runs_what_it_times() -> None:
    device = HostDevice(host_spec())
    assert isinstance(device, RunsModels)
    expected = OnnxRuntime().load(make_model().SerializeToString()).run(make_images())
    assert (device.compiled(make_model()).run(make_images()) == expected).all()


def test_an_emulated_board_runs_nothing() -> None:
    assert not isinstance(EmulatedDevice(EMULATED_SPECS["jetson-nano"]), RunsModels)


class TestExport:
    WHOLE = '[\n  { "name" : "logits"\n  , "dimensions" : "1x3"\n  , "values" : [ 1.5, -2e-05, 3 ]\n  }\n]\n'

    def read(self, folder: Path, text: str, shape: tuple[int, ...] = (1, 3)) -> FloatArray:
        path = folder / "out.json"
        path.write_text(text)
        return output_from_export(path, name="logits", shape=shape)

    def test_as_the_releases_write_it(self, tmp_path: Path) -> None:
        assert self.read(tmp_path, self.WHOLE).tolist() == [[1.5, np.float32(-2e-05), 3.0]]
        found = self.read(tmp_path, self.WHOLE.replace("1.5", "nan").replace(" 3 ", " -inf "))
        assert np.isnan(found[0, [0, 2]]).all()

    def test_cut_anywhere_it_is_no_output(self, tmp_path: Path) -> None:
        for cut in range(len(self.WHOLE) - 2):
            with pytest.raises(CutOffError):
                self.read(tmp_path, self.WHOLE[:cut])

    @pytest.mark.parametrize(
        ("change", "to"), [("1x3", "1x4"), ("1x3", "x"), ("1x3", "1x3x1x1x0"), ("3 ]", "true ]"), ("3 ]", '"3" ]')]
    )
    def test_what_contradicts_itself_is_no_output(self, tmp_path: Path, change: str, to: str) -> None:
        with pytest.raises(CutOffError):
            self.read(tmp_path, self.WHOLE.replace(change, to))

    def test_another_output_or_shape_is_another_engine(self, tmp_path: Path) -> None:
        for text, shape in ((self.WHOLE.replace("logits", "boxes"), (1, 3)), (self.WHOLE, (3, 1))):
            with pytest.raises(NuwaError, match="output") as caught:
                self.read(tmp_path, text, shape)
            assert not isinstance(caught.value, CutOffError)


def test_a_line_that_trtexec_would_split_is_refused() -> None:
    for name, path in (("a:b", "input"), ("images", "/tmp/a,b")):
        with pytest.raises(NuwaError, match="splits"):
            infer_line("e", version="8.2.1", inputs={name: path}, export_output="o")
