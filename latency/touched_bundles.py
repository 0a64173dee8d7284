"""Which shipped bundles a device's new software touches: what each was certified on, beside what is there now."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nuwa_search.core.device import Device, DeviceSpec
from nuwa_search.core.emulator import split_label
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.certificate import Certificate
from nuwa_search.deploy.file_hashes import CERTIFICATE
from nuwa_search.latency.devices.find import opened_device
from nuwa_search.latency.devices.pool import PoolDevice
from nuwa_search.latency.devices.pool_spec import is_pool
from nuwa_search.store.records import BoardRecord
from nuwa_search.store.store import Store

# What an engine is bound to: TensorRT reads no plan of another version or GPU.
_REBUILD = ("runtime_version", "compute_capability", "chip")
# What only its speed hangs on: the engine runs on, and its latency is another.
_REMEASURE = ("l4t", "power_mode", "gpu_max_hz", "cpus_online", "cpu_max_khz", "cpu", "threads", "emulator")


@dataclass(frozen=True)
class Touched:
    """One shipped bundle against the device as it is now.

    Args:
        dir: Its folder.
        subnet_id: Its identity.
        verdict: Of its certificate.
        rebuild: Changes for which its engine has to be built again, such as ``runtime_version 8.2.1 -> 8.5.2``.
        remeasure: Changes for which its latency has to be measured again.
        missing: Why it could not be read, or is no longer this device's; empty where it could.
        is_of_another: Whether it was read, and is certified for another device or for none.
    """

    dir: str
    subnet_id: str
    verdict: str
    rebuild: tuple[str, ...] = ()
    remeasure: tuple[str, ...] = ()
    missing: str = ""
    is_of_another: bool = False

    @property
    def action(self) -> str:
        """``rebuild``, ``measure``, ``none``, or ``missing`` for a bundle that is not there any more."""
        if self.missing:
            return "missing"
        return "rebuild" if self.rebuild else "measure" if self.remeasure else "none"

    def to_json(self) -> dict[str, Any]:
        """Render one row of the answer."""
        return {
            "dir": self.dir,
            "subnet_id": self.subnet_id,
            "verdict": self.verdict,
            "action": self.action,
            "changes": [*self.rebuild, *self.remeasure],
            "missing": self.missing,
        }


@dataclass(frozen=True)
class DeviceNow:
    """What runs on a device now.

    Args:
        facts: By name; where boards of a pool differ in one, each value with its boards.
        silent: Boards of a pool that are out or did not answer, each with the reason.
    """

    facts: Mapping[str, str]
    silent: Mapping[str, str]


def device_now(spec: DeviceSpec, store: Store) -> DeviceNow:
    """Ask a device what runs there now; of a pool each board that takes part, under its lease.

    Args:
        spec: The device.
        store: The database, which holds the boards of a pool.

    Raises:
        OutsideError: If it cannot be reached; of a pool, if no board can.
    """
    if not is_pool(spec):
        return DeviceNow(_facts_now(spec), {})
    with opened_device(spec, store=store) as pool:
        if not isinstance(pool, PoolDevice):
            raise OutsideError(f"{spec.name} is no pool of boards")
        found, silent = {}, {}
        for record in pool.boards.records():
            try:
                found[record.name] = _facts_of_board(pool, record)
            except OutsideError as error:
                silent[record.name] = error.message
    if not found:
        told = "; ".join(f"{name}: {why}" for name, why in silent.items()) or "it has none"
        raise OutsideError(f"no board of {spec.name} answers: {told}", hint=f"nuwa doctor {spec.name}")
    return DeviceNow(joined_facts(found), silent)


def _facts_of_board(pool: PoolDevice, record: BoardRecord) -> dict[str, str]:
    """Ask one board of a pool; one that fails leaves the pool, as it does when it measures.

    Raises:
        OutsideError: If it is out, or failed now.
    """
    if record.out_at is not None:
        raise OutsideError(record.out_reason or "it is out")
    spec = pool.boards.spec_of(record.name)
    if spec.kind != "ssh":
        return _facts_now(spec)
    return pool.on_a_board(lambda device: _asked(device, spec), among=(record.name,))[0]


def joined_facts(found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Join facts of several boards: a value that all have is one; others are told with who has them."""
    facts: dict[str, str] = {}
    for name in sorted({name for theirs in found.values() for name in theirs}):
        by_value: dict[str, list[str]] = {}
        for board, theirs in found.items():
            if name in theirs:
                by_value.setdefault(theirs[name], []).append(board)
        values = [f"{value} ({', '.join(boards)})" for value, boards in by_value.items()]
        facts[name] = next(iter(by_value)) if len(by_value) == 1 else ", ".join(values)
    return facts


