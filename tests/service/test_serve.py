"""The service as a process with its worker: a search over HTTP, through a restart, to a bundle that runs."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nuwa_search.store.store import open_store
from tests.support.toy_jobs import ROOT, TOY_BUDGET_MS, assert_done_once, wait_for

START = "import sys; from nuwa_search.service.cli.main import main; main(sys.argv[1:])"


@contextmanager
def served(folder: Path, *roots: Path) -> Iterator[str]:
    """Run ``nuwa serve`` with one worker, and end it as a service manager does; yields its address."""
    log = folder / "serve.log"
    args = ["serve", "--port", "0", "--db", str(folder / "nuwa.sqlite"), "--cache-dir", str(folder / "cache")]
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", START, *args, *(f"--root={root}" for root in roots)],
            stderr=stderr,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        try:
            wait_for(lambda: "are at http" in log.read_text() or process.poll() is not None, seconds=60, what="start")
            found = re.search(r"are at (http://\S+/)", log.read_text())
            assert found, log.read_text()
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
    assert code == 0, log.read_text()
    assert re.search(r"worker \d+ started", log.read_text()), log.read_text()
    for pid in re.findall(r"worker (\d+) started", log.read_text()):
        assert not is_running(int(pid)), f"worker {pid} outlived its service"
    assert "did not stop and is killed" not in log.read_text()
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    assert all(json.loads(line)["level"] in ("info", "warning") for line in lines), log.read_text()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def call(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def follow(url: str, *, after: int = 0, at_most: int | None = None) -> list[dict[str, Any]]:
    """Read events until the stream ends, or so many."""
    found: list[dict[str, Any]] = []
    request = urllib.request.Request(url, headers={"Last-Event-ID": str(after)} if after else {})
    with urllib.request.urlopen(request, timeout=240) as stream:
        for line in stream:
            if line.startswith(b"data: "):
                found.append(json.loads(line[len(b"data: ") :]))
                if at_most is not None and len(found) >= at_most:
                    break
    return found


@pytest.mark.slow
def test_search_over_http_through_a_restart(
    tmp_path: Path, toy_base: Path, toy_images: Path, profiled_db: Path
) -> None:
    shutil.copy(profiled_db, tmp_path / "nuwa.sqlite")
    roots = (tmp_path, toy_base, toy_images)
    asked = {"budget_ms": TOY_BUDGET_MS, "base": str(toy_base), "data": str(toy_images), "study": "mine"}
    with served(tmp_path, *roots) as address:
        search = f"{address}api/v1/searches/mine"
        call(f"{address}api/v1/searches", asked | {"trials": 6, "finetune_steps": 4})
        seen = follow(f"{search}/events", at_most=3)
    with served(tmp_path, *roots) as address:
        search = f"{address}api/v1/searches/mine"
        rest = follow(f"{search}/events", after=seen[-1]["number"])
        assert rest[-1] == {"kind": "end", "data": {"state": "done"}}
        log = call(f"{search}/log?limit=1000")["rows"]
        assert [event["number"] for event in (*seen, *rest[:-1])] == [event["number"] for event in log]
        subnet = call(search)["subnet_id"]
        with urllib.request.urlopen(f"{address}api/v1/subnets/{subnet}/bundle.zip", timeout=60) as response:
            archive = zipfile.ZipFile(io.BytesIO(response.read()))
    with open_store(str(tmp_path / "nuwa.sqlite")) as store:
        # a quick machine may be done before the service has gone: whether the job was taken up again is not asked
        assert_done_once(store, "mine", trials=6)
    archive.extractall(tmp_path / "download")
    bundle = tmp_path / "download" / "mine"
    image = next((bundle / "samples").iterdir())
    done = subprocess.run(
        [sys.executable, "-I", "run.py", str(image), "--json"], cwd=bundle, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)
