"""Refuse what was fitted or searched for another device than the one asked for, another emulator's among them."""

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.emulator import device_label, is_outdated
from nuwa_search.core.errors import NuwaError
from nuwa_search.store.records import PredictorRecord
from nuwa_search.store.store import Store


def require_predictor_of(spec: DeviceSpec, record: PredictorRecord, store: Store) -> None:
    """Refuse a latency predictor of another device.

    Raises:
        NuwaError: With the device that it is of.
    """
    if record.device_id == spec.device_id:
        return
    found = _device_of(record.device_id, store)
    called = "" if found is None else f" ({device_label(found)})"
    raise NuwaError(
        f"latency predictor {record.predictor_id} is of device {record.device_id}{called}, not of {spec.name}",
        hint=f"nuwa profile {spec.name}",
    )


def require_study_of(spec: DeviceSpec, study: str, store: Store) -> None:
    """Refuse to go on with a study whose latencies are of another version of the emulator.

    Raises:
        NuwaError: With what to do instead.
    """
    record = store.search(study)
    found = None if record is None else _device_of(record.device_id, store)
    if found is not None and is_outdated(found) and found.device_id != spec.device_id:
        raise NuwaError(
            f"study {study!r} was priced by {device_label(found)}, and this program has another version of the "
            "emulator: its latencies and new ones are never compared",
            hint=f"nuwa-search --study {study} --resume goes on from what it scored, as another study",
        )


def _device_of(device_id: str, store: Store) -> DeviceSpec | None:
    return next((record.spec for record in store.devices() if record.spec.device_id == device_id), None)
