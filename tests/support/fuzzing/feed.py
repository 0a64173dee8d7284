"""Feed a reader with malformed inputs and say how it answered each."""

import contextlib
import io
import time
import warnings
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

from nuwa_search.core.measuring.memory import watch_memory
from tests.support.fuzzing.reader import Reader

SLOW_S = 2.0
LARGE_MB = 300.0


@dataclass(frozen=True)
class Outcome:
    """How a reader answered one input.

    Args:
        number: Of the input.
        kind: ``refused`` by name, ``accepted`` (a change may leave a document valid), or ``unnamed``: any other
            exception.
        said: The exception where it has no name here, else empty.
        seconds: It took.
        peak_mb: Memory that it took beyond what was held before, in MB of 2^20 bytes.
    """

    number: int
    kind: str
    said: str
    seconds: float
    peak_mb: float


def feed(reader: Reader, numbers: Iterable[int], *, seed: int) -> Generator[Outcome]:
    """Feed a reader the inputs of ``numbers``; its valid document is put back at the end."""
    document = reader.path.read_bytes()
    with _quiet():
        reader.read()  # the valid document is read, and what is loaded late is loaded
    try:
        for number in numbers:
            reader.path.write_bytes(reader.malformed(document, number=number, seed=seed))
            yield answer(reader, number)
    finally:
        reader.path.write_bytes(document)


def answer(reader: Reader, number: int) -> Outcome:
    """Let a reader read what lies at its path."""
    begun = time.perf_counter()
    kind, said = "accepted", ""
    with watch_memory() as memory, _quiet():
        try:
            reader.read()
        except reader.named:
            kind = "refused"
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit and the like are what must not happen
            kind, said = "unnamed", f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return Outcome(number, kind, said, time.perf_counter() - begun, memory.peak_mb or 0.0)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what programs print and warn of out of the way: Pillow's of damaged tags are no subject here."""
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
