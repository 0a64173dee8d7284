"""Devices, their states and measuring protocols in the database."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, insert, select, update

from nuwa_search.core.device import DeviceSpec, MeasureProtocol
from nuwa_search.core.emulator import device_label, split_label
from nuwa_search.core.errors import NuwaError
from nuwa_search.store.clock import utc_now
from nuwa_search.store.database import Database
from nuwa_search.store.records import DeviceRecord
from nuwa_search.store.rows import find_pks, need_pk, upsert
from nuwa_search.store.tables import DeviceRow, DeviceStateRow, ProtocolRow


def spec_from_dict(values: Mapping[str, Any]) -> DeviceSpec:
    """Read a device spec back from its stored JSON."""
    options = tuple((str(name), str(value)) for name, value in values.get("options", ()))
    return DeviceSpec(**{**values, "options": options})


def device_pk_of(connection: Connection, device_id: str) -> int:
    """Find a device's key.

    Raises:
        NuwaError: If it is not in the database.
    """
    return need_pk(connection, DeviceRow.pk, DeviceRow.device_id, device_id, noun="device")


def insert_device(connection: Connection, spec: DeviceSpec) -> int:
    """Store a spec where it is new or says more than the stored one, and return its key."""
    content = asdict(spec)
    known = connection.execute(
        select(DeviceRow.pk, DeviceRow.spec).where(DeviceRow.device_id == spec.device_id)
    ).first()
    # A profile comes here with every figure that it takes, and nearly always with what is stored.
    if known is not None and known.spec == json.loads(json.dumps(content)):
        return int(known.pk)
    values = {
        "device_id": spec.device_id,
        "name": device_label(spec),
        "kind": spec.kind,
        "runtime": spec.runtime,
        "runtime_version": spec.runtime_version,
        "precision": spec.precision,
        "batch": spec.batch,
        "power_mode": spec.power_mode,
        "spec": content,
        "is_listed": False,
        "created_at": utc_now(),
    }
    upsert(connection, DeviceRow, [values], key=["device_id"], update=["spec"])
    return device_pk_of(connection, spec.device_id)


def insert_protocol(connection: Connection, protocol: MeasureProtocol) -> int:
    """Store a protocol where it is new and return its key."""
    identity = protocol.protocol_id
    known = find_pks(connection, ProtocolRow.pk, ProtocolRow.protocol_id, [identity])
    if identity in known:
        return known[identity]
    upsert(connection, ProtocolRow, [{"protocol_id": identity, "content": asdict(protocol)}], key=["protocol_id"])
    return need_pk(connection, ProtocolRow.pk, ProtocolRow.protocol_id, identity, noun="protocol")


class DeviceMethods(Database):
    """The store's methods about devices."""

    def record_device(self, spec: DeviceSpec) -> str:
        """Store a device spec and return its ``device_id``; storing it again changes nothing."""
        with self.write() as connection:
            insert_device(connection, spec)
        return spec.device_id

    def list_device(self, spec: DeviceSpec) -> str:
        """Store a device that the user added; it takes over its name from earlier specs."""
        with self.write() as connection:
            pk = insert_device(connection, spec)
            connection.execute(update(DeviceRow).where(DeviceRow.name == spec.name).values(is_listed=False))
            connection.execute(update(DeviceRow).where(DeviceRow.pk == pk).values(is_listed=True))
        return spec.device_id

    def unlist_device(self, name: str) -> None:
        """Take a device that the user added off the list; its figures stay.

        Raises:
            NuwaError: If no added device has that name.
        """
        with self.write() as connection:
            changed = connection.execute(
                update(DeviceRow).where(DeviceRow.name == name, DeviceRow.is_listed).values(is_listed=False)
            )
            if not changed.rowcount:
                raise NuwaError(f"no added device is called {name!r}", hint="nuwa device ls")

    def devices(self) -> tuple[DeviceRecord, ...]:
        """All specs that were ever added or measured on, by name."""
        with self.read() as connection:
            rows = connection.execute(
                select(DeviceRow.spec, DeviceRow.is_listed, DeviceRow.created_at).order_by(DeviceRow.name, DeviceRow.pk)
            )
            return tuple(DeviceRecord(spec_from_dict(spec), listed, at) for spec, listed, at in rows)

    def older_emulators(self, name: str) -> tuple[str, ...]:
        """List the labels under which figures of other emulators of a device are kept, by name."""
        with self.read() as connection:
            names = connection.execute(select(DeviceRow.name).where(DeviceRow.kind == "emulated").distinct()).scalars()
            return tuple(sorted(n for n in names if n != name and split_label(n)[0] == name))

    def record_device_state(self, device_id: str, state: Mapping[str, str]) -> None:
        """Store clocks, temperature and load of a recorded device as of now.

        Raises:
            NuwaError: If the device is not recorded.
        """
        with self.write() as connection:
            values = {
                "device_pk": device_pk_of(connection, device_id),
                "state": dict(state),
                "created_at": utc_now(),
            }
            connection.execute(insert(DeviceStateRow).values(values))

    def latest_device_state(self, device_id: str) -> dict[str, str] | None:
        """Read the newest stored state; None where there is none."""
        with self.read() as connection:
            state = connection.execute(
                select(DeviceStateRow.state)
                .join(DeviceRow, DeviceRow.pk == DeviceStateRow.device_pk)
                .where(DeviceRow.device_id == device_id)
                .order_by(DeviceStateRow.pk.desc())
                .limit(1)
            ).scalar()
            return None if state is None else {str(name): str(value) for name, value in state.items()}
