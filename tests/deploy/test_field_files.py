"""DeepStream, Triton, ROS 2 and C++ in a bundle: right names, shapes and numbers, as far as no hardware is needed."""

import configparser
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from shutil import which
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from PIL import Image

from nuwa_search.core.images import Preprocess
from nuwa_search.core.img_size import ImgSize, sides_of
from nuwa_search.deploy.assets import classifier
from nuwa_search.deploy.bundle import Bundle, read_bundle
from nuwa_search.deploy.field.cpp import model_header, write_cpp
from nuwa_search.deploy.field.field_model import FieldModel
from nuwa_search.deploy.field.nvinfer import kept_part, nvinfer_config, nvinfer_labels
from nuwa_search.deploy.file_hashes import compare_hashes, hash_folder
from nuwa_search.deploy.write_bundle import write_bundle
from tests.core.test_images import picture
from tests.deploy.bundle_parts import LABELS, PREPROCESS, make_parts
from tests.support.bundle_programs import program_at

STANDINS = Path(__file__).parents[1] / "support" / "field_headers"
Frame = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("field") / "b", make_parts(batch=2))


def frames() -> list[Frame]:
    return [np.asarray(picture(*size, seed=k)) for k, size in enumerate([(64, 64), (57, 91), (91, 57), (7, 5)])]


def field_model(**changes: Any) -> FieldModel:
    return replace(FieldModel(onnx.ModelProto(), LABELS, PREPROCESS, "normalised", "fp16"), **changes)


@pytest.mark.parametrize("input_kind", ["normalised", "unit"])
def test_nvinfers_formula_on_its_graph_gives_the_bundles_probabilities(tmp_path: Path, input_kind: Any) -> None:
    bundle = write_bundle(tmp_path / "b", make_parts(batch=2, input_kind=input_kind))
    folder = bundle.dir / "deepstream"
    parsed = configparser.ConfigParser()
    parsed.read(folder / "config_infer_primary.txt", encoding="utf-8")
    told = parsed["property"]
    model = classifier.Classifier(bundle.dir)
    scale = np.float32(told["net-scale-factor"])
    offsets = np.asarray(told["offsets"].split(";"), dtype=np.float32).reshape(3, 1, 1)
    pixels = np.stack([model.crop(Image.fromarray(frame)).transpose(2, 0, 1) for frame in frames()[:2]])
    given = scale * (pixels.astype(np.float32) - offsets)  # nvinfer's, as its guide has it
    graph = onnx.load(folder / told["onnx-file"])
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run([told["output-blob-names"]], {"images": given})
    expected = np.stack([p.scores for p in model.predict(frames()[:2])])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert [int(n) for n in told["infer-dims"].split(";")] == list(given.shape[1:])
    assert int(told["batch-size"]) == 2
    assert told["network-mode"] == "2"  # the certificate says FP16
    labels = (folder / told["labelfile-path"]).read_text(encoding="utf-8").splitlines()
    assert [line.split(";") for line in labels] == [list(LABELS)]
    assert told["model-engine-file"] == "model.engine"
    script = (folder / "build.sh").read_text()
    assert "--onnx=model.onnx" in script
    assert "--saveEngine=model.engine" in script


def test_nvinfers_labels_thresholds_and_crops() -> None:
    assert nvinfer_labels(("a;b", "c")) == "a,b;c\n"
    graph = onnx.helper.make_graph(
        [], "g", [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, 24, 24))], []
    )
    model = field_model(graph=onnx.helper.make_model(graph), precision="fp32", none_below=0.4)
    config = nvinfer_config(model)
    assert "classifier-threshold=0.4\n" in config
    assert "model-engine-file=model.onnx_b1_gpu0_fp32.engine\n" in config
    assert kept_part(Preprocess(224, crop_pct=1.0), 1920, 1080) == (420, 0, 1080, 1080)
    assert kept_part(Preprocess(224, crop_pct=0.875), 640, 480) == (110, 30, 420, 420)
    assert kept_part(Preprocess((144, 256), crop_pct=1.0), 1920, 1080) == (0, 0, 1920, 1080)
    assert kept_part(Preprocess((240, 160), crop_pct=1.0), 640, 480) == (160, 0, 320, 480)


