"""What the API answers about what is known: the words and figures of the command line."""

import io
import json
import shlex
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nuwa_search.core.arch import dict_from_arch
from nuwa_search.search.front import hypervolume
from nuwa_search.service.api.hypervolume import with_hypervolume
from nuwa_search.service.api.subnet_parts import CertificatePart
from nuwa_search.service.api.subnet_view import budgets_again
from nuwa_search.service.cli.main import cli, run
from nuwa_search.store.store import Store, open_store
from tests.support.api_client import client_of
from tests.support.page_store import BASE, STUDY, VEHICLES, Seeded, seed_page_store
from tests.support.store_values import NANO


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[Store]:
    with open_store(str(folder / "nuwa.sqlite")) as opened:
        yield opened


@pytest.fixture(scope="module")
def seeded(store: Store, folder: Path) -> Seeded:
    return seed_page_store(store, folder)


@pytest.fixture(scope="module")
def client(store: Store, seeded: Seeded, folder: Path) -> TestClient:
    return client_of(store, folder)


def get(client: TestClient, path: str, **params: Any) -> dict[str, Any]:
    response = client.get(f"/api/v1{path}", params=params)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


@pytest.mark.parametrize(
    ("flags", "params"),
    [
        ([], {}),
        (["--device", "jetson-nano", "--max-ms", "5"], {"device": "jetson-nano", "max_ms": 5}),
        (["--sort", "latency"], {"sort": "latency"}),
        (["--pareto"], {"pareto": True}),
        (["--classes", "tiger,lion", "--min-top1", "0.5"], {"classes": "tiger,lion", "min_top1": 0.5}),
        (["--measured-only", "--base", "vit-small"], {"measured_only": True, "base": "vit-small"}),
    ],
)
def test_subnets_are_those_of_nuwa_query(
    client: TestClient, folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], params: dict[str, Any]
) -> None:
    assert run(cli, ["query", "--json", "--db", str(folder / "nuwa.sqlite"), *flags], prog_name="nuwa") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"]
    answer = get(client, "/subnets", limit=1000, **params)
    assert answer["next_offset"] is None
    assert {name: answer[name] for name in told} == told


def test_pages_join_to_the_whole(client: TestClient) -> None:
    whole = get(client, "/subnets", sort="latency", limit=1000)["rows"]
    rows: list[dict[str, Any]] = []
    offset: int | None = 0
    while offset is not None:
        page = get(client, "/subnets", sort="latency", limit=20, offset=offset)
        rows += page["rows"]
        offset = page["next_offset"]
    assert rows == whole


def test_subnets_as_csv(client: TestClient) -> None:
    response = client.get("/api/v1/subnets", params={"format": "csv", "limit": 3})
    assert response.headers["content-type"].startswith("text/csv")
    assert response.headers["content-disposition"].startswith("attachment")
    lines = response.text.splitlines()
    assert len(lines) == 4
    assert "subnet_id" in lines[0].split(",")


def test_subnet_tells_everything(client: TestClient, seeded: Seeded, store: Store) -> None:
    found = get(client, f"/subnets/{seeded.winner_id}")
    record = store.load_subnet(seeded.winner_id)
    assert found["arch"] == dict_from_arch(record.arch) == found["arch"]
    assert found["base"]["base_id"] == BASE.base_id
    assert [row["kept"] for row in found["blocks"]] == [not block.is_empty for block in record.arch.blocks]
    kept, theirs = found["blocks"][2], BASE.arch.blocks[2]
    assert (kept["mlp_width"], kept["base_mlp_width"], kept["mlp_share"]) == (384, theirs.mlp_width, 0.5)
    assert [step["step"] for step in found["lineage"]] == ["base", "task", "derivation", "certificate"]
    (latency,) = found["latencies"]
    assert latency["measured_latency_ms"] == seeded.winner_ms
    (measurement,) = found["measurements"]
    assert measurement["measurement_id"] == latency["measurement_id"]
    assert measurement["latency_ms"]["median"] == seeded.winner_ms
    assert measurement["protocol"]["protocol_id"]
    assert sum(kernel["ms"] for kernel in measurement["breakdown"]) == pytest.approx(seeded.winner_ms)
    (certificate,) = found["certificates"]
    assert certificate["certificate"]["schema"] == "nuwa.certificate/1"
    files = {row["name"]: row for row in found["bundle"]["files"]}
    assert not files["arch.json"]["is_missing"]
    assert files["model.onnx"]["is_missing"]  # certified, and not there
    assert any("nuwa verify" in line["command"] for line in found["commands"])
    (again,) = [line["command"] for line in found["commands"] if line["what"] == "search again"]
    about = ["--base", BASE.name, "--data", found["task"]["data"], "--classes", ",".join(found["task"]["classes"])]
    assert shlex.join([*about, "--db"]) in again
    assert any(f"nuwa derive --subnet {found['subnet_id']} -o " in line["command"] for line in found["commands"])


