"""What a bundle's own files say of it: its subnet, the devices it was exported for, and how it was trained."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nuwa_search.core import checked
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.deploy.bundle import DEVICES, FACTS, is_bundle
from nuwa_search.deploy.bundle_owner import holds_subnet, object_in
from nuwa_search.deploy.file_hashes import CERTIFICATE

MAX_FILES = 1000
"""Of a folder that calls itself a bundle; real ones hold about forty."""


@dataclass(frozen=True, kw_only=True)
class DeviceState(JsonFields):
    """A device that a bundle was exported for.

    Args:
        device: Its name.
        verdict: ``met``, ``missed``, … or ``no budget``, of the certificate.
        budget_ms: Certified latency limit; None without one.
        measured_latency_ms: The median there; None where it was not measured.
        provenance: Where that latency comes from; None without one.
    """

    device: str
    verdict: str
    budget_ms: float | None
    measured_latency_ms: float | None
    provenance: str | None


@dataclass(frozen=True, kw_only=True)
class BundleState:
    """A bundle as it lies there; hashes are left to ``verify_bundle``.

    Args:
        devices: Those it was exported for, the first device's first; empty before an export.
        study: Search that shipped it; None where it was cut by itself.
        num_finetunes: Trainings by themselves of these weights; a search's own is in the database.
        size_mb: All its files, in MB of 10^6 bytes.
    """

    devices: tuple[DeviceState, ...]
    study: str | None
    num_finetunes: int
    size_mb: float


def state_of(folder: Path, subnet_id: str) -> BundleState | None:
    """Read what a subnet's bundle says; None where its folder holds no bundle, or another subnet's."""
    if not is_bundle(folder) or not holds_subnet(folder, subnet_id):
        return None
    facts = (object_in(folder / CERTIFICATE) or {}).get("facts") or object_in(folder / FACTS) or {}
    finetunes = facts.get("finetunes") if isinstance(facts, Mapping) else None
    study = facts.get("study") if isinstance(facts, Mapping) else None
    inside = folder / DEVICES
    further = sorted(inside.iterdir()) if inside.is_dir() else []
    found = (_device(path, subnet_id) for path in (folder, *further))
    return BundleState(
        devices=tuple(one for one in found if one is not None),
        study=study if isinstance(study, str) else None,
        num_finetunes=len(finetunes) if isinstance(finetunes, list) else 0,
        size_mb=sum(path.stat().st_size for path in _files(folder)) / 1e6,
    )


def _device(folder: Path, subnet_id: str) -> DeviceState | None:
    """Read the certificate of one device; None where there is none of this subnet that can be read."""
    certificate = object_in(folder / CERTIFICATE)
    if certificate is None or not holds_subnet(folder, subnet_id):
        return None
    latency, budget_ms = certificate.get("latency_ms"), certificate.get("budget_ms")
    try:
        return DeviceState(
            device=checked.text(checked.mapping(certificate.get("device"), "device").get("name"), "device"),
            verdict=checked.text(certificate.get("verdict"), "verdict"),
            budget_ms=None if budget_ms is None else checked.finite(budget_ms, "budget"),
            measured_latency_ms=checked.finite(latency.get("median"), "latency") if isinstance(latency, dict) else None,
            provenance=None if latency is None else checked.text(certificate.get("provenance"), "provenance"),
        )
    except NuwaError:  # a damaged certificate proves nothing; `nuwa verify` tells what is wrong with it
        return None


def _files(folder: Path) -> Iterator[Path]:
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return islice(found, MAX_FILES)