def test_a_model_of_bytes_has_nothing_for_deepstream(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", make_parts(input_kind="uint8"))
    assert {p.name for p in bundle.dir.iterdir()} & {"deepstream", "triton", "ros2", "cpp"} == {"triton", "ros2", "cpp"}


def model_config_messages() -> Any:
    """Triton's own message types where tritonclient is installed (its package itself asks for gRPC), else a part.

    It is no requirement of the tests: 2.73 wants an ml-dtypes older than onnx's.
    """
    try:
        listed = files("tritonclient")
    except PackageNotFoundError:
        return part_of_the_messages()
    found = next(path for path in listed or () if path.name == "model_config_pb2.py" and path.parts[1] == "grpc")
    return program_at(Path(str(found.locate())))


def part_of_the_messages() -> SimpleNamespace:
    """The fields that the configuration has, with Triton's names and types, read off tritonclient 2.73."""
    schema = {
        "Param": [("string_value", "TYPE_STRING", 1)],
        "Entry": [("key", "TYPE_STRING", 1), ("value", "Param", 1)],
        "Tensor": [
            ("name", "TYPE_STRING", 1),
            ("data_type", "TYPE_ENUM", 1),
            ("dims", "TYPE_INT64", 3),
            ("label_filename", "TYPE_STRING", 1),
        ],
        "ModelConfig": [
            ("name", "TYPE_STRING", 1),
            ("backend", "TYPE_STRING", 1),
            ("max_batch_size", "TYPE_INT32", 1),
            ("input", "Tensor", 3),
            ("output", "Tensor", 3),
            ("parameters", "Entry", 3),
        ],
    }
    file = descriptor_pb2.FileDescriptorProto(name="part.proto", package="part", syntax="proto3")
    file.enum_type.add(name="DataType").value.add(name="TYPE_INVALID", number=0)
    for name, number in (("TYPE_UINT8", 2), ("TYPE_FP32", 11)):
        file.enum_type[0].value.add(name=name, number=number)
    for message_name, fields in schema.items():
        kept = file.message_type.add(name=message_name)
        for number, (name, kind, label) in enumerate(fields, 1):
            field = kept.field.add(name=name, number=number, label=label)
            if kind in schema:
                field.type, field.type_name = field.TYPE_MESSAGE, f".part.{kind}"
            else:
                field.type = getattr(field, kind)
            if kind == "TYPE_ENUM":
                field.type_name = ".part.DataType"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName("part.ModelConfig"))
    return SimpleNamespace(ModelConfig=config, TYPE_FP32=11)


def test_tritons_configuration_describes_the_graph(bundle: Bundle) -> None:
    folder = bundle.dir / "triton" / "nuwa_vit"
    messages = model_config_messages()
    config = text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), messages.ModelConfig())
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    for told, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        assert [(t.name, list(t.dims)) for t in told] == [(r.name, list(r.shape)) for r in real]
        assert {t.data_type for t in told} == {messages.TYPE_FP32}
    assert (config.name, config.backend, config.max_batch_size) == (folder.name, "onnxruntime", 0)
    labels = (folder / config.output[0].label_filename).read_text(encoding="utf-8").splitlines()
    assert labels == list(LABELS)
    by_name = config.parameters if hasattr(config.parameters, "keys") else {e.key: e.value for e in config.parameters}
    assert by_name["std"].string_value == ",".join(map(str, PREPROCESS.std))


