"""``nuwa doctor``: check this machine, or a device, and say what to type for each fault."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.core.missing_package import CLIENT, is_client_only
from nuwa_search.core.settings import default_cache_dir, default_db_url
from nuwa_search.latency.devices.find import find_device
from nuwa_search.latency.devices.finding import Finding
from nuwa_search.latency.devices.pool_doctor import examine_pool
from nuwa_search.latency.devices.pool_spec import is_pool
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.output import output_from_flags

NOT_OF_CLIENT = ("torch", "timm", "optuna")
"""Packages that the small distribution goes without; its ``pyproject.toml`` names what it needs."""
WANTED_DISK_MB = 1024
"""Room for caches, checkpoints and bundles of a few searches."""


@click.command("doctor", cls=NuwaCommand)
@click.argument("device", required=False)
@with_flags("cache-dir")
def command(device: str | None, **values: Any) -> None:
    """Check this machine, or DEVICE: what was found, and what to type to mend it.

    Of a pool every board is checked: one with a fault leaves the pool, one that is well again comes back.
    """
    output = output_from_flags(values)
    if device is None:
        findings = examine_here(values["db"] or default_db_url(), expanded(values["cache_dir"] or default_cache_dir()))
    else:
        with database(values) as store:
            spec = find_device(device, store)
            findings = examine_pool(spec, store) if is_pool(spec) else _examine_one(spec)
    faults = [f for f in findings if not f.is_ok]
    rows = [{"check": f.name, "ok": f.is_ok, "found": f.found, "mend": f.mend} for f in findings]
    if output.json:
        output.document({"schema": "nuwa.doctor/1", "findings": rows, "faults": len(faults)})
    else:
        output.table([row | {"ok": "ok" if row["ok"] else "FAULT"} for row in rows])
    if faults:
        raise NoAnswerError(f"{len(faults)} of {len(findings)} checks found a fault", hint=faults[0].mend)


def _examine_one(spec: DeviceSpec) -> list[Finding]:
    if spec.kind != "ssh":
        return [Finding(spec.kind, is_ok=True, found=spec.note or f"{spec.runtime} {spec.runtime_version}")]
    from nuwa_search.latency.devices.ssh import ssh_device_from_spec

    board = ssh_device_from_spec(spec)
    try:
        return list(board.doctor())
    finally:
        board.close()


def examine_here(url: str, cache_dir: Path) -> list[Finding]:
    """Check packages, disk, caches and the database of this machine."""
    findings = [_package(name) for name in ("torch", "timm", "optuna", "onnxruntime")]
    tensorrt = "installed" if find_spec("tensorrt") else "not installed: engines are built on the device"
    findings.append(Finding("tensorrt", is_ok=True, found=tensorrt))
    free_mb = shutil.disk_usage(_existing(cache_dir.absolute())).free / 1e6
    enough = free_mb >= WANTED_DISK_MB
    mend = "" if enough else f"free some space, or NUWA_CACHE_DIR=… (now {cache_dir})"
    findings.append(Finding("disk", is_ok=enough, found=f"{free_mb / 1000:.1f} GB free for caches", mend=mend))
    findings.append(_database(url))
    return findings


def _database(url: str) -> Finding:
    from nuwa_search.store.store import open_store

    try:
        store = open_store(url)
    except NuwaError as error:
        return Finding("database", is_ok=False, found=error.message, mend=error.hint)
    copy = "" if store.backup_path is None else f", upgraded; as it was before: {store.backup_path}"
    shown = store.shown_url
    store.close()
    return Finding("database", is_ok=True, found=shown + copy)


def _package(name: str) -> Finding:
    found = find_spec(name) is not None
    if not found and name in NOT_OF_CLIENT and is_client_only():
        return Finding(name, is_ok=True, found=f"not installed: {CLIENT} queries, serves and reads bundles without it")
    return Finding(
        name, is_ok=found, found="installed" if found else "missing", mend="" if found else f"pip install {name}"
    )


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
