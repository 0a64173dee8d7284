"""The summary behind fronts holds what nothing beats, whatever is written in whatever order."""

import random
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import delete, func, insert, select, text, update

from nuwa_search.store.front_tables import fronts, stale_fronts
from nuwa_search.store.fronts import mark_all_stale, mend_fronts
from nuwa_search.store.records import BaseRecord
from nuwa_search.store.store import Store, open_store
from nuwa_search.store.tables import LatencyRow, SubnetRow
from nuwa_search.store.wanted import SubnetFilter
from tests.support.store_values import (
    BASE,
    BOARD,
    NANO,
    OTHER_TASK,
    TASK,
    measured,
    prediction,
    record_basics,
    subnet,
    top1,
)

NUM_SUBNETS = 30
OTHER_BASE = BaseRecord("base-1", "vit_small", BASE.arch)
Point = tuple[int, int, int, float, float, int]
POINT = ("device_pk", "task_pk", "base_pk", "latency_ms", "top1", "subnet_pk")


@pytest.fixture
def filled(store: Store) -> Store:
    """Subnets of two tasks and two bases, without accuracy or latency."""
    record_basics(store)
    store.record_base(OTHER_BASE)
    rng = random.Random(1)
    records = [subnet(n, task_id=rng.choice([TASK, OTHER_TASK]).task_id) for n in range(NUM_SUBNETS)]
    store.record_subnets(records[::2])
    store.record_subnets([type(r)(r.subnet_id, r.arch, "base-1", r.task_id, {}) for r in records[1::2]])
    return store


def points_of(store: Store) -> list[Point]:
    with store.read() as connection:
        columns = (getattr(SubnetRow if name == "top1" else LatencyRow, name) for name in POINT)
        joined = select(*columns).join(SubnetRow, SubnetRow.pk == LatencyRow.subnet_pk)
        rows = connection.execute(joined.where(SubnetRow.top1 >= 0))
        return [cast(Point, tuple(row)) for row in rows]


def unbeaten(points: Iterable[Point], *, by_base: bool = True) -> list[Point]:
    """Keep what no point of the same device, task and base beats, by comparing all pairs."""
    num_keys = 3 if by_base else 2
    everything = list(points)
    return sorted(
        p
        for p in everything
        if not any(
            q[:num_keys] == p[:num_keys] and q[3] <= p[3] and q[4] >= p[4] and (q[3] < p[3] or q[4] > p[4])
            for q in everything
        )
    )


def summary(store: Store) -> list[Point]:
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(stale_fronts)).scalar() == 0
        return sorted(cast(Point, tuple(row)) for row in connection.execute(select(fronts)))


def asked(store: Store, wanted: SubnetFilter = SubnetFilter()) -> list[tuple[str, str | None]]:  # noqa: B008 - frozen
    return sorted((row["subnet_id"], row["device"]) for row in store.subnets.find(wanted, pareto=True))


@pytest.mark.parametrize("seed", range(3))
def test_summary_follows_every_write(filled: Store, seed: int) -> None:
    rng = random.Random(seed)
    pks = _subnet_pks(filled)
    for _ in range(35):
        some = rng.sample(range(NUM_SUBNETS), 5)
        kind = rng.choice(["score", "score", "predict", "predict", "measure", "retire", "rewrite", "delete"])
        if kind == "score":  # up and down again, with ties
            filled.record_scores(top1(n, rng.randint(50, 56) / 100) for n in some)
        elif kind == "predict":
            device = rng.choice([NANO, BOARD])
            filled.record_predicted_latencies(prediction(n, rng.randint(8, 14) / 2, device=device) for n in some)
        elif kind == "measure":
            filled.save_measurement(measured(rng.randint(8, 14) / 2), subnet_id=f"subnet-{some[0]}")
        elif kind == "retire":
            filled.retire_top1(f"subnet-{some[0]}")
        else:
            write_around(filled, [pks[n] for n in some], kind, rng)
        points = points_of(filled)
        assert summary(filled) == unbeaten(points)
    with filled.read() as connection:
        names = {pk: f"subnet-{n}" for n, pk in enumerate(_subnet_pks(filled))}
        rows = connection.execute(text("SELECT pk, name FROM nuwa_devices"))
        devices = {row.pk: row.name for row in rows}
    expected = sorted((names[p[5]], devices[p[0]]) for p in unbeaten(points, by_base=False))
    assert asked(filled) == expected


def write_around(store: Store, pks: list[int], kind: str, rng: random.Random) -> None:
    """Change rows by statements of one's own: many scores at once, or latencies that go."""
    with store.write() as connection:
        if kind == "delete":
            connection.execute(delete(LatencyRow).where(LatencyRow.subnet_pk.in_(pks[:2])))
        else:
            shift = rng.choice([-0.02, 0.01])
            connection.execute(update(SubnetRow).where(SubnetRow.pk.in_(pks)).values(top1=SubnetRow.top1 + shift))
    mend_fronts(store)


def _subnet_pks(store: Store) -> list[int]:
    with store.read() as connection:
        found = connection.execute(text("SELECT subnet_id, pk FROM nuwa_subnets"))
        return [pk for _, pk in sorted(found, key=lambda row: int(row[0].split("-")[1]))]


def add_figures(store: Store, latencies_ms: dict[int, float], accuracies: dict[int, float]) -> None:
    store.record_predicted_latencies(prediction(n, ms) for n, ms in latencies_ms.items())
    store.record_scores(top1(n, value) for n, value in accuracies.items())