def test_what_is_for_the_field_is_certified_and_read_again(bundle: Bundle) -> None:
    assert bundle.certificate is not None
    assert bundle.certificate.files == hash_folder(bundle.dir)
    assert "triton/nuwa_vit/1/model.onnx" in bundle.certificate.files
    assert compare_hashes(bundle.dir, bundle.certificate.files).is_intact
    assert read_bundle(bundle.dir) == bundle


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand-ins for what the node imports of ROS 2: parameters as given, messages kept, no middleware."""
    seen = SimpleNamespace(published=[], logged=[], parameters={}, topics=[])

    class Node:
        def __init__(self, name: str) -> None:
            seen.name = name

        def declare_parameter(self, name: str, default: object) -> SimpleNamespace:
            return SimpleNamespace(value=seen.parameters.get(name, default))

        def create_publisher(self, kind: type, topic: str, depth: int) -> SimpleNamespace:
            return SimpleNamespace(publish=seen.published.append)

        def create_subscription(self, kind: type, topic: str, callback: object, qos: object) -> None:
            seen.topics.append(topic)

        def get_logger(self) -> SimpleNamespace:
            return SimpleNamespace(info=seen.logged.append, warning=seen.logged.append)

    class Classification:
        def __init__(self) -> None:
            self.header: object = None
            self.results: list[Any] = []

    modules: dict[str, dict[str, object]] = {
        "rclpy": {},
        "rclpy.node": {"Node": Node},
        "rclpy.qos": {"qos_profile_sensor_data": object()},
        "sensor_msgs": {},
        "sensor_msgs.msg": {"Image": object},
        "vision_msgs": {},
        "vision_msgs.msg": {"Classification": Classification, "ObjectHypothesis": SimpleNamespace},
    }
    for name, values in modules.items():
        module = ModuleType(name)
        module.__dict__.update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return seen


def message(frame: Frame, encoding: str, *, padding: int = 0) -> SimpleNamespace:
    rows = frame.reshape(frame.shape[0], -1)
    padded = np.pad(rows, ((0, 0), (0, padding)))
    height, width = frame.shape[:2]
    return SimpleNamespace(
        header="stamp", encoding=encoding, height=height, width=width, step=padded.shape[1], data=padded.tobytes()
    )


def test_the_ros_node_publishes_what_the_classifier_says(bundle: Bundle, ros: SimpleNamespace) -> None:
    ros.parameters["image_topic"] = "/camera"
    node = program_at(bundle.dir / "ros2" / "classifier_node.py").ClassifierNode()
    assert ros.topics == ["/camera"]
    frame = frames()[1]
    alpha = np.full((*frame.shape[:2], 1), 7, dtype=np.uint8)
    for given in (
        message(frame, "rgb8"),
        message(frame, "rgb8", padding=5),
        message(frame[:, :, ::-1].copy(), "bgr8"),
        message(np.concatenate([frame, alpha], axis=2), "rgba8"),
    ):
        node.on_image(given)
    (expected,) = classifier.Classifier(bundle.dir).predict(frame)
    order = np.argsort(-expected.scores)[:3]
    assert len(ros.published) == 4
    for found in ros.published:
        assert found.header == "stamp"
        assert [r.class_id for r in found.results] == [LABELS[i] for i in order]
        assert [r.score for r in found.results] == pytest.approx(expected.scores[order].tolist())
    node.on_image(message(frame[:, :, :1].copy(), "mono8"))
    node.on_image(message(frame, "yuv422"))
    node.model.none_below = 1.01
    node.on_image(message(frame, "rgb8"))
    assert [len(found.results) for found in ros.published[4:]] == [3, 0]
    assert "encoding yuv422 is not read" in ros.logged[-1]


@pytest.fixture(scope="module")
def compiler() -> str:
    found = which("g++")
    if found is None:
        pytest.skip("no C++ compiler here")
    return found


def compile_with(compiler: str, *arguments: object) -> None:
    line = [compiler, "-std=c++14", "-Wall", "-Wextra", "-Werror", *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


MAIN = """
#include <cstdio>
#include "preprocess.h"
int main(int, char** v) {
  nuwa::Picture p{std::stoi(v[1]), std::stoi(v[2]), {}};
  p.pixels.resize(static_cast<size_t>(p.width) * p.height * 3);
  if (std::fread(p.pixels.data(), 1, p.pixels.size(), stdin) != p.pixels.size()) return 1;
  const auto made = nuwa::model_input(p, {v[3], v[4], std::stod(v[5])});
  std::fwrite(made.data(), sizeof(nuwa::Input), made.size(), stdout);
}
"""


CASES = (
    ("center", "bicubic", 0.9),
    ("center", "hamming", 1.0),
    ("center", "nearest", 0.875),
    ("border", "lanczos", 1.0),
    ("squash", "bilinear", 1.1),
    ("squash", "box", 1.0),
)


@pytest.mark.parametrize("size", [24, (20, 36)])
def test_cpp_makes_the_same_input(tmp_path: Path, size: ImgSize, compiler: str) -> None:
    preprocess = replace(PREPROCESS, img_size=size)
    image = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, *sides_of(size)))
    graph = onnx.helper.make_model(onnx.helper.make_graph([], "g", [image], []))
    write_cpp(tmp_path / "cpp", field_model(graph=graph, preprocess=preprocess))
    (tmp_path / "main.cpp").write_text(MAIN)
    program = tmp_path / "program"
    compile_with(compiler, "-I", tmp_path / "cpp", tmp_path / "main.cpp", "-o", program)
    model = SimpleNamespace(shape=(1, 3, *sides_of(size)), input_kind="normalised")
    for mode, interpolation, crop_pct in CASES if size == 24 else CASES[1:5]:
        told = asdict(preprocess) | {"crop_mode": mode, "interpolation": interpolation, "crop_pct": crop_pct}
        for frame in frames():
            line = [str(program), str(frame.shape[1]), str(frame.shape[0]), mode, interpolation, str(crop_pct)]
            done = subprocess.run(line, input=frame.tobytes(), capture_output=True, check=True)
            found = np.frombuffer(done.stdout, dtype=np.float32).reshape(model.shape)
            expected = classifier.model_input([classifier.crop(Image.fromarray(frame), told)], told, model)
            std = np.asarray(PREPROCESS.std, dtype=np.float32).reshape(1, 3, 1, 1)
            apart = np.rint(np.abs(found - expected) * std * 255).max()
            is_tall = frame.shape[0] > frame.shape[1]
            assert apart <= 2 * is_tall, (
                f"{mode} {interpolation} {frame.shape}: {apart} levels"
            )  # Pillow 13, height first
            assert is_tall or (found == expected).all()


def test_a_label_is_quoted_for_cpp() -> None:
    graph = onnx.helper.make_graph(
        [], "g", [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, 24, 24))], []
    )
    header = model_header(field_model(graph=onnx.helper.make_model(graph), labels=('a "b"', "what??", "Straße")))
    assert '"a \\"b\\""' in header
    assert '"what?""?"' in header
    assert '"Straße"' in header


@pytest.mark.parametrize("major", [8, 10])
def test_cpp_compiles_against_stand_ins_for_tensorrt(bundle: Bundle, compiler: str, major: int) -> None:
    flags = ("-fsyntax-only", "-DWITH_TENSORRT", f"-DNV_TENSORRT_MAJOR={major}")
    compile_with(compiler, *flags, "-I", STANDINS, bundle.dir / "cpp" / "classify.cpp")


def test_cpp_runs_on_a_stand_in_for_onnx_runtime(bundle: Bundle, tmp_path: Path, compiler: str) -> None:
    program = tmp_path / "classify"
    compile_with(compiler, "-I", STANDINS, bundle.dir / "cpp" / "classify.cpp", "-o", program)
    image, torn = tmp_path / "a.ppm", tmp_path / "b.ppm"
    Image.fromarray(frames()[1]).save(image)
    torn.write_bytes(image.read_bytes()[:-1])
    line = [str(program), str(bundle.dir / "model.onnx"), str(torn), str(image)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"not a readable image: {torn}: it ends early" in done.stderr
    # the stand-in's logits are 0, 1, 2, …: the last label wins by what a softmax of these gives it
    share = float(1 / np.exp(-np.arange(len(LABELS))).sum())
    assert f"{image}: {LABELS[-1]} {100 * share:.1f} %" in done.stdout