def test_a_subnet_that_several_boards_certified_is_searched_for_all_again() -> None:
    def certificate(device: str, budget_ms: float) -> CertificatePart:
        return CertificatePart(
            certificate_id="c", verdict="met", budget_ms=budget_ms, measured_latency_ms=1.0, provenance="measured",
            device=device, measurement_id=None, created_at="", path=None, is_missing=False, certificate=None,
        )  # fmt: skip

    newest_first = [certificate("b", 8.0), certificate("a", 30.0), certificate("b", 9.0)]
    assert budgets_again(newest_first) == "--budget-ms 30@a --budget-ms 8@b"
    assert budgets_again(newest_first[2:]) == "--budget-ms 9 --device b"


def test_bundle_that_is_gone_is_said(client: TestClient, seeded: Seeded) -> None:
    found = get(client, f"/subnets/{seeded.lost_id}")
    assert found["bundle"]["is_missing"]
    assert found["certificates"][0]["is_missing"]
    response = client.get(f"/api/v1/subnets/{seeded.lost_id}/bundle.zip")
    assert response.status_code == 404


def test_downloads(client: TestClient, seeded: Seeded, folder: Path) -> None:
    content = (folder / "winner" / "arch.json").read_bytes()
    file = client.get(f"/api/v1/subnets/{seeded.winner_id}/files/arch.json")
    assert file.content == content
    assert file.headers["content-type"] == "application/octet-stream"
    archive = client.get(f"/api/v1/subnets/{seeded.winner_id}/bundle.zip")
    with zipfile.ZipFile(io.BytesIO(archive.content)) as bundle:
        assert bundle.read("winner/arch.json") == content
        assert set(bundle.namelist()) == {f"winner/{path.name}" for path in (folder / "winner").iterdir()}