def test_stale_front_is_walked_until_it_is_mended(filled: Store) -> None:
    add_figures(filled, {0: 1.0, 1: 2.0, 2: 3.0}, {0: 0.9, 1: 0.8, 2: 0.7})
    before = {wanted: asked(filled, wanted) for wanted in (SubnetFilter(), SubnetFilter(base="vit_tiny"))}
    with filled.write() as connection:
        mark_all_stale(connection)
        connection.execute(delete(fronts))
    assert {wanted: asked(filled, wanted) for wanted in before} == before
    mend_fronts(filled)
    assert summary(filled) == unbeaten(points_of(filled))
    assert {wanted: asked(filled, wanted) for wanted in before} == before


def test_what_a_point_hid_comes_back_when_it_goes(filled: Store) -> None:
    add_figures(filled, dict.fromkeys(range(6), 2.0) | {0: 1.0}, dict.fromkeys(range(6), 0.5) | {0: 0.9})
    hidden = unbeaten(p for p in points_of(filled) if p[3] > 1.0)
    with filled.write() as connection:
        connection.execute(delete(LatencyRow).where(LatencyRow.latency_ms == 1.0))
    mend_fronts(filled)
    assert summary(filled) == hidden
    with filled.write() as connection:
        connection.execute(update(SubnetRow).values(top1=None))
    mend_fronts(filled)
    assert summary(filled) == []


def test_rows_written_around_the_program_are_seen(filled: Store) -> None:
    add_figures(filled, {0: 2.0}, {0: 0.5, 2: 0.6})
    with filled.write() as connection:
        row = dict(connection.execute(select(LatencyRow.__table__)).mappings().one())
        connection.execute(insert(LatencyRow).values(row | {"subnet_pk": _subnet_pks(filled)[2]}))
    assert summary(filled) == unbeaten(points_of(filled))


def test_writers_at_once_lose_no_point(filled: Store) -> None:
    """B is left out since A beats it, while another writer makes A worse: B must come back."""
    if filled.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    add_figures(filled, {0: 1.0, 4: 1.0}, {0: 0.9})
    same_group = points_of(filled)
    assert len(same_group) == 1
    pks = _subnet_pks(filled)
    is_row = (LatencyRow.subnet_pk == pks[0]) & (LatencyRow.device_pk == same_group[0][0])
    is_other = (LatencyRow.subnet_pk == pks[4]) & (LatencyRow.device_pk == same_group[0][0])
    group = {"task_pk": same_group[0][1], "base_pk": same_group[0][2]}
    with filled.engine.begin() as first, filled.engine.begin() as second:
        first.execute(update(LatencyRow).where(is_other).values(latency_ms=1.5, **group))
        first.execute(update(SubnetRow).where(SubnetRow.pk == pks[4]).values(top1=0.8, **group))
        second.execute(update(LatencyRow).where(is_row).values(latency_ms=5.0))
        second.commit()
        mend_fronts(filled)  # gives up soon, since the first writer is not done
        first.commit()
    mend_fronts(filled)
    assert summary(filled) == unbeaten(points_of(filled))
    assert len(summary(filled)) == 2


def test_writers_of_the_same_front_do_not_wait_for_each_other(filled: Store) -> None:
    if filled.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    add_figures(filled, {0: 3.0, 4: 3.0, 6: 3.0}, {0: 0.5, 4: 0.4, 6: 0.4})
    pks = _subnet_pks(filled)
    with filled.read() as connection:
        ((task_pk, base_pk),) = connection.execute(
            select(LatencyRow.task_pk, LatencyRow.base_pk).where(LatencyRow.subnet_pk == pks[0])
        ).all()
    better = {"task_pk": task_pk, "base_pk": base_pk}
    with filled.engine.begin() as first, filled.engine.begin() as second:
        for writer, n, ms, accuracy in ((first, 4, 2.0, 0.6), (second, 6, 1.0, 0.7)):
            writer.execute(text("SET LOCAL lock_timeout = 1000"))
            statement = update(LatencyRow).where(LatencyRow.subnet_pk == pks[n])
            writer.execute(statement.values(latency_ms=ms, **better))
            writer.execute(update(SubnetRow).where(SubnetRow.pk == pks[n]).values(top1=accuracy, **better))
        first.commit()
        second.commit()
    mend_fronts(filled)
    (only,) = unbeaten(points_of(filled))
    assert only[5] == pks[6]
    assert [name for name, _ in asked(filled)] == ["subnet-6"]


def test_a_score_waits_for_a_latency_that_is_being_written(filled: Store) -> None:
    """Each would else miss the other's row, and the front the point that they make."""
    if filled.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    add_figures(filled, {0: 3.0}, {2: 0.5})
    pks = _subnet_pks(filled)
    scorer = threading.Thread(target=filled.record_scores, args=([top1(2, 0.9)],))
    with filled.engine.begin() as connection:
        row = dict(connection.execute(select(LatencyRow.__table__)).mappings().one())
        connection.execute(insert(LatencyRow).values(row | {"subnet_pk": pks[2]}))
        scorer.start()
        scorer.join(0.3)
        assert scorer.is_alive()
    scorer.join()
    assert [point[4:] for point in summary(filled)] == [(0.9, pks[2])]


@pytest.mark.parametrize("version", [1, 2, 7])
def test_upgrading_fills_the_summary(version: int, tmp_path: Path, root: Path) -> None:
    path = tmp_path / "old.sqlite"
    path.write_bytes((root / "tests" / "data" / f"store_v{version}.sqlite").read_bytes())
    with open_store(str(path)) as upgraded:
        points = points_of(upgraded)
        assert points
        assert summary(upgraded) == unbeaten(points)
