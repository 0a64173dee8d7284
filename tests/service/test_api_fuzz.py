"""Generated requests: every answer is as described, nothing crashes, nothing leaves the roots."""

from pathlib import Path

from fastapi.testclient import TestClient

from nuwa_search.core.source_name import DEMO_BASE, DEMO_DATA
from tests.support.api_fuzz import SECRET, fuzz, hostile_paths, make_service, paths_of_jobs


def test_generated_requests_are_answered_as_described(tmp_path: Path) -> None:
    store, app, seeded = make_service(tmp_path)
    with store:
        found = fuzz(app, seeded, num_requests=150, seed=0)
        assert sum(found.values()) >= 120
        assert not [status for status in found if status >= 500]
        assert {200, 202, 404, 422} <= set(found)


def test_nothing_outside_the_roots_is_read_or_queued(tmp_path: Path) -> None:
    store, app, seeded = make_service(tmp_path)
    with store, TestClient(app, base_url="http://127.0.0.1") as client:
        for method, path, body in hostile_paths(seeded):
            response = client.request(method, path, json=body)
            assert response.status_code < 500, (path, body)
            assert SECRET.encode() not in response.content, (path, body)
            assert "root:" not in response.text[:100]
        root = (tmp_path / "root").resolve()
        for path in set(paths_of_jobs(store)) - {DEMO_BASE, DEMO_DATA}:  # names of what packages hold, no paths
            assert Path(path).resolve().is_relative_to(root), path
