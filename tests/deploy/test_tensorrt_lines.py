"""Versions, command lines, and what is refused while planning."""

import itertools
import shlex
from pathlib import Path
from typing import get_args

import pytest

from nuwa_search.core.device import DeviceSpec, MeasureProtocol, Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.tensorrt.engine_info import (
    EngineInfo,
    check_engine_fits,
    info_path,
    read_engine_info,
    sha256_of_file,
    write_engine_info,
)
from nuwa_search.deploy.tensorrt.refusals import check_opset, check_precision, check_spec
from nuwa_search.deploy.tensorrt.trtexec import build_line, default_workspace_mb, measure_line, profile_line, shell_line
from nuwa_search.deploy.tensorrt.version import trt_features, trt_version_from_text
from tests.support import trtexec_standin

VERSIONS = ["8.0.1", "8.2.1", "8.4.1", "8.5.2", "8.6.1", "10.3.0", "10.15.0", "11.0.0", "11.4.0"]
ORIN = DeviceSpec("orin", "ssh", "tensorrt", "8.6.1", "fp16", compute_capability="8.7")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.2.1", "8.2.1"),
        ("8201", "8.2.1"),
        ("v8201", "8.2.1"),
        ("8001", "8.0.1"),
        ("8602", "8.6.2"),
        ("100300", "10.3.0"),
        ("110400", "11.4.0"),
        ("8.2.1-1+cuda10.2", "8.2.1"),
        ("11.4.0.106", "11.4.0"),
        ("8.4", "8.4.0"),
        ("10", "10.0.0"),
    ],
)
def test_versions_in_every_form_they_are_written(text: str, expected: str) -> None:
    assert str(trt_version_from_text(text)) == expected


@pytest.mark.parametrize("text", ["7.2.3", "7203", "12.0", "120000", "", "eight", "8.x", "-8.2"])
def test_versions_outside_the_known_range_name_it(text: str) -> None:
    with pytest.raises(NuwaError) as caught:
        trt_version_from_text(text)
    assert caught.value.hint
    if any(character.isdigit() for character in text) and "x" not in text and "-" not in text:
        assert "8.0 to 11" in caught.value.message


def test_versions_compare_by_number() -> None:
    assert trt_version_from_text("8.10.0") > trt_version_from_text("8.2.1")
    assert trt_version_from_text("10.3") < trt_version_from_text("10.15")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_line_is_one_that_its_release_knows(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trtexec_standin, "VERSION", tuple(int(part) for part in version.split(".")))
    known = trtexec_standin.known_options()
    lines = [
        build_line("m", "e", version=version, precision=precision, workspace_mb=64, timing_cache=cache)
        for precision in get_args(Precision)
        for cache in ("c", None)
    ]
    for transfers, cuda_graph in itertools.product((False, True), repeat=2):
        protocol = MeasureProtocol(transfers=transfers, cuda_graph=cuda_graph)
        lines.append(measure_line("e", version=version, protocol=protocol, export_times="t"))
        lines.append(profile_line("e", version=version, protocol=protocol, export_profile="p"))
    for line in lines:
        assert {option.partition("=")[0] for option in line[1:]} <= known


def test_the_line_for_a_nano() -> None:
    line = build_line("m.onnx", "m.engine", version="8.2.1", precision="fp16", workspace_mb=495, timing_cache="t")
    assert shell_line(line) == (
        "trtexec --onnx=m.onnx --saveEngine=m.engine --workspace=495 --fp16 --timingCacheFile=t --buildOnly"
    )
    line = measure_line("m.engine", version="8.2.1", protocol=MeasureProtocol(), export_times="t.json")
    assert shell_line(line) == (
        "trtexec --loadEngine=m.engine --warmUp=200 --duration=1 --iterations=20 --exportTimes=t.json "
        "--noDataTransfers --useSpinWait"
    )


def test_what_changed_between_releases() -> None:
    def build(version: str, precision: str = "fp16") -> list[str]:
        return build_line("m", "e", version=version, precision=precision, workspace_mb=64)  # type: ignore[arg-type]

    assert "--workspace=64" in build("8.2.1")
    assert "--memPoolSize=workspace:64" in build("8.4.0")
    assert build("8.5.2")[-1] == "--buildOnly"
    assert build("8.6.1")[-1] == build("10.3.0")[-1] == "--skipInference"
    assert {"--int8", "--fp16"} <= set(build("10.3.0", "int8"))
    assert build("11.0.0", "fp16") == build("11.0.0", "fp32") == build("11.0.0", "int8")
    assert "--noTF32" in build("8.6.1", "fp32")
    asked = MeasureProtocol(transfers=True, cuda_graph=True)
    old = measure_line("e", version="10.3.0", protocol=asked, export_times="t")
    new = measure_line("e", version="11.0.0", protocol=asked, export_times="t")
    assert "--useCudaGraph" in old
    assert "--noDataTransfers" not in old
    assert "--noCudaGraph" not in new
    assert "--includeDataTransfers" in new


