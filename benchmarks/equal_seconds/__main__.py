"""Cell by cell: a method on a task, with as many CPU seconds as ours took there; then the surrogates' card.

    python -m benchmarks.equal_seconds                                  all six tasks, seed 0
    python -m benchmarks.equal_seconds --tasks textiles --seeds 0 1

Cells that ran are in ``benchmarks/results/equal_seconds_cells.jsonl`` and are not run again; the tables
``equal_seconds.csv`` and ``surrogate.csv`` are written anew after each. One thread; statistics, head and latency
predictor are there before and shared. About 30 CPU minutes a task and seed on the large base, 10 on the small one.
"""

import torch

from benchmarks.equal_seconds.card import card_size, drawn_nets
from benchmarks.equal_seconds.cells import SURROGATE, Cell, Cells, cell_arguments, ranks
from benchmarks.equal_seconds.methods import METHODS, OURS, Found, ours, unaided
from benchmarks.equal_seconds.setting import Setting, open_setting
from benchmarks.equal_seconds.surrogate import card
from nuwa_search.core.arch import dict_from_arch
from nuwa_search.core.cache import Cache
from nuwa_search.core.logits import top1


def main() -> None:
    """Run what is missing, write the tables, and say who came first."""
    parser = cell_arguments(__doc__)
    parser.add_argument("--trials", type=int, default=60, help="nets that ours scores, as --trials of nuwa-search")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cells = Cells(args.results)
    for name in args.tasks:
        for seed in args.seeds:
            for method in (*METHODS, SURROGATE):
                if cells.find(name, seed, method) is not None:
                    continue
                print(f"{name}, seed {seed}: {method}", flush=True)
                setting = open_setting(name, shared=args.shared, cache_dir=args.cache, seed=seed)
                if method == SURROGATE:
                    told = card(setting, cells.find(name, seed, "random"), cache=Cache(args.cache / "search"))
                else:
                    told = _cell(setting, method, of_ours=cells.find(name, seed, OURS), trials=args.trials)
                cells.add(name, seed, method, told)
    cells.write_tables()
    for line in ranks(cells.read()):
        print(line)


def _cell(setting: Setting, method: str, *, of_ours: Cell | None, trials: int) -> Cell:
    if method == OURS:
        found = ours(setting, trials=trials)
    elif of_ours is None:
        raise SystemExit("ours runs first: it says how many seconds the others have")
    else:
        found = unaided(method, setting, cpu_seconds=float(of_ours["cpu_seconds"]))
    print(f"  {found.num_scored} scored in {found.cpu_seconds:.0f} CPU seconds; the winner is judged", flush=True)
    archs = drawn_nets(found.archs, seed=setting.seed, size=card_size(setting.teacher.arch))
    told: Cell = {
        "cpu_seconds": round(found.cpu_seconds, 1),
        "num_scored": found.num_scored,
        "best_handed_kl": found.best_handed,
        "best_own_kl": found.best_own,
        "archs": [dict_from_arch(arch) for arch in archs] if method == "random" else [],
    }
    return told | _judged(setting, found)


def _judged(setting: Setting, found: Found) -> Cell:
    base, labels = setting.base_logits, setting.test.labels
    told: Cell = {"num_test": len(labels), "base_test_top1": top1(base, labels), "kl_search": found.kl}
    if found.arch is None:
        return told
    logits = setting.test_logits(setting.deriver.derive_refined(found.arch))
    wanted = base.double().log_softmax(dim=1)
    kl = (wanted.exp() * (wanted - logits.double().log_softmax(dim=1))).sum(dim=1)
    return told | {
        "budget_ms": setting.job.budget_ms,
        "measured_ms": round(setting.measure(found.arch), 3),
        "kl_test": float(kl.mean()),
        "test_top1": top1(logits, labels),
    }


if __name__ == "__main__":
    main()
