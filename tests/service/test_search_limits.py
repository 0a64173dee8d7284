"""A limit that is missed when measured: named for what it is, corrected where it came from, and told in the answer."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from nuwa_search.core.base import load_base
from nuwa_search.core.cost import count_params
from nuwa_search.core.device import Measurement, MeasureProtocol
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.latency.devices.emulated import EmulatedDevice
from nuwa_search.search.feasible import smallest_arch
from nuwa_search.search.space import space_from_base
from nuwa_search.service.cli.commands.search import command
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import open_store

LATENCY = ["--budget-ms", "50"]


def num_weights(graph: onnx.ModelProto) -> int:
    return sum(int(np.prod(t.dims)) for t in graph.graph.initializer)


class Bench:
    """A toy search on an emulated board whose peak memory is not what the base's measurement promises."""

    def __init__(self, db: Path, base: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = db.parent
        self.folder, self.db, self.capsys = folder, str(db), capsys
        self.args = [
            *("--base", str(base), "--data", str(images), "--trials", "6", "--no-finetune", "--db", self.db),
            *("--cache-dir", str(folder / "cache"), "-o", str(folder / "bundle"), "--study", "mine"),
        ]
        assert run(cli, ["measure", str(base), "--db", self.db, "--json"], prog_name="nuwa") == 0
        measured = json.loads(capsys.readouterr().out)
        self.base_mb: float = measured["peak_memory_mb"]
        self.base_ms: float = measured["latency_ms"]["p50"]
        loaded = load_base(str(base))
        self.base_weights = num_weights(onnx_from_vit(loaded.model, GraphOptions(opset=13)))
        least = count_params(smallest_arch(space_from_base(loaded.arch)))
        self.most_saved_mb = (count_params(loaded.arch) - least) * 2 / 2**20  # fp16

    def search(self, *more: str, code: int) -> dict[str, Any]:
        found = run(command, [*self.args, *more, "--json"], prog_name="nuwa-search")
        captured = self.capsys.readouterr()
        assert found == code, captured.err
        answer: dict[str, Any] = json.loads(captured.out)
        return answer | {"stderr": captured.err}

    def events(self) -> list[dict[str, Any]]:
        with open_store(self.db) as store:
            return [event.payload for event in store.events("mine") if event.kind == "winner-measured"]


@pytest.fixture
def bench(toy_db: Path, toy_base: Path, toy_images: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(toy_db, toy_base, toy_images, capsys)


def heavier(monkeypatch: pytest.MonkeyPatch, bench: Bench, more_mb: Callable[[float], float]) -> None:
    """Let every subnet take so much beyond what the weights it lacks save, given what the first one saves."""
    measure = EmulatedDevice.measure
    first_saved_mb: list[float] = []
    fewest = bench.base_weights - bench.most_saved_mb * 2**20 / 2

    def played(self: EmulatedDevice, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
        found = measure(self, model, protocol=protocol)
        weights = num_weights(model)
        if weights >= bench.base_weights or weights < fewest / 2:  # the base, or a graph without weights
            return found
        saved_mb = (bench.base_weights - weights) * 2 / 2**20
        first_saved_mb.append(saved_mb)
        return dataclasses.replace(found, peak_memory_mb=bench.base_mb - saved_mb + more_mb(first_saved_mb[0]))

    monkeypatch.setattr(EmulatedDevice, "measure", played)


def test_a_memory_miss_corrects_the_memory_estimate_and_the_search_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_mb = bench.base_mb - 0.3 * bench.most_saved_mb
    # whichever wins first misses, and what saves more than half of the rest beside it keeps the limit
    heavier(monkeypatch, bench, lambda first_mb: (first_mb + bench.most_saved_mb) / 2 - 0.3 * bench.most_saved_mb)
    answer = bench.search(*LATENCY, "--max-memory-mb", f"{limit_mb:.4f}", code=0)
    assert answer["feasible"]
    assert (answer["verdict"], answer["verdict_reason"]) == ("met (emulated)", "")
    assert answer["repairs"] >= 1
    assert answer["subnet"]["measured_peak_memory_mb"] <= limit_mb
    first = bench.events()[0]
    assert first["is_met"] is False
    assert first["reason"].startswith("peak memory")
    assert "the memory estimate is corrected" in answer["stderr"]
    assert "latency predictor is corrected" not in answer["stderr"]
    certificate = json.loads(Path(answer["artifacts"]["certificate"]).read_text())
    assert certificate["max_memory_mb"] == pytest.approx(limit_mb, abs=1e-3)
    assert certificate["peak_memory_mb"] == answer["subnet"]["measured_peak_memory_mb"]
    # verify holds the same limits, and names the one that a heavier device breaks
    folder = answer["artifacts"]["dir"]
    verify = ["verify", folder, "--device", "jetson-nano", "--db", bench.db, "--json"]
    assert run(cli, verify, prog_name="nuwa") == 0
    assert json.loads(bench.capsys.readouterr().out)["verdict_now"] == "met (emulated)"
    monkeypatch.undo()
    heavier(monkeypatch, bench, lambda _: 2 * bench.most_saved_mb)
    assert run(cli, verify, prog_name="nuwa") == 1
    captured = bench.capsys.readouterr()
    assert json.loads(captured.out)["verdict_reason"].startswith("peak memory")
    assert "a lower --max-memory-mb finds" in captured.err
    # so does an export, which takes the certified limits over
    assert run(cli, ["export", *verify[1:]], prog_name="nuwa") == 1
    captured = bench.capsys.readouterr()
    assert json.loads(captured.out)["verdict_reason"].startswith("peak memory")
    assert "misses its budget: peak memory" in captured.err


def test_a_memory_limit_that_every_winner_misses_is_the_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_mb = bench.base_mb - 0.3 * bench.most_saved_mb
    heavier(monkeypatch, bench, lambda _: 3 * bench.most_saved_mb)
    answer = bench.search(*LATENCY, "--max-memory-mb", f"{limit_mb:.4f}", code=1)
    assert answer["feasible"] is False
    assert "subnet" not in answer
    assert answer["verdict_reason"].startswith("peak memory")
    assert "no subnet keeps its budget when measured" in answer["stderr"]
    assert "--max-memory-mb" in answer["stderr"]
    assert "nuwa profile" not in answer["stderr"]
    assert not (bench.folder / "bundle").exists()


def test_a_memory_limit_below_every_subnet_is_told_before_anything_is_scored(bench: Bench) -> None:
    answer = bench.search(*LATENCY, "--max-memory-mb", f"{0.9 * (bench.base_mb - bench.most_saved_mb):.4f}", code=1)
    assert answer["feasible"] is False
    assert answer["fastest"]["predicted_latency_ms"] > 0
    assert "MB of peak memory" in answer["stderr"]


def test_a_latency_that_every_winner_misses_ends_with_an_answer_that_names_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = EmulatedDevice.measure

    def slow(self: EmulatedDevice, model: onnx.ModelProto, *, protocol: MeasureProtocol | None = None) -> Measurement:
        found = measure(self, model, protocol=protocol)
        stats = dataclasses.replace(found.latency_ms, p99=1000.0)  # a tail that no correction of the median reaches
        is_subnet = num_weights(model) < bench.base_weights
        return dataclasses.replace(found, latency_ms=stats) if is_subnet else found

    monkeypatch.setattr(EmulatedDevice, "measure", slow)
    budget_ms = round(0.95 * bench.base_ms, 2)  # below the base's own median: it is a subnet that wins, and misses
    answer = bench.search("--budget-ms", str(budget_ms), "--budget-statistic", "p99", code=1)
    assert answer["feasible"] is False
    assert answer["verdict"] == "missed (emulated)"
    # fast enough by its median: it is the tail that misses
    assert answer["fastest"]["predicted_latency_ms"] < budget_ms
    reason = f"latency (p99) 1000.00 ms, {1000 - budget_ms:.2f} over the budget of {budget_ms:g} ms"
    assert answer["verdict_reason"] == reason
    assert reason in answer["stderr"]