def test_short_protocols_are_rounded_up_never_down() -> None:
    protocol = MeasureProtocol(warmup_ms=0.5, min_duration_ms=1001, min_repetitions=3)
    line = measure_line("e", version="8.2.1", protocol=protocol, export_times="t")
    assert {"--warmUp=1", "--duration=2", "--iterations=3"} <= set(line)
    assert "--exportTimes=t" not in profile_line("e", version="8.2.1", protocol=protocol, export_profile="p")


def test_names_with_blanks_and_quotes_survive_a_shell() -> None:
    line = build_line("a b'c.onnx", "$(x).engine", version="8.2.1", precision="fp32", workspace_mb=64)
    assert shlex.split(shell_line(line)) == line


@pytest.mark.parametrize(("memory_mb", "expected"), [(None, 256), (3964, 495), (256, 64), (8192, 1024), (131072, 4096)])
def test_the_workspace_leaves_room_for_the_rest(memory_mb: int | None, expected: int) -> None:
    assert default_workspace_mb(memory_mb) == expected


def test_a_workspace_of_nothing_is_refused() -> None:
    with pytest.raises(NuwaError, match="at least 1 MiB"):
        build_line("m", "e", version="8.2.1", precision="fp32", workspace_mb=0)


class TestRefusals:
    @pytest.mark.parametrize("capability", ["5.3", "6.2", "6.0", "5.2"])
    def test_int8_where_the_gpu_has_none(self, capability: str) -> None:
        with pytest.raises(NuwaError, match="no native INT8") as caught:
            check_precision("int8", compute_capability=capability)
        assert "fp16" in caught.value.hint

    @pytest.mark.parametrize("capability", ["5.2", "6.1"])
    def test_fp16_where_it_is_slow(self, capability: str) -> None:
        with pytest.raises(NuwaError, match="no fast FP16"):
            check_precision("fp16", compute_capability=capability)

    @pytest.mark.parametrize(
        ("precision", "capability"),
        [
            ("fp16", "5.3"),
            ("fp16", "6.2"),
            ("int8", "6.1"),
            ("int8", "7.2"),
            ("int8", "8.7"),
            ("fp32", "5.2"),
            ("int8", None),
        ],
    )
    def test_what_works_passes(self, precision: str, capability: str | None) -> None:
        check_precision(precision, compute_capability=capability)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("opset", "version"), [(14, "8.0.1"), (14, "8.2.1"), (18, "8.6.1"), (21, "10.0.0"), (25, "11.4.0")]
    )
    def test_an_opset_too_new_names_the_newest_that_works(self, opset: int, version: str) -> None:
        newest = trt_features(trt_version_from_text(version)).opset
        check_opset(newest, version=version)
        with pytest.raises(NuwaError, match=f"up to opset {newest}") as caught:
            check_opset(opset, version=version)
        assert f"at opset {newest}" in caught.value.hint

    @pytest.mark.parametrize("capability", ["5.3", "6.2"])
    def test_a_tensorrt_that_never_came_to_the_board(self, capability: str) -> None:
        spec = DeviceSpec("nano", "ssh", "tensorrt", "8.4.1", "fp16", compute_capability=capability)
        with pytest.raises(NuwaError, match=r"JetPack 4\.6"):
            check_spec(spec)
        check_spec(DeviceSpec("nano", "ssh", "tensorrt", "8.2.1", "fp16", compute_capability=capability))


class TestEngineInfo:
    @pytest.fixture
    def engine(self, tmp_path: Path) -> Path:
        path = tmp_path / "m.engine"
        path.write_bytes(b"engine")
        info = EngineInfo("8.6.1", "Orin", "8.7", "fp16", "0" * 64, sha256_of_file(path), 1024)
        write_engine_info(info, path)
        return path

    def test_comes_back_as_it_was_written_and_fits_its_device(self, engine: Path) -> None:
        check_engine_fits(read_engine_info(engine), ORIN)

    @pytest.mark.parametrize(
        ("spec", "reason"),
        [
            (
                DeviceSpec("d", "ssh", "tensorrt", "8.5.2", "fp16", compute_capability="8.7"),
                r"TensorRT 8\.6\.1 and d has",
            ),
            (DeviceSpec("d", "ssh", "tensorrt", "8.6.1", "fp16", compute_capability="7.2"), "compute capability"),
            (DeviceSpec("d", "ssh", "tensorrt", "8.6.1", "fp32", compute_capability="8.7"), "asks for fp32"),
        ],
    )
    def test_an_engine_for_something_else_is_refused(self, engine: Path, spec: DeviceSpec, reason: str) -> None:
        with pytest.raises(NuwaError, match=reason) as caught:
            check_engine_fits(read_engine_info(engine), spec)
        assert "nuwa build" in caught.value.hint

    def test_a_changed_or_undescribed_engine_is_refused(self, engine: Path) -> None:
        engine.write_bytes(b"another")
        with pytest.raises(NuwaError, match="not the one"):
            read_engine_info(engine)
        info_path(engine).write_text("{")
        with pytest.raises(NuwaError, match="does not describe"):
            read_engine_info(engine)
        info_path(engine).unlink()
        with pytest.raises(NuwaError, match="no description"):
            read_engine_info(engine)
