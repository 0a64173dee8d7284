"""Time the page's first view over a database of a million subnets, the server idle before it is asked.

    python -m benchmarks.first_view --url runs/bench-store.sqlite

The database is that of ``benchmarks/store.py``, and is filled where it is empty. The service runs as a process of
its own without workers, and waits ``IDLE_S`` before each view. A view is a fresh browser context (no cache) that opens
``/``; its seconds run from the navigation until the points of the front and the rows of the table are drawn.
"""

import argparse
import csv
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import func, select

from benchmarks.store_data import fill_store
from nuwa_search.store.store import open_store
from nuwa_search.store.tables import LatencyRow, SubnetRow

VIEWS = 7
IDLE_S = 2.0
START_S = 60.0
PORT = 8765
_SERVE = "import sys; from nuwa_search.service.cli.main import main; main(sys.argv[1:])"
_DRAWN = (".front-link", "tr[data-subnet]")
"""A point of the front, and a row of the table."""


def main() -> None:
    """Fill the database where it is empty, time the views, print and write the row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="path of a SQLite file, or URL of a PostgreSQL database")
    parser.add_argument("--subnets", type=int, default=1_000_000)
    parser.add_argument("--devices", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/first_view.csv"))
    args = parser.parse_args()
    with open_store(args.url) as store:
        with store.read() as connection:
            num_subnets = connection.execute(select(func.count()).select_from(SubnetRow)).scalar_one()
        if num_subnets == 0:
            fill_store(store, num_subnets=args.subnets, num_devices=args.devices)
        with store.read() as connection:
            num_subnets = connection.execute(select(func.count()).select_from(SubnetRow)).scalar_one()
            num_latencies = connection.execute(select(func.count()).select_from(LatencyRow)).scalar_one()
        database = "sqlite" if store.is_sqlite else "postgresql"
    with served(args.url) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        load = os.getloadavg()[0]
        seconds = [view_s(browser, url) for _ in range(VIEWS)]
        row = {
            "database": database,
            "subnets": num_subnets,
            "latency_rows": num_latencies,
            "first_view_s": round(seconds[0], 3),
            "median_view_s": round(statistics.median(seconds[1:]), 3),
            "slowest_view_s": round(max(seconds), 3),
            "views": VIEWS,
            "idle_s_before_each": IDLE_S,
            "chromium": browser.version,
            "nuwa_search": version("nuwa-search"),
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "load_before": round(load, 1),
        }
        browser.close()
    print(row)
    known = list(csv.DictReader(args.output.open())) if args.output.exists() else []
    rows = [*(one for one in known if one["database"] != database), row]
    with args.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def view_s(browser: Browser, url: str) -> float:
    """Open the page with nothing cached, after a pause; return the seconds until the front and its table are drawn."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    time.sleep(IDLE_S)
    begun = time.perf_counter()
    page.goto(url)
    for drawn in _DRAWN:
        page.wait_for_selector(drawn, state="attached")
    seconds = time.perf_counter() - begun
    context.close()
    return seconds


@contextmanager
def served(db: str) -> Iterator[str]:
    """Run the service over a database, without workers.

    Raises:
        TimeoutError: If it does not answer in time.
    """
    url = f"http://127.0.0.1:{PORT}/"
    args = ["serve", "--port", str(PORT), "--db", db, "--workers", "0", "-q"]
    process = subprocess.Popen([sys.executable, "-c", _SERVE, *args])
    try:
        deadline = time.monotonic() + START_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError("the service did not start")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}healthz", timeout=1):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main()
