"""Processes that are killed with -9 at random moments, started again, and followed to the end."""

import functools
import json
import random
import re
import sqlite3
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import kill_worker
from benchmarks.faults.outcome import Whole, is_sound, new_place, outcome_of
from benchmarks.faults.row import FaultRow
from benchmarks.faults.toy import LONGEST_S, Ended, Running, Toy
from tests.support.toy_bundle import write_toy_bundle
from tests.support.toy_jobs import wait_for

EARLIEST_S = 0.05
TRIALS_OF_NONE = 1
"""What a search that did not end counts as lost."""
LATE = 0.9
"""Kills fall evenly into so much of the time that the unbroken command takes."""


def kill_search(toy: Toy, whole: Whole, *, kills: int, chance: random.Random) -> FaultRow:
    """Kill searches; each goes on with ``--resume`` until it is done."""
    killed = lost = twice = wrong = runs = 0
    while killed < kills:
        runs += 1
        place = new_place(toy, f"killed-search{runs}")
        ended, more = _to_the_end(
            functools.partial(_start_search, toy, place),
            kills=kills - killed,
            within_s=whole.seconds,
            chance=chance,
        )
        killed += more
        found = outcome_of(ended, place)
        lost += TRIALS_OF_NONE if found is None else found.lost
        twice += 0 if found is None else found.twice
        wrong += not whole.is_same(found)
    return FaultRow("kill -9 of search", killed, lost, twice, wrong, note=f"{runs} searches, resumed until done")


def kill_profile(toy: Toy, _: Whole, *, kills: int, chance: random.Random) -> FaultRow:
    """Kill profiles; the same command goes on with what is stored."""
    words = ["nuwa", "profile", "jetson-nano", "--base", str(toy.base), "--json", "--db"]
    whole = toy.run([*words, str(toy.folder / "whole-profile.sqlite")])
    killed = lost = twice = wrong = runs = 0
    while killed < kills:
        runs += 1
        database = toy.folder / f"killed-profile{runs}.sqlite"
        ended, more = _to_the_end(
            functools.partial(toy.start, [*words, str(database)]),
            kills=kills - killed,
            within_s=whole.seconds,
            chance=chance,
        )
        killed += more
        rows, wanted = _lut_keys(database), _lut_keys(toy.folder / "whole-profile.sqlite")
        lost += sum((wanted - rows).values())
        twice += sum(count - 1 for count in rows.values())
        wrong += ended.code != 0 or not is_sound(database) or _figures(ended) != _figures(whole)
    return FaultRow("kill -9 of profile", killed, lost, twice, wrong, note=f"{runs} profiles, run again until done")


def kill_finetune(toy: Toy, _: Whole, *, kills: int, chance: random.Random) -> FaultRow:
    """Kill fine-tunings; each goes on with ``--resume`` where there is a checkpoint, else from the start."""
    words = ["--base", str(toy.base), "--data", str(toy.images), "--finetune-steps", "400", "--seed", "3"]
    words += ["--teacher", "tuned"]

    def start(name: str, *, resume: bool) -> Running:
        cache = ["--cache-dir", str(toy.folder / f"{name}-cache")]
        return toy.start(["nuwa", "finetune", str(toy.folder / name), *(["--resume"] if resume else words), *cache])

    write_toy_bundle(toy.folder / "tuned-whole", toy.base, toy.images)
    whole = start("tuned-whole", resume=False).end()
    wanted = (toy.folder / "tuned-whole" / "model.safetensors").read_bytes()
    killed = lost = wrong = runs = 0
    while killed < kills:
        runs += 1
        name = f"tuned{runs}"
        write_toy_bundle(toy.folder / name, toy.base, toy.images)
        before = (toy.folder / name / "model.safetensors").read_bytes()

        def again(name: str = name) -> Running:
            return start(name, resume=any((toy.folder / f"{name}-cache" / "finetune").rglob("state.json")))

        def check(name: str = name, before: bytes = before) -> bool:
            return (toy.folder / name / "model.safetensors").read_bytes() in (before, wanted)

        ended, more = _to_the_end(again, kills=kills - killed, within_s=whole.seconds, chance=chance, check=check)
        killed += more
        lost += ended.code != 0
        wrong += (toy.folder / name / "model.safetensors").read_bytes() != wanted
    return FaultRow("kill -9 of finetune", killed, lost, 0, wrong, note=f"{runs} fine-tunings, resumed until done")


def kill_worker_of(toy: Toy, _: Whole, *, kills: int, chance: random.Random) -> FaultRow:
    """Kill workers of one queued search (``benchmarks.kill_worker``)."""
    folder = toy.folder / "workers"
    folder.mkdir()
    row = kill_worker.run(folder, kills=kills, chance=chance)
    twice = int(str(row["trials_paid_twice"])) + int(str(row["final_results"])) - 1
    note = f"one search of {row['trials']} trials; {row['killed_during']}"
    return FaultRow(
        "kill -9 of worker", int(str(row["kills"])), 0, twice, int(not row["same_winner_as_unbroken"]), note=note
    )


