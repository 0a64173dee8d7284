"""Starting, watching, cancelling and resuming work over HTTP, with a worker that plays."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nuwa_search.search.request import request_from_dict
from nuwa_search.store.records import SearchTerms
from nuwa_search.store.store import Store, open_store
from tests.support.api_client import client_of
from tests.support.page_store import STUDY, seed_page_store
from tests.support.toy_jobs import wait_for

TRIALS = 5


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "nuwa.sqlite")) as opened:
        seed_page_store(opened, tmp_path, num_subnets=3)
        yield opened


@pytest.fixture
def client(store: Store, tmp_path: Path) -> TestClient:
    return client_of(store, tmp_path)


def events_of(text: str) -> list[dict[str, str]]:
    """Read the events of a stream, comments and retries left out."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append(fields)
    return found


def play(store: Store, *, pause_s: float = 0.0) -> None:
    """Do the queued search as a worker would, but for the searching."""
    claim = store.claim_job()
    assert claim is not None
    study, asked = str(claim.job.study), claim.job.settings["request"]
    (device_id,) = {record.spec.device_id for record in store.devices()}
    search = store.start_search(
        study, SearchTerms(device_id=device_id, budget_ms=asked["budget_ms"], seed=0, settings=asked)
    )
    store.add_event(study, "state", {"state": "running", "reason": ""})
    for number in range(TRIALS):
        store.add_event(study, "trial", {"number": number, "scored": number + 1, "wanted": TRIALS})
        time.sleep(pause_s)
    store.add_event(study, "finetune", {"step": 20, "steps": 20})
    store.finish_search(search, "done", result={"schema": "nuwa.search/1"})
    store.add_event(study, "state", {"state": "done", "reason": ""})
    store.finish_job(claim, "done", result={"schema": "nuwa.search/1"}, is_told=True)


def test_search_is_queued_played_and_followed(client: TestClient, store: Store, tmp_path: Path) -> None:
    response = client.post("/api/v1/searches", json={"budget_ms": 5.5, "study": "mine", "classes": ["bus", "train"]})
    assert response.status_code == 202
    assert response.headers["location"] == "/api/v1/searches/mine"
    queued = response.json()
    assert (queued["state"], queued["can_cancel"], queued["can_resume"]) == ("queued", True, False)
    request = request_from_dict(queued["settings"])
    assert (request.budget_ms, request.classes, request.trials) == (5.5, ("bus", "train"), 60)
    assert request.bundle_dir == str((tmp_path / "mine").resolve())
    worker = threading.Thread(target=play, args=(store,), kwargs={"pause_s": 0.02})
    worker.start()
    stream = client.get("/api/v1/searches/mine/events")  # ends when the search does
    worker.join()
    assert stream.headers["content-type"].startswith("text/event-stream")
    events = events_of(stream.text)
    numbers = [int(event["id"]) for event in events[:-1]]
    assert numbers == sorted(set(numbers))
    kinds = [event["event"] for event in events]
    assert kinds[0] == "state"
    assert kinds[-1] == "end"
    assert kinds.count("trial") == TRIALS
    log = client.get("/api/v1/searches/mine/log", params={"limit": 1000}).json()
    assert [json.loads(event["data"]) for event in events[:-1]] == log["rows"]
    done = client.get("/api/v1/searches/mine").json()
    assert done["state"] == json.loads(events[-1]["data"])["data"]["state"]
    assert done["progress"]["trials_scored"] == TRIALS
    assert done["latest"]["finetune"]["data"]["step"] == 20


def test_stream_goes_on_where_it_was_also_after_a_restart(client: TestClient, store: Store, tmp_path: Path) -> None:
    client.post("/api/v1/searches", json={"budget_ms": 5.5, "study": "mine"})
    play(store)
    whole = events_of(client.get("/api/v1/searches/mine/events").text)
    seen = whole[4]["id"]
    restarted = client_of(store, tmp_path)
    by_header = restarted.get("/api/v1/searches/mine/events", headers={"last-event-id": seen})
    assert events_of(by_header.text) == whole[5:]
    by_parameter = restarted.get("/api/v1/searches/mine/events", params={"after": seen})
    assert events_of(by_parameter.text) == whole[5:]
    last = whole[-2]["id"]
    assert restarted.get("/api/v1/searches/mine/events", headers={"last-event-id": last}).status_code == 204
    strange = restarted.get("/api/v1/searches/mine/events", headers={"last-event-id": "x" * 50})
    assert events_of(strange.text) == whole


