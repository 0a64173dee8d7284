"""Reports, times and profiles: every release's format, and nothing wrong from anything broken."""

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import pytest
from onnx import helper

from nuwa_search.core.device import LatencyStats, MeasureProtocol
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.tensorrt.failures import read_failure
from nuwa_search.deploy.tensorrt.json_stream import list_entries
from nuwa_search.deploy.tensorrt.layer_kind import layer_kind, operators_from_model
from nuwa_search.deploy.tensorrt.profile import kernels_from_profile
from nuwa_search.deploy.tensorrt.report import (
    CutOffError,
    Summary,
    TrtexecReport,
    parse_report,
    read_trtexec_version,
)
from nuwa_search.deploy.tensorrt.results import read_run
from nuwa_search.deploy.tensorrt.times import stats_from_times, trtexec_rank, trtexec_stats
from nuwa_search.deploy.tensorrt.version import TrtVersion
from tests.support.standin_runs import StandinRun, run_standin

VERSIONS = ["8.0.1", "8.2.1", "8.4.1", "8.5.2", "8.6.1", "10.3.0", "11.4.0"]
T = TypeVar("T")
PROTOCOL = MeasureProtocol(warmup_ms=100, min_duration_ms=1000, min_repetitions=20)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StandinRun]:
    return {
        version: run_standin(tmp_path_factory.mktemp(version), version=version, protocol=PROTOCOL)
        for version in VERSIONS
    }


@pytest.fixture(scope="module")
def nano(runs: dict[str, StandinRun]) -> StandinRun:
    return runs["8.2.1"]


