"""Report cards of latency profiles: how well subnets are predicted that were never measured.

    make bench-latency                                     # emulated boards, 5 seeds
    python -m benchmarks.latency_cards --host                  # this CPU as well: a quarter of an hour, machine idle

An emulated board is judged against its noise-free latency, which a profile never sees; the host
against nets that were really measured, twice each. Writes ``results/latency.csv`` (one line per
device and seed or partition) and ``results/latency_host_nets.csv``.
"""

import argparse
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nuwa_search.core.arch import Arch
from nuwa_search.core.base import load_base
from nuwa_search.core.device import Device, DeviceSpec
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.latency.devices.emulated_specs import EMULATED_SPECS
from nuwa_search.latency.devices.registry import device_spec, open_device
from nuwa_search.latency.emulator.boards import BOARDS
from nuwa_search.latency.emulator.timeline import emulate
from nuwa_search.latency.table.timer import Export, MemoryNotebook
from nuwa_search.predictors.latency.predictor import LatencyPredictor, subject_of
from nuwa_search.predictors.profile import ProfileSettings, profile
from nuwa_search.predictors.report_card import errors_of, report_card
from nuwa_search.predictors.sample_archs import sample_archs
from nuwa_search.predictors.whole_models import ModelTimes

Array = npt.NDArray[np.float64]

RESULTS = Path(__file__).parent / "results"
HELDOUT_SEED = 40_000  # far from the seeds of profiles, so that no net is fitted to and judged
SEEDS = range(200, 205)  # not those that the interval's form was chosen on
NUM_PARTITIONS = 5


def main() -> None:
    """Run what was asked for, write and print the tables."""
    parser = argparse.ArgumentParser(description="report cards of latency profiles")
    parser.add_argument("--devices", default="jetson-nano,jetson-nano-5w,jetson-orin-nano")
    parser.add_argument("--base", default="default")
    parser.add_argument("--num-heldout", type=int, default=1000)
    parser.add_argument("--host", action="store_true", help="measure this CPU as well")
    parser.add_argument("--host-minutes", type=float, default=12.0)
    arguments = parser.parse_args()
    base = load_base(arguments.base).arch
    lines = []
    for name in filter(None, arguments.devices.split(",")):
        lines += emulated_lines(name, base, num_heldout=arguments.num_heldout)
        save_lines(lines)
    if arguments.host:
        lines += host_lines(base, minutes=arguments.host_minutes)
    table = save_lines(lines)
    print(table.to_string(index=False))
    print(table.groupby("device").mean(numeric_only=True).to_string())


def save_lines(lines: list[dict[str, object]]) -> pd.DataFrame:
    """Write the lines over those of the same devices; other devices' stay."""
    path = RESULTS / "latency.csv"
    new = pd.DataFrame(lines)
    if path.exists():
        old = pd.read_csv(path)
        new = pd.concat([old[~old["device"].isin(new["device"])], new], ignore_index=True)
    new.to_csv(path, index=False, float_format="%.5g")
    return new


def _reopened(spec: DeviceSpec, seed: int, session: int) -> Device:
    return open_device(spec, seed=1000 * seed + 1 + session)


def emulated_lines(name: str, base: Arch, *, num_heldout: int) -> list[dict[str, object]]:
    """Profile one emulated board with every seed and judge each on the same nets."""
    spec = EMULATED_SPECS[name]
    heldout = sample_archs(base, np.random.default_rng(HELDOUT_SEED), num_heldout)
    truth = np.array([noise_free_ms(spec, arch) for arch in heldout])
    lines = []
    for seed in SEEDS:
        result = profile(
            open_device(spec, seed=1000 * seed),
            base,
            export=exporter(spec),
            reopen=partial(_reopened, spec, seed),
            settings=ProfileSettings(seed=seed),
        )
        fitted = {arch.arch_id for arch, _ in result.predictor.models}
        keep = np.array([arch.arch_id not in fitted for arch in heldout])
        judged = [arch for arch, is_kept in zip(heldout, keep, strict=True) if is_kept]
        line = card_line(result.predictor, judged, truth[keep])
        lines.append(
            {"device": name, "seed": seed, **line, "profile_s": result.seconds, "models": result.models_measured}
        )
        print(lines[-1], flush=True)
    return lines