def test_silence_is_filled_with_comments_and_streams_are_counted(store: Store, tmp_path: Path) -> None:
    client = client_of(store, tmp_path, event_ping_s=0.02, max_streams=1)
    client.post("/api/v1/searches", json={"budget_ms": 5.5, "study": "mine"})
    job = store.jobs(study="mine")[0]

    def cancel_later() -> None:
        wait_for(lambda: "nuwa_event_streams 1.0" in client.get("/metrics").text, seconds=30, what="the stream")
        time.sleep(0.5)
        store.cancel_job(job.job_id)

    timer = threading.Thread(target=cancel_later)
    timer.start()
    text = client.get("/api/v1/searches/mine/events").text
    timer.join()
    assert text.count(": still here") > 2
    assert [json.loads(event["data"])["data"]["state"] for event in events_of(text)] == [
        "queued",
        "interrupted",
        "interrupted",
    ]
    assert "nuwa_event_streams 0.0" in client.get("/metrics").text


def test_same_study_twice_is_refused(client: TestClient) -> None:
    asked = {"budget_ms": 5.5, "study": "mine"}
    assert client.post("/api/v1/searches", json=asked).status_code == 202
    again = client.post("/api/v1/searches", json=asked)
    assert again.status_code == 409
    assert "already" in again.json()["detail"]
    assert client.post("/api/v1/searches", json=asked | {"study": STUDY}).status_code == 409


def test_cancel_and_resume(client: TestClient, store: Store) -> None:
    client.post("/api/v1/searches", json={"budget_ms": 5.5, "study": "mine"})
    cancelled = client.post("/api/v1/searches/mine/cancel")
    assert cancelled.status_code == 202
    assert (cancelled.json()["state"], cancelled.json()["can_resume"]) == ("interrupted", True)
    assert client.post("/api/v1/searches/mine/cancel").status_code == 409
    resumed = client.post("/api/v1/searches/mine/resume", json={"trials": 90})
    assert resumed.status_code == 202
    assert (resumed.json()["state"], resumed.json()["settings"]["trials"]) == ("queued", 90)
    assert store.jobs(study="mine")[0].settings["resume"] is True
    assert client.post("/api/v1/searches/mine/resume").status_code == 409
    claim = store.claim_job()
    assert claim is not None
    running = client.post("/api/v1/searches/mine/cancel").json()
    assert (running["state"], running["job"]["is_cancel_wanted"]) == ("running", True)
    assert client.post("/api/v1/searches/mine/resume", json={"budget_ms": 9}).status_code == 422


@pytest.mark.parametrize(("bundle", "status"), [("inside", 202), ("../outside", 409), ("", 409)])
def test_search_from_the_command_line_is_resumed_if_its_paths_are_ours(
    client: TestClient, store: Store, tmp_path: Path, bundle: str, status: int
) -> None:
    (device_id,) = {record.spec.device_id for record in store.devices()}
    settings = {"budget_ms": 5.0, "bundle_dir": str(tmp_path / bundle) if bundle else ""}
    search = store.start_search("mine", SearchTerms(device_id=device_id, budget_ms=5.0, seed=0, settings=settings))
    cancelled = client.post("/api/v1/searches/mine/cancel")
    assert cancelled.status_code == 409
    assert "Ctrl-C" in cancelled.json()["hint"]
    assert client.post("/api/v1/searches/mine/resume").status_code == 409  # it runs
    store.finish_search(search, "interrupted")
    assert client.post("/api/v1/searches/mine/resume").status_code == status


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"budget_ms": 0}, "budget_ms"),
        ({"budget_ms": "many"}, "budget_ms"),
        ({"device": "jetson-nona"}, "device"),
        ({"classes": ["bus"]}, "classes"),
        ({"trials": 0}, "trials"),
        ({"sampler": "magic"}, "sampler"),
        ({"study": "a/b"}, "study"),
        ({"seed": -1}, "seed"),
        ({"budget_statistic": "sustained"}, "budget_statistic"),  # the device is emulated
        ({"predictor_id": "nothing"}, "predictor_id"),
        ({"output": "."}, "output"),
        ({"colour": "red"}, "colour"),
        ({"base": "."}, "data"),
    ],
)
def test_wrong_settings_are_named(client: TestClient, store: Store, change: dict[str, Any], where: str) -> None:
    response = client.post("/api/v1/searches", json={"budget_ms": 5.0} | change)
    assert response.status_code == 422
    assert response.json()["errors"][0]["where"].startswith(f"body.{where}")
    assert store.jobs() == ()