def read(run: StandinRun, *, log: str | None = None, times: str | None = None) -> LatencyStats:
    report = parse_report(run.log if log is None else log)
    return stats_from_times(run.times if times is None else times, report=report, transfers=False)[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_release_gives_the_figures_of_its_counted_inferences(runs: dict[str, StandinRun], version: str) -> None:
    run = runs[version]
    result = read_run(
        run.log, times=run.times, protocol=PROTOCOL, version=version, profile_log=run.profile_log, profile=run.profile
    )
    rows = json.loads(run.times)
    counted = np.array([row["computeMs"] for row in rows[-result.samples :]])
    writes_warmup = version in ("8.0.1", "8.2.1", "8.4.1")
    assert len(rows) == result.samples + (result.report.num_warmup if writes_warmup else 0)
    stats = result.latency_ms
    assert stats.median == stats.p50 == pytest.approx(np.median(counted))
    assert stats.mean == pytest.approx(counted.mean())
    assert stats.cv == pytest.approx(counted.std() / counted.mean())
    assert (stats.min, stats.max) == (counted.min(), counted.max())
    assert stats.min <= stats.p90 <= stats.p95 <= stats.p99 <= stats.max
    assert str(result.report.version) == version
    assert result.report.device_name == "NVIDIA Tegra X1"
    assert result.report.compute_capability == "5.3"
    assert (result.report.managed_memory_mb is None) == (version == "8.0.1")
    assert sum(kernel.ms for kernel in result.breakdown) == pytest.approx(stats.median)
    assert result.warnings == ()
    assert parse_report(run.build_log).build_s == 184.708
    assert read_trtexec_version(run.log) == result.report.version


def test_warmup_inferences_are_never_counted(nano: StandinRun) -> None:
    """8.2 writes them into the times file; slow ones there must not move any statistic."""
    report = parse_report(nano.log)
    rows = json.loads(nano.times)
    assert report.num_warmup > 0
    for row in rows[: report.num_warmup]:
        row["computeMs"] = row["endComputeMs"] - row["startComputeMs"] + 0.0
        row["latencyMs"] *= 50
    assert read(nano, times=json.dumps(rows)) == read(nano)


def test_statistics_by_hand() -> None:
    stats = trtexec_stats(np.array([4.0, 1.0, 3.0, 2.0]))
    assert (stats.median, stats.mean, stats.min, stats.max) == (2.5, 2.5, 1.0, 4.0)
    assert stats.p90 == 4.0  # a sample, never interpolated: int(0.1 * 4) = 0 are left out
    assert stats.cv == pytest.approx(np.sqrt(1.25) / 2.5)


@pytest.mark.parametrize("num", [1, 2, 3, 9, 10, 19, 20, 99, 100, 101, 199, 200, 333, 1000, 1001])
@pytest.mark.parametrize("percent", [0.5, 50, 90, 95, 99, 99.9, 100])
def test_percentiles_follow_the_rule_of_the_report(percent: float, num: int) -> None:
    """Brute force over the same rule: drop from the top while fewer are dropped than the float product allows."""
    allowed = np.float32(np.float32(1) - np.float32(percent) / np.float32(100)) * np.float32(num)
    kept = list(range(num))
    while len(kept) > 1 and num - len(kept) + 1 <= allowed:
        kept.pop()
    assert trtexec_rank(percent, num=num) == kept[-1]


def test_the_99th_of_100_is_the_largest() -> None:
    """1 - 0.99 is less than 0.01 in 32 bits, so trtexec leaves out none of 100."""
    assert trtexec_stats(np.arange(1.0, 101.0)).p99 == 100.0
    assert trtexec_stats(np.arange(1.0, 202.0)).p99 == 199.0


def test_printed_percentiles_are_compared(nano: StandinRun) -> None:
    report = parse_report(nano.log)
    assert report.compute is not None
    ((percent, printed),) = report.compute.percentiles
    assert percent == 99.0
    assert printed == pytest.approx(read(nano).p99, rel=1e-5)
    line = next(line for line in nano.log.splitlines() if "GPU Compute Time:" in line)
    wrong = line.rsplit("= ", 1)[0] + f"= {report.compute.median:.6g} ms"
    with pytest.raises(CutOffError, match="99 % percentile"):
        read(nano, log=nano.log.replace(line, wrong))


def test_an_old_tensorrt_is_named_and_never_called_cut_off() -> None:
    """TensorRT 7 prints no version in its header."""
    log = (
        "&&&& RUNNING TensorRT.trtexec # ./trtexec --onnx=m.onnx\n[I] Host latency\n&&&& PASSED TensorRT.trtexec # ./t"
    )
    for broken in (log, log[:60]):
        with pytest.raises(NuwaError, match="TensorRT 7 or older") as caught:
            parse_report(broken)
        assert not isinstance(caught.value, CutOffError)
        assert "JetPack 4.6" in caught.value.hint
        with pytest.raises(NuwaError, match="TensorRT 7 or older"):
            read_trtexec_version(broken)
    with pytest.raises(NuwaError, match=r"7\.1\.3 is outside the known range"):
        parse_report(log.replace("trtexec #", "trtexec [TensorRT v7103] #", 1))


class TestStreams:
    def test_files_and_texts_read_the_same(self, nano: StandinRun, tmp_path: Path) -> None:
        paths = [tmp_path / name for name in ("log", "times", "profile-log", "profile")]
        for path, text in zip(paths, (nano.log, nano.times, nano.profile_log, nano.profile), strict=True):
            path.write_text(text)
        log, times, profile_log, profile = paths
        from_files = read_run(
            log, times=times, protocol=PROTOCOL, version="8.2.1", profile_log=profile_log, profile=profile
        )
        from_texts = read_run(
            nano.log, times=nano.times, protocol=PROTOCOL, version="8.2.1", profile_log=nano.profile_log,
            profile=nano.profile,
        )  # fmt: skip
        assert from_files == from_texts

    @pytest.mark.parametrize("end", ["\n", ""])
    def test_memory_does_not_grow_with_the_log(self, nano: StandinRun, tmp_path: Path, end: str) -> None:
        """16 MB of verbose lines, or of one endless line, before the summary."""
        path = tmp_path / "log"
        head, mark, tail = nano.log.partition("[11/20/2021-12:00:00] [I] Starting inference")
        with path.open("w") as file:
            file.write(head)
            for _ in range(160_000):
                file.write("[V] [TRT] Tactic: 0x0000000000000005 Time: 0.0123 " + "x" * 50 + end)
            file.write("\n" + mark + tail)
        assert path.stat().st_size > 15_000_000
        report, peak_mb = measured_memory(lambda: parse_report(path))
        assert report == parse_report(nano.log)
        assert peak_mb < 2
        failure, peak_mb = measured_memory(lambda: read_failure(path, returncode=1))
        assert (failure.kind, peak_mb < 2) == ("unknown", True)

    def test_times_take_three_numbers_an_inference(self, tmp_path: Path) -> None:
        num = 50_000
        path = tmp_path / "times"
        with path.open("w") as file:
            for i in range(num):
                row = {"startComputeMs": 2.0 * i, "endComputeMs": 2.0 * i + 1, "computeMs": 1.0, "latencyMs": 1.5}
                file.write(("[\n  " if i == 0 else ", ") + json.dumps(row) + "\n")
            file.write("]\n")
        ones, halves = Summary(1, 1, 1, 1), Summary(1.5, 1.5, 1.5, 1.5)
        report = TrtexecReport(
            TrtVersion(8, 6, 1), None, None, None, None, num_timed=num, latency=halves, compute=ones, enqueue=ones
        )
        (stats, samples), peak_mb = measured_memory(lambda: stats_from_times(path, report=report, transfers=False))
        assert (stats.median, stats.p99, samples) == (1.0, 1.0, num)
        assert peak_mb < 6 * 8 * num / 2**20 + 1  # columns, their sorted copies and one chunk; the file is 4 MB

    @pytest.mark.parametrize("size", [1, 2, 7, 64])
    def test_entries_do_not_depend_on_where_the_file_is_cut_into_pieces(
        self, monkeypatch: pytest.MonkeyPatch, size: int
    ) -> None:
        monkeypatch.setattr("nuwa_search.deploy.tensorrt.json_stream._CHUNK", size)
        entries = [{"name": 'a "b" ] }, {', "x": [1.5e-3, {"y": None}]}, {}, {"z": "\u00e9\n"}]
        for text in (json.dumps(entries), json.dumps(entries, indent=2), " [ " + json.dumps(entries)[1:] + "\n\n"):
            assert list(list_entries(text, what="it", max_entries=9)) == entries
        assert list(list_entries("[ ]", what="it", max_entries=9)) == []
        for broken in (
            "",
            "{}",
            "[{}",
            "[{},]",
            "[{} {}]",
            "[{}] x",
            "[,{}]",
            '[{"a": NaN}]',
            "[" * 100_000,
            "[{}" + ", {}" * 9 + "]",
        ):
            with pytest.raises(CutOffError):
                list(list_entries(broken, what="it", max_entries=9))


def measured_memory(call: Callable[[], T]) -> tuple[T, float]:
    """Run something; return its answer and the most memory it held at once, in MiB."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def make_graph(nodes: list[tuple[str, str]]) -> onnx.ModelProto:
    made = [helper.make_node(op, [f"t{i - 1}"], [f"t{i}"], name) for i, (op, name) in enumerate(nodes)]
    return helper.make_model(helper.make_graph(made, "g", [], []))


class TestBroken:
    def test_a_log_cut_anywhere_is_no_figure(self, nano: StandinRun) -> None:
        end = nano.log.rindex("&&&& PASSED TensorRT.trtexec ") + len("&&&& PASSED TensorRT.trtexec ")
        for cut in range(0, end, 7):
            with pytest.raises(CutOffError):
                read(nano, log=nano.log[:cut])
        assert read(nano, log=nano.log[:end]) == read(nano)

    def test_a_log_that_lacks_any_needed_line_is_no_figure(self, nano: StandinRun) -> None:
        needed = (
            "RUNNING",
            "Warmup completed",
            "Timing trace",
            "] Latency:",
            "Enqueue Time:",
            "GPU Compute Time:",
            "PASSED",
        )
        lines = nano.log.splitlines()
        for mark in needed:
            kept = [line for line in lines if mark not in line]
            assert len(kept) == len(lines) - 1
            with pytest.raises(CutOffError):
                read(nano, log="\n".join(kept))

    def test_times_cut_anywhere_are_no_figure(self, nano: StandinRun) -> None:
        for cut in range(0, len(nano.times) - 2, 131):
            with pytest.raises(CutOffError):
                read(nano, times=nano.times[:cut])

    def test_a_row_lost_doubled_or_moved_is_no_figure(self, nano: StandinRun) -> None:
        rows = json.loads(nano.times)
        for broken in (rows[1:], rows[:-1], [*rows, rows[-1]], rows[::-1], [*rows[:5], rows[4], *rows[6:]][1:]):
            with pytest.raises(CutOffError):
                read(nano, times=json.dumps(broken))

    def test_a_changed_digit_is_caught_or_changes_nothing_that_counts(self, nano: StandinRun) -> None:
        whole = read(nano)
        source = random.Random(0)
        digits = [i for i, character in enumerate(nano.times) if character.isdigit()]
        num_caught = 0
        for position in source.sample(digits, 300):
            other = source.choice([d for d in "0123456789" if d != nano.times[position]])
            garbled = nano.times[:position] + other + nano.times[position + 1 :]
            try:
                stats = read(nano, times=garbled)
            except CutOffError:
                num_caught += 1
                continue
            assert stats.median == pytest.approx(whole.median, rel=2e-5)
            assert stats.mean == pytest.approx(whole.mean, rel=1e-3)
            assert stats.max == pytest.approx(whole.max, rel=2e-5)
        assert num_caught > 30

    @pytest.mark.parametrize(
        "times", ["", "{}", "[]", "[1]", '[{"computeMs": 1}]', "[{}]", "null", '[{"computeMs": NaN}]']
    )
    def test_what_is_no_times_file(self, nano: StandinRun, times: str) -> None:
        with pytest.raises(CutOffError):
            read(nano, times=times)

    def test_times_of_another_run_are_no_figure(self, tmp_path: Path, nano: StandinRun) -> None:
        other = run_standin(tmp_path, version="8.2.1", protocol=PROTOCOL, num_bytes=1_100_000)
        with pytest.raises(CutOffError):
            read(nano, times=other.times)

    def test_two_runs_in_one_log_or_a_failed_one_are_no_figure(self, nano: StandinRun) -> None:
        for log in (
            nano.log + nano.log,
            nano.log.replace("&&&& PASSED", "&&&& FAILED"),
            nano.log + "&&&& FAILED TensorRT.trtexec x",
        ):
            with pytest.raises(CutOffError):
                parse_report(log)

    def test_times_that_are_not_numbers_are_no_figure(self, nano: StandinRun) -> None:
        line = next(line for line in nano.log.splitlines() if "GPU Compute Time:" in line)
        for bad in ("nan", "inf", "-nan", "-1"):
            broken = line.replace("min = ", f"min = {bad} ms, was = ")
            with pytest.raises(CutOffError):
                read(nano, log=nano.log.replace(line, broken))

    def test_a_build_log_holds_no_timing(self, nano: StandinRun) -> None:
        with pytest.raises(CutOffError, match="no timing"):
            read(nano, log=nano.build_log)

    def test_fewer_inferences_than_asked_for_are_no_figure(self, nano: StandinRun) -> None:
        protocol = MeasureProtocol(min_repetitions=10_000)
        with pytest.raises(CutOffError, match="asks for 10000"):
            read_run(nano.log, times=nano.times, protocol=protocol, version="8.2.1")

    def test_another_release_than_planned_is_refused(self, nano: StandinRun) -> None:
        with pytest.raises(NuwaError, match=r"planned for TensorRT 8\.0\.1, and 8\.2\.1 ran"):
            read_run(nano.log, times=nano.times, protocol=PROTOCOL, version="8.0.1")


class TestProfile:
    def test_cut_anywhere_it_costs_the_breakdown_only(self, nano: StandinRun) -> None:
        for cut in range(0, len(nano.profile) - 2, 41):
            with pytest.raises(CutOffError):
                kernels_from_profile(nano.profile[:cut], median_ms=1.0)
        result = read_run(
            nano.log,
            times=nano.times,
            protocol=PROTOCOL,
            version="8.2.1",
            profile=nano.profile[:100],
            profile_log=nano.profile_log,
        )
        assert result.breakdown == ()
        assert "no breakdown" in result.warnings[0]

    def test_a_lost_layer_shows(self, nano: StandinRun) -> None:
        entries = json.loads(nano.profile)
        for index in range(1, len(entries)):
            with pytest.raises(CutOffError):
                kernels_from_profile(json.dumps(entries[:index] + entries[index + 1 :]), median_ms=1.0)

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("Conv_0 + Relu_1", "convolution"),
            ("Reformatting CopyNode for Input Tensor 0 to Conv_0", "reformat"),
            ("(Unnamed Layer* 48) [Shuffle]", "shuffle"),
            ("MatMul_23 + Add_24", "matmul"),
            ("PWN(PWN(Sigmoid_3), Mul_4)", "pointwise"),
            ("{ForeignNode[ReduceMean_1...Add_9]}", "region"),
            ("Softmax_31", "softmax"),
            ("ReduceMean_12", "reduce"),
            ("GlobalAveragePool_9", "pool"),
            ("something", "other"),
            ("/prelude/MatMul", "matmul"),
            ("/relu_block/Conv", "convolution"),
            ("/conv_stem/Add", "pointwise"),
            ("/softmax_scale/Mul", "pointwise"),
            ("/addition/Softmax", "softmax"),
            ("/blocks.0/attn/qkv/MatMul_1 + /blocks.0/attn/qkv/Add", "matmul"),
            ("(Unnamed Layer* 7) [Matrix Multiply]", "matmul"),
            ("(Unnamed Layer* 9) [ElementWise]", "pointwise"),
            ("node_linear_3", "matmul"),
            ("node_layer_norm_1", "reduce"),
            ("__myl_AddMulSoft_myl3_4", "region"),
            ("/pool_conv_relu/scores", "other"),
        ],
    )
    def test_kinds(self, name: str, kind: str) -> None:
        assert layer_kind(name) == kind

    def test_kinds_follow_the_operators_of_the_model_where_it_is_at_hand(self) -> None:
        """Names that a person gave say nothing; the node behind them does."""
        model = make_graph([("Gemm", "block.relu"), ("Relu", "block.conv"), ("Softmax", "")])
        operators = operators_from_model(model)
        assert layer_kind("block.relu", operators=operators) == "matmul"
        assert layer_kind("block.conv", operators=operators) == "pointwise"
        assert layer_kind("block.relu + block.conv", operators=operators) == "matmul"
        assert layer_kind("node_of_t2", operators=operators) == "softmax"
