"""What the service logs: one line for each use, and none for the files of the page."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from nuwa_search.service.cli.service_log import PROGRAM, log_to_stderr
from nuwa_search.store.store import open_store
from tests.support.api_client import client_of


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a service writes there; the loggers are given back as they were."""
    told = io.StringIO()
    root, ours = logging.getLogger(), logging.getLogger(PROGRAM)
    kept = root.handlers[:], root.level, ours.level
    monkeypatch.setattr("sys.stderr", told)
    log_to_stderr()
    yield told
    root.handlers[:], root.level = kept[0], kept[1]
    ours.setLevel(kept[2])


def test_uses_are_logged_and_files_of_the_page_are_not(tmp_path: Path, stderr: io.StringIO) -> None:
    with open_store(str(tmp_path / "nuwa.sqlite")) as store:
        client = client_of(store, tmp_path)
        for quiet in ("/web/js/app.js", "/web/css/base.css", "/favicon.ico", "/healthz", "/readyz", "/metrics"):
            assert client.get(quiet).status_code == 200
        assert stderr.getvalue() == ""
        uses = ["/", "/api/v1/devices", "/api/v1/subnets/unknown", "/web/js/gone.js"]  # what fails is told
        statuses = [client.get(use, headers={"x-request-id": "view-1"}).status_code for use in uses]
        counted = client.get("/metrics").text
    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    assert [(line["path"], line["status"]) for line in lines] == list(zip(uses, statuses, strict=True))
    assert {line["request_id"] for line in lines} == {"view-1"}
    assert 'route="none",status="200"' in counted  # files of the page are counted all the same
