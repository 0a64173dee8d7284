"""The table of proposals: how often the study's own beat the best seed that it was handed."""

from collections.abc import Sequence

from benchmarks.real_size.cells import OF_NOW, Cell

PROTOCOL = (
    "KL to the base on the search split, bf16; handed: explored nets, or knapsack, uniform and random ones where there "
    "is no explorer"
)


def proposal_rows(cells: Sequence[Cell]) -> list[dict[str, object]]:
    """Make a row for each search of this build, and one for all."""
    rows: list[dict[str, object]] = []
    told = [cell for cell in cells if cell["build"] in OF_NOW and "proposals" in cell]
    for cell in told:
        found = cell["proposals"]
        best, own = found["best_handed_kl"], found["best_own_kl"]
        row: dict[str, object] = {
            "job": cell["job"],
            "seed": cell["seed"],
            "build": cell["build"],
            "handed": found["handed"],
            "own": found["own"],
            "own that beat the best handed": found["own_better"],
            "best handed KL": _said(best),
            "best own KL": _said(own),
            "searches won by an own one": int(None not in (best, own) and own < best),
            "of searches": 1,
            "protocol": PROTOCOL,
        }
        rows.append(row)
    if rows:
        summed = ("handed", "own", "own that beat the best handed", "searches won by an own one", "of searches")
        total: dict[str, object] = dict.fromkeys(rows[0], "")
        total |= {name: sum(int(str(row[name])) for row in rows) for name in summed}
        rows.append(total | {"job": "all", "protocol": PROTOCOL})
    return rows


def _said(kl: float | None) -> float | str:
    return "" if kl is None else round(kl, 4)