def test_download_that_broke_off_goes_on(
    client: TestClient, seeded: Seeded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    url = f"/api/v1/subnets/{seeded.winner_id}/bundle.zip"
    whole = client.get(url)
    resume = {"Range": "bytes=100-", "If-Range": whole.headers["etag"]}
    rest = client.get(url, headers=resume)
    assert rest.status_code == 206
    assert whole.content[:100] + rest.content == whole.content
    other = client.get(url, headers=resume | {"If-Range": '"of another archive"'})
    assert (other.status_code, other.content) == (200, whole.content)
    assert client.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416
    assert list(tmp_path.iterdir()) == []  # no archive stays


def test_device_its_table_and_its_models(client: TestClient) -> None:
    rows = get(client, "/devices")["rows"]
    assert {"jetson-nano", "jetson-tx2", "host"} <= {row["name"] for row in rows}
    recorded = next(row for row in rows if row["device_id"] == NANO.device_id)
    assert (recorded["num_subnets"], recorded["num_measurements"], recorded["predictor_id"]) == (47, 2, "predictor-0")
    device = get(client, "/devices/jetson-nano")
    assert device["device"]["device_id"] == NANO.device_id  # what is known of, not the untouched built-in one
    assert device["predictors"][0]["report"]["mape"] == 0.005
    coverage = get(client, "/devices/jetson-nano/coverage", limit=10)
    assert (coverage["count"], len(coverage["rows"]), coverage["next_offset"]) == (24, 10, 10)
    assert coverage["axes"]["attn"]["num_heads"] == [2, 4, 6]
    table = get(client, f"/tables/{coverage['rows'][0]['lut_id']}", limit=24)
    assert table["rows"][:10] == coverage["rows"]
    models = get(client, "/devices/jetson-nano/models")
    assert {row["measured_latency_ms"] for row in models["rows"]} == {4.93, 6.2}
    assert all(row["predicted_latency_ms"] is None for row in models["rows"])  # this predictor is no real one
    assert get(client, f"/archs/{models['rows'][0]['arch_id']}")["macs"] > 0


def test_tasks_bases_and_budgets(client: TestClient, seeded: Seeded) -> None:
    tasks = {row["task_id"]: row["num_subnets"] for row in get(client, "/tasks", device="jetson-nano")["rows"]}
    assert tasks == {"task-0": 42, "task-1": 5}
    assert get(client, "/tasks", device="host")["rows"] == []
    (mark,) = get(client, "/bases", device="jetson-nano", task_id=VEHICLES.task_id)["rows"]
    assert (mark["latency_ms"], mark["top1_restricted"], mark["study"]) == (11.9, 0.876, STUDY)
    (budget,) = get(client, "/budgets", device="jetson-nano", max_ms=5, classes=",".join(VEHICLES.classes))["rows"]
    assert budget["best"]["subnet_id"] == seeded.winner_id
    assert all(step["extra_ms"] > 0 and step["extra_top1"] > 0 for step in budget["steps_up"])


def test_searches(client: TestClient, seeded: Seeded) -> None:
    (row,) = get(client, "/searches", state="done")["rows"]
    assert (row["study"], row["verdict"], row["subnet_id"]) == (STUDY, "met (emulated)", seeded.winner_id)
    assert get(client, "/searches", state="failed")["rows"] == []
    one = get(client, f"/searches/{STUDY}")
    assert (one["can_cancel"], one["can_resume"], one["job"]) == (False, True, None)
    assert one["result"]["schema"] == "nuwa.search/1"
    assert get(client, f"/searches/{STUDY}/trials")["rows"] == []


@pytest.mark.parametrize(
    "path",
    [
        *("/devices/nothing", "/devices/nothing/coverage", "/tables/nothing", "/archs/nothing", "/subnets/nothing"),
        *("/subnets/nothing/bundle.zip", "/searches/nothing", "/searches/nothing/trials", "/searches/nothing/events"),
        *("/profiles/nothing", "/profiles/nothing/events", "/nothing", "/devices/"),
    ],
)
def test_what_is_not_there_is_a_problem_with_a_hint(client: TestClient, path: str) -> None:
    response = client.get(f"/api/v1{path}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == 404
    assert problem["detail"]
    assert problem["hint"]


def test_hypervolume_grows_to_that_of_the_front() -> None:
    points = [(5.0, 0.5), (4.0, 0.6), (4.5, 0.3), (6.0, 0.2), (4.6, 0.4)]
    trials = [{"state": "scored", "predicted_latency_ms": t, "kl": c} for t, c in points]
    trials.insert(2, {"state": "infeasible", "predicted_latency_ms": 9.0, "kl": None})
    rows, reference = with_hypervolume(trials)
    assert reference == {"latency_ms": 6.0, "kl": 0.6}
    by_hand = [hypervolume(*zip(*points[: k + 1], strict=True), reference=(6.0, 0.6)) for k in range(len(points))]
    values = [row["hypervolume"] for row in rows]
    assert values[:2] + values[3:] == pytest.approx(by_hand)
    assert values == sorted(values)
    assert [row["is_on_front"] for row in rows] == [False, True, False, True, True, False]
    assert with_hypervolume([])[1] is None


def test_health_metrics_and_the_page(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json()["status"] == "ready"
    client.get("/api/v1/devices/nothing")
    metrics = client.get("/metrics").text
    assert 'nuwa_http_requests_total{method="GET",route="/devices/{device}",status="404"}' in metrics
    assert "nuwa_workers 0.0" in metrics
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script src=" in page.text
    script = client.get("/web/js/app.js")
    assert "javascript" in script.headers["content-type"]


def test_options_name_what_is_there(client: TestClient, folder: Path) -> None:
    options = get(client, "/options")
    assert options["roots"] == [str(folder.resolve())]
    assert options["defaults"]["trials"] == 60
    assert options["num_workers"] == 0


def test_bundle_that_another_search_wrote_over_is_not_shown_as_its_own(
    client: TestClient, seeded: Seeded, folder: Path
) -> None:
    path = folder / "winner" / "certificate.json"
    before = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(before) | {"subnet_id": "another-subnet"}))
        found = get(client, f"/subnets/{seeded.winner_id}")
        assert found["bundle"]["is_missing"]
        assert found["bundle"]["files"] == []
        mine = [one for one in found["certificates"] if one["path"] == str(path)]
        assert mine
        assert all(one["is_missing"] and one["certificate"] is None for one in mine)
        assert client.get(f"/api/v1/subnets/{seeded.winner_id}/bundle.zip").status_code == 404
    finally:
        path.write_text(before)
