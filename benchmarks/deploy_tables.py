"""Rows of the deployment tables: where a figure comes from, and tables that can be stopped and taken up again."""

import csv
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import timm
import torch

from nuwa_search.latency.devices.host_facts import cpu_model

VERSIONS = (
    f"python {platform.python_version()}; torch {torch.__version__}; onnxruntime {onnxruntime.__version__}; "
    f"timm {timm.__version__}"
)


def origin(*, runtime: str, precision: str, seed: int, protocol: str) -> dict[str, object]:
    """Return the columns that say how a figure was obtained, on this machine."""
    return {
        "device": cpu_model(),
        "runtime": runtime,
        "versions": VERSIONS,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "protocol": protocol,
    }


def machine() -> dict[str, str]:
    """Return what a kept cell says of the machine that ran it; its table may be written anew on another."""
    return {"device": cpu_model(), "versions": VERSIONS}


def machines_of(cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the columns of machines for a row that is made of ``cells``, each with its ``machine``."""
    names = ("device", "versions")
    return {name: " and ".join(dict.fromkeys(cell["machine"][name] for cell in cells)) for name in names}


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a table; empty where there is none yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def has_row(path: Path, wanted: Mapping[str, object]) -> bool:
    """Whether a row with these values is there already."""
    return any(all(row.get(k) == str(v) for k, v in wanted.items()) for row in read_rows(path))


def append_row(path: Path, row: Mapping[str, object]) -> None:
    """Add one row and show it; the first one brings the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print({k: v for k, v in row.items() if k not in ("device", "versions", "protocol")}, flush=True)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a whole table anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
