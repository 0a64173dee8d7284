"""Send thousands of generated and hostile requests to the service, and report how they were answered.

    python -m benchmarks.fuzz_api --requests 10000

Every answer is held against the description of the API. A secret lies beside the data root, and links inside it lead
there: no answer may tell it, and no queued job may name a path outside the root.
"""

import argparse
import csv
import tempfile
import time
from collections import Counter
from pathlib import Path

from fastapi.testclient import TestClient

from tests.support.api_fuzz import SECRET, fuzz, hostile_paths, make_service, paths_of_jobs


def main() -> None:
    """Run once per seed, print, and write a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=5050, help="per seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/fuzz_api.csv"))
    args = parser.parse_args()
    rows = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(Path(folder), num_requests=args.requests, seed=seed))
        print(rows[-1], flush=True)
    with args.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def run(folder: Path, *, num_requests: int, seed: int) -> dict[str, object]:
    """Fuzz a service in ``folder``; any answer that is not as described ends the run."""
    store, app, seeded = make_service(folder)
    begun = time.monotonic()
    with store, TestClient(app, base_url="http://127.0.0.1") as client:
        statuses, leaks, hostile = Counter[int](), 0, 0
        for method, path, body in hostile_paths(seeded):
            response = client.request(method, path, json=body)
            statuses[response.status_code] += 1
            hostile += 1
            leaks += SECRET.encode() in response.content
        statuses += fuzz(app, seeded, num_requests=num_requests - hostile, seed=seed)
        root = (folder / "root").resolve()
        outside = sum(not Path(path).resolve().is_relative_to(root) for path in paths_of_jobs(store))
    return {
        "requests": sum(statuses.values()),
        "hostile_paths": hostile,
        "status_5xx": sum(count for status, count in statuses.items() if status >= 500),
        "answers_with_the_secret": leaks,
        "queued_paths_outside_the_roots": outside,
        "statuses": " ".join(f"{status}:{count}" for status, count in sorted(statuses.items())),
        "seconds": round(time.monotonic() - begun, 1),
    }


if __name__ == "__main__":
    main()
