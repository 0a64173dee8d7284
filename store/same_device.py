"""Refuse what was fitted or searched for another device than the one asked for, another emulator's among them."""

from collections.abc import Sequence

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


def pinned_for(
    spec: DeviceSpec, predictor_id: str | None, *, devices: Sequence[DeviceSpec], store: Store
) -> str | None:
    """Return which predictor is pinned for one of a search's devices: the one asked for, where it is that device's.

    One of none of the devices is given to the first, which refuses it.

    Args:
        spec: One of the search's devices.
        predictor_id: What was asked for; None pins nothing.
        devices: All devices of the search.
        store: The database.

    Raises:
        NuwaError: If there is no such predictor.
    """
    if predictor_id is None:
        return None
    owner = store.load_predictor(predictor_id).device_id
    place = owner if owner in {device.device_id for device in devices} else devices[0].device_id
    return predictor_id if spec.device_id == place else None


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
