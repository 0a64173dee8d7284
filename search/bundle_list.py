"""The bundles that the database knows, each with what its own files say: for what device, certified, fine-tuned."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the columns are known without NumPy
    from nuwa_search.deploy.bundle_state import BundleState
    from nuwa_search.store.found_rows import BundleFound

COLUMNS = (
    *("subnet_id", "bundle_dir", "bundle_is_missing", "device", "verdict", "measured_latency_ms", "provenance"),
    *("is_certified", "is_finetuned", "top1", "top1_interval", "split", "num_images", "size_mb", "base", "classes"),
    *("study", "arch_id", "task_id", "params", "devices", "miou"),
)
"""Of a row; ``device`` to ``provenance`` are the first of ``devices``."""


def bundle_rows(
    found: "Iterable[BundleFound]", *, device: str | None = None, may_read: Callable[[Path], bool] = lambda _: True
) -> Iterator[dict[str, Any]]:
    """List the bundles: what the files of each say, beside what the database says of its subnet.

    Args:
        found: Rows of ``store.bundles``.
        device: Only those that were exported for the device of this name.
        may_read: Whether the files of a folder may be read; of others nothing is told but where they would lie.
    """
    from nuwa_search.deploy.bundle_state import state_of

    for row in found:
        folder = Path(row["bundle_dir"])
        is_read = may_read(folder)
        state = state_of(folder, row["subnet_id"]) if is_read else None
        if device is None or (state is not None and device in {one.device for one in state.devices}):
            yield _row(row, state, is_missing=is_read and state is None)


def _row(row: "BundleFound", state: "BundleState | None", *, is_missing: bool) -> dict[str, Any]:
    devices = () if state is None else state.devices
    first = devices[0] if devices else None
    values = {
        **row,
        "bundle_is_missing": is_missing,
        "device": None if first is None else first.device,
        "verdict": None if first is None else first.verdict,
        "measured_latency_ms": None if first is None else first.measured_latency_ms,
        "provenance": None if first is None else first.provenance,
        "is_certified": None if state is None else any(one.budget_ms is not None for one in devices),
        "is_finetuned": None if state is None else is_finetuned(state, has_finetuning=row["has_finetuning"]),
        "size_mb": None if state is None else round(state.size_mb, 3),
        "devices": [one.to_json() for one in devices],
    }
    return {name: values[name] for name in COLUMNS}


def is_finetuned(state: "BundleState", *, has_finetuning: bool) -> bool:
    """Whether a bundle's weights were trained after they were cut: by themselves, or by the search that shipped them.

    Args:
        state: Of the bundle.
        has_finetuning: Whether the database has a fine-tuning of its subnet; a subnet that was cut again has one too.
    """
    return state.num_finetunes > 0 or (state.study is not None and has_finetuning)
