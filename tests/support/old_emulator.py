"""Let a database of an earlier version's emulator pass for one of this program's.

What is resumed in a test is then a study of an earlier version, and not one whose latencies may no longer be compared.
"""

import json
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import inspect

from nuwa_search.service.workflow.devices import find_device
from nuwa_search.store.store import open_store


def take_for_present_emulator(path: Path, *, device: str = "jetson-nano") -> None:
    """Give an emulated device of an earlier emulator the id, name and spec of today's, wherever they stand."""
    with open_store(str(path)) as store, store.write() as connection:
        spec = find_device(device, store)
        (old_id,) = connection.exec_driver_sql(
            "SELECT device_id FROM nuwa_devices WHERE name LIKE ?", (f"{device}@%",)
        ).one()
        for table in inspect(connection).get_table_names():
            for column in inspect(connection).get_columns(table):
                place = f'"{column["name"]}"'
                connection.exec_driver_sql(
                    f"UPDATE {table} SET {place} = replace({place}, ?, ?) "
                    f"WHERE typeof({place}) = 'text' AND instr({place}, ?)",
                    (old_id, spec.device_id, old_id),
                )
        connection.exec_driver_sql(
            "UPDATE nuwa_devices SET name = ?, is_listed = 1, spec = ? WHERE device_id = ?",
            (spec.name, json.dumps(asdict(spec)), spec.device_id),
        )