def _facts_now(spec: DeviceSpec) -> dict[str, str]:
    """Ask one device.

    Raises:
        OutsideError: If it cannot be reached.
    """
    facts = _facts_of(spec)
    if spec.kind != "ssh":  # built in: its spec is made of what is installed here just now
        return {name: value for name, value in facts.items() if value}
    with opened_device(spec) as device:
        return _asked(device, spec)


def _asked(device: Device, spec: DeviceSpec) -> dict[str, str]:
    from nuwa_search.latency.devices.ssh import SshDevice

    if not isinstance(device, SshDevice):
        raise OutsideError(f"{spec.name} is no board over SSH")
    return {name: value for name, value in {**_facts_of(spec), **device.facts_now()}.items() if value}


def touched_below(folder: Path, spec: DeviceSpec, now: Mapping[str, str]) -> list[Touched]:
    """Compare the bundles for a device in a folder and all below it with what runs there now, by path.

    Raises:
        NuwaError: If there is no such folder.
    """
    if not folder.is_dir():
        raise NuwaError(f"no folder at {folder}", hint="name a folder that holds bundles, or leave it out")
    rows = (_touched(path.parent, {}, spec, now) for path in sorted(folder.rglob(CERTIFICATE)))
    return [row for row in rows if not row.is_of_another]


def touched_bundles(store: Store, spec: DeviceSpec, now: Mapping[str, str]) -> list[Touched]:
    """Compare every bundle that was certified for a device with what runs there now, newest first."""
    found: dict[str, Touched] = {}
    for row in store.certificates.find():  # those of earlier emulators stand under names of their own
        path = row.get("path")
        if path is None or split_label(row["device"])[0] != spec.name or str(Path(path).parent) in found:
            continue
        folder = Path(path).parent
        found[str(folder)] = _touched(folder, row, spec, now)
    return list(found.values())


def _touched(folder: Path, row: Mapping[str, Any], spec: DeviceSpec, now: Mapping[str, str]) -> Touched:
    subnet_id, verdict = str(row.get("subnet_id") or ""), str(row.get("verdict") or "")
    try:
        certificate = read_bundle(folder).certificate
    except NuwaError as error:
        return Touched(str(folder), subnet_id, verdict, missing=error.message)
    if certificate is None or certificate.device.name != spec.name:
        other = "without a certificate" if certificate is None else f"certified for {certificate.device.name}"
        return Touched(str(folder), subnet_id, verdict, missing=f"it is {other} by now", is_of_another=True)
    then = _certified_on(certificate)
    # Only a board keeps engines: the other kinds load the ONNX file itself, and nothing has to be built again.
    rebuild, remeasure = touches(then, now, has_engine=spec.kind == "ssh")
    return Touched(
        str(folder),
        certificate.subnet_id,
        certificate.verdict,
        rebuild=rebuild,
        remeasure=remeasure,
    )


def touches(
    then: Mapping[str, str], now: Mapping[str, str], *, has_engine: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List the changes for which an engine has to be built again, and those for which it has to be timed again.

    Args:
        then: Facts of the device when the bundle was certified.
        now: Facts of the device now; what one side lacks is no change.
        has_engine: Whether there is an engine that a change can make unreadable.
    """
    if not has_engine:
        return (), _changes(then, now, (*_REBUILD, *_REMEASURE))
    return _changes(then, now, _REBUILD), _changes(then, now, _REMEASURE)


def _certified_on(certificate: Certificate) -> dict[str, str]:
    spec = certificate.device
    state = dict(certificate.measurement.state) if certificate.measurement else {}
    return {**state, **_facts_of(spec)}


def _facts_of(spec: DeviceSpec) -> dict[str, str]:
    """What a spec itself says; addresses and the like are no facts of a bundle."""
    options = {name: value for name, value in spec.options if name in _REMEASURE}
    facts = {"runtime_version": spec.runtime_version, "compute_capability": spec.compute_capability or ""}
    return {**options, **facts, **({"power_mode": spec.power_mode} if spec.power_mode is not None else {})}


def _changes(then: Mapping[str, str], now: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, ...]:
    """List what is known on both sides and differs."""
    return tuple(
        f"{name} {then[name]} -> {now[name]}"
        for name in names
        if then.get(name) and now.get(name) and then[name] != now[name]
    )