def test_unknown_device_comes_with_a_guess(client: TestClient) -> None:
    response = client.post("/api/v1/searches", json={"budget_ms": 5.0, "device": "jetson-nona"})
    assert "did you mean 'jetson-nano'" in response.json()["hint"]


def test_profiles(client: TestClient, store: Store) -> None:
    response = client.post("/api/v1/profiles", json={"device": "jetson-nano", "minutes": 1})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/api/v1/profiles/{job['job_id']}"
    assert (job["state"], job["device"], job["minutes"], job["base"]) == ("queued", "jetson-nano", 1, "vit_s14_focus")
    assert [row["job_id"] for row in client.get("/api/v1/profiles").json()["rows"]] == [job["job_id"]]
    place = f"/api/v1/profiles/{job['job_id']}"
    assert client.post(f"{place}/resume").status_code == 409
    assert client.post(f"{place}/cancel").json()["state"] == "interrupted"
    assert [event["event"] for event in events_of(client.get(f"{place}/events").text)] == ["state", "state", "end"]
    assert client.get(f"{place}/log").json()["count"] == 2
    assert client.post(f"{place}/cancel").status_code == 409
    resumed = client.post(f"{place}/resume")
    assert resumed.status_code == 202
    assert resumed.json()["job_id"] != job["job_id"]
    assert client.post("/api/v1/profiles", json={"device": "nothing"}).status_code == 422


def test_queue_has_an_end(store: Store, tmp_path: Path) -> None:
    client = client_of(store, tmp_path, max_active_jobs=2)
    found = [client.post("/api/v1/searches", json={"budget_ms": 5.0}).status_code for _ in range(3)]
    assert found == [202, 202, 429]


def test_state_follows_whichever_ended_last(client: TestClient, store: Store) -> None:
    def state() -> str:
        found: str = client.get("/api/v1/searches/mine").json()["state"]
        return found

    client.post("/api/v1/searches", json={"budget_ms": 5.5, "study": "mine"})
    claim = store.claim_job()
    assert claim is not None
    assert state() == "running"
    store.finish_job(claim, "failed", problem={"message": "no base there", "hint": "name one", "exit_code": 2})
    failed = client.get("/api/v1/searches/mine").json()
    assert (failed["state"], failed["problem"]["message"]) == ("failed", "no base there")
    (device_id,) = {record.spec.device_id for record in store.devices()}
    search = store.start_search(
        "mine", SearchTerms(device_id=device_id, budget_ms=5.5, seed=0, settings=failed["settings"])
    )
    assert state() == "running"  # taken up on the command line
    store.finish_search(search, "infeasible", result={"schema": "nuwa.search/1"})
    assert state() == "infeasible"
    rows = client.get("/api/v1/searches", params={"state": "infeasible"}).json()["rows"]
    assert [row["study"] for row in rows] == ["mine"]


def test_sizes_of_images_are_taken_in_each_spelling(client: TestClient, store: Store) -> None:
    for number, told in enumerate(("64x48", [64, 48])):
        asked = {"budget_ms": 5.5, "study": f"sized-{number}", "img_size": told, "img_sizes": [told, "32", 16]}
        assert client.post("/api/v1/searches", json=asked).status_code == 202
        assert client.get(f"/api/v1/searches/sized-{number}").json()["settings"]["img_size"] == [64, 48]
        job = next(job for job in store.jobs(kind="search", limit=10, offset=0) if job.study == asked["study"])
        assert job.settings["request"]["img_sizes"] == [[64, 48], 32, 16]
    profile = client.post("/api/v1/profiles", json={"device": "jetson-nano", "img_size": "64x48"})
    assert (profile.status_code, profile.json()["img_size"]) == (202, [64, 48])
    for wrong in ("64x", "0x64", [64], [64, 48, 3], [64, 0], 0, "64x48x3"):
        assert client.post("/api/v1/searches", json={"budget_ms": 5.5, "img_size": wrong}).status_code == 422
