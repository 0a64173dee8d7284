"""Reports, times and profiles: every release's format, and nothing wrong from anything broken."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from nuwa_search.core.device import LatencyStats, MeasureProtocol
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.tensorrt.failures import failure_error, read_failure
from nuwa_search.deploy.tensorrt.profile import kernels_from_profile, layer_kind
from nuwa_search.deploy.tensorrt.report import CutOffError, parse_report, read_trtexec_version
from nuwa_search.deploy.tensorrt.results import read_run
from nuwa_search.deploy.tensorrt.times import stats_from_times
from tests.support.standin_runs import StandinRun, run_standin

VERSIONS = ["8.0.1", "8.2.1", "8.4.1", "8.5.2", "8.6.1", "10.3.0", "11.4.0"]
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
        ],
    )
    def test_kinds(self, name: str, kind: str) -> None:
        assert layer_kind(name) == kind


class TestFailures:
    @pytest.mark.parametrize(
        ("text", "code", "kind", "exit_code"),
        [
            (
                "[E] [TRT] 1: Error Code 1: Cuda Runtime (out of memory)\n[E] Failed to parse onnx file",
                1,
                "out_of_memory",
                3,
            ),
            ("[I] fine\nKilled\n", 137, "out_of_memory", 3),
            ("[I] fine\n", 137, "out_of_memory", 3),
            ("terminate called after throwing an instance of 'std::bad_alloc'", 134, "out_of_memory", 3),
            ("[W] [TRT] Skipping tactic 1 due to insufficient memory\n[E] odd", 1, "unknown", 3),
            ("[E] Could not save: No space left on device", 1, "disk_full", 3),
            ("[I] fine", 124, "timed_out", 3),
            ("[E] [TRT] ModelImporter.cpp:773: While parsing node number 3", 1, "model", 2),
            ("[E] [TRT] 6: The engine plan file is not compatible with this version of TensorRT", 1, "engine", 2),
            ("[E] Unknown option: --workspace 16", 1, "options", 2),
            ("", 1, "unknown", 3),
        ],
    )
    def test_kind_exit_code_and_hint(self, text: str, code: int, kind: str, exit_code: int) -> None:
        failure = read_failure(text, returncode=code)
        assert failure.kind == kind
        error = failure_error(failure, step="building")
        assert error.exit_code == exit_code
        assert isinstance(error, OutsideError) == (exit_code == 3)
        assert error.hint
