"""Feed readers in a process of its own; prints a line of JSON before and after each input.

Started by ``benchmarks.fuzz``, never by hand. Whoever reads the lines knows which input the process was at when it
hung or died.
"""

import dataclasses
import json
import os
import resource
import sys
import tempfile
from pathlib import Path

from tests.support.fuzzing.feed import feed
from tests.support.fuzzing.reader import Reader
from tests.support.fuzzing.readers import GROUPS

MAX_ADDRESS_BYTES = 12 * 2**30
"""Of this process: torch and ONNX Runtime reserve some GB of addresses before they hold any memory."""


def main() -> None:
    """Feed what the first argument lists as JSON: entries of group, reader, first input, and the one after the last.

    The second argument is the seed.
    """
    jobs, seed = json.loads(sys.argv[1]), int(sys.argv[2])
    said = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())  # what readers print
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_BYTES, MAX_ADDRESS_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, list[Reader]] = {}
        for group, name, first, last in jobs:
            if group not in made:
                place = Path(folder, group)
                place.mkdir()
                made[group] = GROUPS[group](place)
            reader = next(r for r in made[group] if r.name == name)
            outcomes = feed(reader, range(first, last), seed=seed)
            for number in range(first, last):
                print(json.dumps({"reader": name, "at": number}), file=said)
                print(json.dumps({"reader": name, **dataclasses.asdict(next(outcomes))}), file=said)
            outcomes.close()


if __name__ == "__main__":
    main()