def kill_server(toy: Toy, _: Whole, *, kills: int, chance: random.Random) -> FaultRow:
    """Kill the server while searches are queued with it; what it confirmed must be there, once."""
    place = new_place(toy, "served")
    promised: list[str] = []
    asked = wrong = 0
    body = {"base": str(toy.base), "data": str(toy.images), "budget_ms": 1.5, "trials": 6}
    words = ["nuwa", "serve", "--port", "0", "--workers", "0", "--db", str(place / "nuwa.sqlite")]
    words += ["--cache-dir", str(place / "cache"), *(f"--root={root}" for root in (toy.folder, toy.base, toy.images))]
    for _round in range(kills):
        server = toy.start(words)
        address = _address(server)
        wrong += sorted(_listed(address)) != sorted(promised)
        limit = chance.randint(0, 6)
        for _asked in range(limit):
            study = f"asked{asked}"
            asked += 1
            wrong += _post(f"{address}api/v1/searches", body | {"study": study}) != 202
            promised.append(study)
        unanswered = f"asked{asked}"
        asked += 1
        _post_and_kill(server, f"{address}api/v1/searches", body | {"study": unanswered}, chance)
        if unanswered in _queued(place):  # it was taken on before the kill, without an answer: either is right
            promised.append(unanswered)
        wrong += not is_sound(place / "nuwa.sqlite")
    found = Counter(_queued(place))
    lost, twice = len(set(promised) - set(found)), sum(count - 1 for count in found.values())
    return FaultRow("kill -9 of serve", kills, lost, twice, wrong, note=f"{len(promised)} searches queued meanwhile")


def _to_the_end(
    start: Callable[[], Running],
    *,
    kills: int,
    within_s: float,
    chance: random.Random,
    check: Callable[[], bool] = lambda: True,
) -> tuple[Ended, int]:
    """Start, kill and start again, at most ``kills`` times; then let it end. Returns that and the kills that hit.

    Raises:
        AssertionError: If ``check`` fails behind a kill.
    """
    hit = 0
    while hit < kills:
        running = start()
        running.process.join(chance.uniform(EARLIEST_S, LATE * within_s))
        if not running.kill():
            return running.end(), hit
        hit += 1
        assert check(), "what a kill left is neither the old nor the new"
    return start().end(), hit


def _start_search(toy: Toy, place: Path) -> Running:
    return toy.start([*toy.search_words(place), *(["--resume"] if has_study(place) else [])])


def has_study(place: Path) -> bool:
    """Whether a search was begun in the database of ``place``."""
    connection = sqlite3.connect(f"file:{place / 'nuwa.sqlite'}?mode=ro", uri=True)
    try:
        return bool(connection.execute("select count(*) from nuwa_searches").fetchone()[0])
    finally:
        connection.close()


def _lut_keys(database: Path) -> Counter[tuple[object, ...]]:
    """Count the rows of the latency table by what they were measured of."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return Counter(connection.execute("select key_hash from nuwa_lut_entries").fetchall())
    finally:
        connection.close()


def _figures(ended: Ended) -> Any:
    """Return what a profile says of its predictor, without names and times."""
    told = json.loads(ended.answer) if ended.code == 0 else {}
    return {name: told.get(name) for name in ("num_rows", "rows", "report", "num_heldout")}


def _address(server: Running) -> str:
    wait_for(
        lambda: "are at http" in server.told or server.process.exitcode is not None,
        seconds=LONGEST_S,
        what="the server",
    )
    found = re.search(r"are at (http://\S+/)", server.told)
    if found is None:
        raise RuntimeError(server.told)
    return found[1]


def _post(url: str, body: dict[str, object], *, timeout_s: float = 60.0) -> int:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def _post_and_kill(server: Running, url: str, body: dict[str, object], chance: random.Random) -> None:
    """Ask for a search and kill the server a moment later, before, while or after it answers."""
    asking = threading.Thread(target=_ask, args=(url, body))
    asking.start()
    server.process.join(chance.uniform(0.0, 0.1))
    server.kill()
    asking.join()


def _ask(url: str, body: dict[str, object]) -> None:
    try:
        _post(url, body)
    except OSError:
        return  # the server was killed before it answered


def _listed(address: str) -> list[str]:
    with urllib.request.urlopen(f"{address}api/v1/searches?limit=1000", timeout=60) as response:
        return [row["study"] for row in json.load(response)["rows"]]


def _queued(place: Path) -> list[str]:
    connection = sqlite3.connect(place / "nuwa.sqlite")
    try:
        return [row[0] for row in connection.execute("select study from nuwa_jobs")]
    finally:
        connection.close()
