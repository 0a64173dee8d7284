"""Cell by cell: a method on a task, with as many CPU seconds as ours took there; then the surrogates' card.

    python -m benchmarks.equal_seconds                                  all six tasks, seed 0
    python -m benchmarks.equal_seconds --tasks small-people --seeds 0 1

Cells that ran are in ``benchmarks/results/equal_seconds_cells.jsonl`` and are not run again; the tables
``equal_seconds.csv`` and ``surrogate.csv`` are written anew after each. One thread; statistics, head and latency
predictor are there before and shared.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.deploy_tables import origin
from benchmarks.equal_seconds.methods import METHODS, OURS, Found, ours, unaided
from benchmarks.equal_seconds.setting import TASKS, Setting, open_setting, test_logits
from benchmarks.equal_seconds.surrogate import drawn_nets, surrogate_rows
from benchmarks.old_tree import ROOT
from nuwa_search.core.arch import arch_from_dict, dict_from_arch
from nuwa_search.search.library import build_library

RESULTS = ROOT / "benchmarks" / "results"
CELLS, TABLE, CARD = (RESULTS / name for name in ("equal_seconds_cells.jsonl", "equal_seconds.csv", "surrogate.csv"))
SURROGATE = "surrogate"
PROTOCOL = (
    "one thread; every method has the CPU seconds that ours took from the first single cut to its choice; "
    "winners refined once more, not fine-tuned; KL to the base and top1 on the test split"
)


def main() -> None:
    """Run what is missing, write the tables, and say who came first."""
    args = _arguments()
    torch.set_num_threads(1)
    for name in args.tasks:
        for seed in args.seeds:
            for method in (*METHODS, SURROGATE):
                if _find(name, seed, method) is None:
                    setting = open_setting(name, shared=args.shared, cache_dir=args.cache, seed=seed)
                    print(f"{name}, seed {seed}: {method}", flush=True)
                    cell = (
                        _surrogate(setting, name, seed) if method == SURROGATE else _cell(setting, name, seed, method)
                    )
                    with CELLS.open("a") as file:
                        file.write(json.dumps({"task": name, "seed": seed, "method": method, **cell}) + "\n")
                    _write_tables(_read())
    for line in _ranks(_read()):
        print(line)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/nuwa-search/bench")
    return parser.parse_args()


def _read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CELLS.read_text().splitlines()] if CELLS.exists() else []


def _find(task: str, seed: int, method: str) -> dict[str, Any] | None:
    wanted = (task, seed, method)
    return next((cell for cell in _read() if (cell["task"], cell["seed"], cell["method"]) == wanted), None)


def _cell(setting: Setting, task: str, seed: int, method: str) -> dict[str, Any]:
    if method == OURS:
        found = ours(setting, seed=seed)
    else:
        known = _find(task, seed, OURS)
        if known is None:
            raise SystemExit("ours runs first: it says how many seconds the others have")
        found = unaided(method, setting, seed=seed, cpu_seconds=float(known["cpu_seconds"]))
    told: dict[str, Any] = {
        "cpu_seconds": round(found.cpu_seconds, 1),
        "num_scored": found.num_scored,
        "best_handed_kl": found.best_handed,
        "best_own_kl": found.best_own,
        "archs": [dict_from_arch(arch) for arch in drawn_nets(found.archs, seed=seed)] if method == "random" else [],
    }
    return told | _judged(setting, found)


def _judged(setting: Setting, found: Found) -> dict[str, Any]:
    base = test_logits(setting, setting.teacher)
    labels = setting.test.labels
    told: dict[str, Any] = {"num_test": len(labels), "base_test_top1": _top1(base, labels), "kl_search": found.kl}
    if found.arch is None:
        return told
    logits = test_logits(setting, setting.deriver.derive_refined(found.arch))
    wanted = base.double().log_softmax(dim=1)
    kl = (wanted.exp() * (wanted - logits.double().log_softmax(dim=1))).sum(dim=1)
    return told | {
        "budget_ms": setting.job.budget_ms,
        "measured_ms": round(setting.measure(found.arch), 3),
        "kl_test": float(kl.mean()),
        "test_top1": _top1(logits, labels),
    }


def _top1(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits.argmax(dim=1) == labels).double().mean())


def _surrogate(setting: Setting, task: str, seed: int) -> dict[str, Any]:
    known = _find(task, seed, "random")
    if known is None:
        raise SystemExit("random search runs first: its nets are predicted")
    library = build_library(
        setting.space, deriver=setting.deriver, scorer=setting.scorer, teacher=setting.teacher, on_row=None
    )
    archs = [arch_from_dict(arch) for arch in known["archs"]]
    return {"rows": surrogate_rows(setting, library, archs)}


def _write_tables(cells: Sequence[dict[str, Any]]) -> None:
    told = origin(runtime="torch", precision="fp32, bf16 scores", seed=0, protocol=PROTOCOL)
    told.pop("seed")
    told["threads"] = 1
    hidden = ("archs", "rows")
    runs = [{k: _short(v) for k, v in cell.items() if k not in hidden} for cell in cells if cell["method"] in METHODS]
    _write(TABLE, [row | told for row in runs])
    cards = [cell for cell in cells if cell["method"] == SURROGATE]
    _write(CARD, [{"task": c["task"], "seed": c["seed"], **row, **told} for c in cards for row in c["rows"]])


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _ranks(cells: Sequence[dict[str, Any]]) -> list[str]:
    """Mean rank by KL on the test images over all whole groups; the first is 1."""
    groups: dict[tuple[str, int], dict[str, float]] = {}
    for cell in cells:
        if cell["method"] in METHODS:
            groups.setdefault((cell["task"], cell["seed"]), {})[cell["method"]] = cell.get("kl_test", float("inf"))
    whole = [group for group in groups.values() if len(group) == len(METHODS)]
    if not whole:
        return []
    lines = [f"{len(whole)} groups of task and seed, mean rank by KL on test images:"]
    for method in METHODS:
        rank = sum(1 + sum(group[other] < group[method] for other in METHODS) for group in whole) / len(whole)
        lines.append(f"  {method:8s} {rank:.2f}")
    own = [cell for cell in cells if cell["method"] == OURS and cell["best_own_kl"] and cell["best_handed_kl"]]
    better = sum(cell["best_own_kl"] < cell["best_handed_kl"] for cell in own)
    lines.append(f"the study's own proposals beat the best it was handed in {better} of {len(own)} searches")
    return lines


main()
