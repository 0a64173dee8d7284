"""Readers of databases: as files of bytes, and with other values in their cells."""

import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from nuwa_search.search.recording.records import optuna_url
from nuwa_search.search.study import stored_trials
from nuwa_search.store.lists import query_devices
from nuwa_search.store.store import open_store
from nuwa_search.store.wanted import SubnetFilter
from tests.support.fuzzing.mutations import mutated_bytes, mutated_json
from tests.support.fuzzing.reader import Mutate, Reader

DATA = Path(__file__).resolve().parents[2] / "data"
STUDY = "left"


def store_readers(folder: Path) -> list[Reader]:
    """Open a database with a search in it, and ask for all that it lists."""
    ways: dict[str, Mutate] = {"bytes": mutated_bytes, "cells": _other_cell}
    readers = []
    for what, mutate in ways.items():
        path = folder / f"{what}.sqlite"
        shutil.copy(DATA / "store_494cfc3_study.sqlite", path)
        with open_store(str(path)) as store:  # upgraded once
            store.engine.dispose()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
        readers.append(Reader(f"database: {what}", path, mutate, _asking(path), share=0.1))
    return readers


def _asking(path: Path) -> Callable[[], None]:
    def ask() -> None:
        for left in (f"{path}-wal", f"{path}-shm", f"{path}-journal"):
            Path(left).unlink(missing_ok=True)
        with open_store(str(path)) as store:
            store.subnets.find(SubnetFilter())
            for noun in (store.latencies, store.studies, store.certificates):
                noun.find()
            query_devices(store)
            for device in store.devices():
                store.predictors(device.spec.device_id)
            store.trials(STUDY)
            stored_trials(optuna_url(store), STUDY)

    return ask


def _other_cell(rng: random.Random, document: bytes) -> bytes:
    """Put another value into one cell of a database."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.sqlite")
        path.write_bytes(document)
        connection = sqlite3.connect(path)
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
        tables = [name for (name,) in connection.execute(names)]
        for _ in range(rng.choice((1, 1, 3))):
            _change_cell(rng, connection, tables)
        connection.commit()
        connection.close()
        return path.read_bytes()


def _change_cell(rng: random.Random, connection: sqlite3.Connection, tables: list[str]) -> None:
    table = rng.choice(tables)
    columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
    column = rng.choice(columns)
    try:
        found = connection.execute(f'SELECT rowid, "{column}" FROM "{table}"').fetchall()
    except sqlite3.OperationalError:  # a table without row ids
        return
    if not found:
        return
    place, value = rng.choice(found)
    odd: tuple[object, ...] = (None, "", "x", -1, 2**62, 1e308, float("inf"), b"\xff\xfe", "é\u202e", "x" * 5000, 0.5)
    other: object = rng.choice(odd)
    if isinstance(value, str) and value[:1] in ("{", "[") and rng.random() < 0.7:
        other = mutated_json(rng, value.encode()).decode(errors="replace")
    try:
        connection.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', (other, place))
    except sqlite3.IntegrityError:
        return
