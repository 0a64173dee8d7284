"""Signals that come while something is half done."""

import gc
import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from nuwa_search.core.interrupts import interrupt_deferred
from nuwa_search.store.store import open_store


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restore what the test changes."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_ctrl_c_waits_for_the_end_of_a_block() -> None:
    done = []

    def change() -> None:
        with interrupt_deferred(), interrupt_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        change()
    assert done == ["whole"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_outer_block_holds_what_came_in_an_inner_one() -> None:
    done = []

    def change() -> None:
        with interrupt_deferred():
            with interrupt_deferred():
                signal.raise_signal(signal.SIGINT)
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        change()
    assert done == ["outer"]


@pytest.mark.parametrize("is_breakable", [True, False])
def test_a_second_ctrl_c_breaks_through_where_it_may(is_breakable: bool) -> None:
    done = []

    def change() -> None:
        with interrupt_deferred(is_breakable=is_breakable):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        change()
    assert done == ([] if is_breakable else ["whole"])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_is_not_lost_to_an_error_of_the_block() -> None:
    def fail() -> None:
        with interrupt_deferred():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("disk")

    with pytest.raises(KeyboardInterrupt) as caught:
        fail()
    assert isinstance(caught.value.__context__, ValueError)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_handler_of_the_caller_has_its_say_afterwards(number: signal.Signals) -> None:
    seen = []

    def mine(number: int, frame: FrameType | None) -> None:
        del frame
        seen.append(number)

    signal.signal(number, mine)
    with interrupt_deferred():
        signal.raise_signal(number)
        assert seen == []
    assert seen == [number]
    assert signal.getsignal(number) is mine


def test_a_signal_that_comes_while_handlers_are_put_back_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    change = signal.signal

    def slow(number: int, handler: object) -> object:
        before = change(number, handler)  # type: ignore[arg-type]
        if handler is signal.default_int_handler:
            signal.raise_signal(signal.SIGINT)
        return before

    def mine(number: int, frame: FrameType | None) -> None:
        del number, frame

    signal.signal(signal.SIGTERM, mine)
    monkeypatch.setattr("nuwa_search.core.interrupts.signal.signal", slow)
    with pytest.raises(KeyboardInterrupt), interrupt_deferred():
        pass
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) is mine
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupt_deferred():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)


def test_other_threads_are_left_alone() -> None:
    entered = []

    def enter() -> None:
        with interrupt_deferred():
            entered.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [True]


def test_an_interrupted_write_is_whole_and_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "nuwa.sqlite"
    with open_store(str(path)) as store:

        def write() -> None:
            with store.write() as connection:
                signal.raise_signal(signal.SIGINT)
                connection.exec_driver_sql("CREATE TABLE whole (x INTEGER)")

        gc.disable()  # what leaks has to stay
        try:
            with pytest.raises(KeyboardInterrupt):
                write()
            with sqlite3.connect(path, timeout=0.1, isolation_level=None) as other:
                other.execute("BEGIN IMMEDIATE")
                assert other.execute("SELECT count(*) FROM whole").fetchone() == (0,)
                other.execute("ROLLBACK")
            other.close()
        finally:
            gc.enable()