def host_lines(base: Arch, *, minutes: float) -> list[dict[str, object]]:
    """Profile this CPU once, then fit and judge on random partitions of the nets measured."""
    spec = device_spec("host")
    notebook = MemoryNotebook()
    settings = ProfileSettings(num_fit=48, num_heldout=120, minutes=minutes)
    result = profile(open_device(spec), base, export=exporter(spec), notebook=notebook, settings=settings)
    nets = measured_twice(notebook)
    first, second = (np.array([n.latencies_ms[k] for n in nets]) for k in (0, 1))
    noise = float(np.mean(np.abs(first - second) / (first + second) * 2))
    repeat = errors_of(second, first)
    save_host_nets(nets)
    rng = np.random.default_rng(0)
    lines = []
    for partition in range(NUM_PARTITIONS):
        order = rng.permutation(len(nets))
        fit, judge = [nets[i] for i in order[: settings.num_fit]], [nets[i] for i in order[settings.num_fit :]]
        predictor = LatencyPredictor(notebook.rows(), subject=subject_of(spec))
        predictor.fit([n.arch for n in fit], [n.mean_ms for n in fit])
        line = card_line(predictor, [n.arch for n in judge], np.array([n.mean_ms for n in judge]))
        line |= {"profile_s": result.seconds, "models": len(fit), "noise_floor": noise}
        line |= {"repeat_within_10pct": repeat.within_10pct, "repeat_kendall_tau": repeat.kendall_tau}
        lines.append({"device": "host", "seed": partition, **line})
        print(lines[-1], flush=True)
    return lines


def card_line(predictor: LatencyPredictor, heldout: list[Arch], truth_ms: Array) -> dict[str, object]:
    """Judge a predictor: its report card as one flat line."""
    card = report_card(predictor, heldout, truth_ms)
    batch = [replace(arch) for arch in heldout]
    begin = time.perf_counter()
    predictor.predict(batch)
    microseconds = (time.perf_counter() - begin) / len(batch) * 1e6
    return {
        "heldout": card.num_heldout,
        "mape": card.errors.mape,
        "within_5pct": card.errors.within_5pct,
        "within_10pct": card.errors.within_10pct,
        "spearman": card.errors.spearman,
        "kendall_tau": card.errors.kendall_tau,
        "coverage": card.interval_coverage,
        "interval_width": card.interval_width,
        "block_sum_mape": card.block_sum.mape,
        "macs_mape": card.baselines.macs.mape,
        "operators_mape": card.baselines.operators.mape,
        "rows": len(predictor.rows),
        "predict_us": microseconds,
    }


def exporter(spec: DeviceSpec) -> Export:
    """Make models as the device takes them; emulated boards read no weights."""
    return lambda arch: onnx_from_arch(arch, opset=spec.opset, has_weights=spec.kind != "emulated")


def noise_free_ms(spec: DeviceSpec, arch: Arch) -> float:
    """Ask the emulator's time model itself, without the noise that devices add."""
    return emulate(exporter(spec)(arch), BOARDS[spec.name], precision=spec.precision).total_ms


def measured_twice(notebook: MemoryNotebook) -> list[ModelTimes]:
    """Collect the whole nets that were measured at least twice, whatever for."""
    found: dict[str, tuple[Arch, list[float]]] = {}
    for arch, measurement in notebook.models():
        found.setdefault(arch.arch_id, (arch, []))[1].append(measurement.latency_ms.median)
    return [ModelTimes(arch, tuple(times)) for arch, times in found.values() if len(times) >= 2]


def save_host_nets(nets: list[ModelTimes]) -> None:
    """Keep what was measured on the host, so that the table can be recomputed."""
    rows = [{"arch_id": n.arch.arch_id, "first_ms": n.latencies_ms[0], "second_ms": n.latencies_ms[1]} for n in nets]
    pd.DataFrame(rows).to_csv(RESULTS / "latency_host_nets.csv", index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
