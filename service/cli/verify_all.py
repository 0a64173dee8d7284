"""The answer of ``nuwa verify --all``: which shipped bundles what a device runs now touches."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nuwa_search.core.device import device_json
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.output import Output

if TYPE_CHECKING:
    from nuwa_search.latency.touched_bundles import Touched


def verify_all(folder: Path | None, values: Mapping[str, Any], output: Output) -> None:
    """Ask the device what runs there, compare it with every certificate, and answer 1 if a bundle must be rebuilt.

    Args:
        folder: Where bundles lie; None for those that the database knows.
        values: Flags.
        output: Where the answer goes.

    Raises:
        NuwaError: If no device is named, or there is no such folder.
        NoAnswerError: If an engine has to be built again.
        OutsideError: If the device cannot be reached.
    """
    if values["device"] is None:
        raise NuwaError("--all compares shipped bundles with a device as it is now", hint="name it with --device")
    with laboratory(values, say=output.note) as lab:
        found = lab.verify_all(device=values["device"], below=folder)
    spec, rows, stale = found.spec, found.rows, found.stale
    if output.json:
        output.document(
            {
                "schema": "nuwa.verify/1",
                "device": device_json(spec),
                "now": found.now,
                "silent": found.silent,
                "rows": [row.to_json() for row in rows],
                "count": len(rows),
                "num_rebuild": len(stale),
                "is_good": not stale,
            }
        )
    else:
        output.table([_row(row) for row in rows], columns=("dir", "action", "changes", "verdict"))
    for board, reason in found.silent.items():
        output.note(f"board {board} was not asked: {reason}")
    if any(row.action == "measure" for row in rows):
        output.note(f"to measure one again: nuwa verify DIR --device {spec.name}")
    if not rows:
        where = (
            "in this database; nuwa verify FOLDER --all looks below a folder" if folder is None else f"below {folder}"
        )
        output.note(f"no bundle was certified for {spec.name} {where}")
    if stale:
        raise NoAnswerError(
            f"{len(stale)} of {len(rows)} bundles for {spec.name} have to be built again",
            hint=f"register it as it is now (nuwa device rm {spec.name}, nuwa device add {spec.name} ...), then for "
            f"each: nuwa export DIR --device {spec.name}, which exports, builds, checks and measures it",
        )


def _row(row: "Touched") -> dict[str, Any]:
    changes = row.missing or "; ".join([*row.rebuild, *row.remeasure])
    return {"dir": row.dir, "action": row.action, "changes": changes, "verdict": row.verdict}
