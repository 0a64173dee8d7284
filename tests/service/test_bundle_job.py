"""A bundle of any stored subnet: asked for over HTTP, made by a worker, listed and downloaded."""

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import nuwa_search
from nuwa_search.core.base import load_base
from nuwa_search.service.api.app import create_app
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.store.records import FinetuneRecord, SubnetRecord
from nuwa_search.store.store import Store, open_store
from tests.support.api_client import URL
from tests.support.toy_jobs import work_off


@dataclass(frozen=True)
class Place:
    """A database with one subnet that was cut once, and no folder of it."""

    store: Store
    folder: Path
    subnet_id: str
    sources: tuple[Path, Path]

    @property
    def path(self) -> str:
        return f"/api/v1/subnets/{self.subnet_id}"

    def client(self, *roots: Path) -> TestClient:
        settings = ServiceSettings(roots=(self.folder.resolve(), *roots), requests_per_s=1e6, burst=10**6)
        return TestClient(create_app(self.store, settings), base_url=URL)


@pytest.fixture(scope="module")
def cut(
    tmp_path_factory: pytest.TempPathFactory, profiled_db: Path, toy_base: Path, toy_images: Path
) -> tuple[Path, str]:
    """A database with a subnet that was cut once into a folder that is gone, and its id."""
    folder = tmp_path_factory.mktemp("cut")
    db = Path(shutil.copy(profiled_db, folder / "nuwa.sqlite"))
    arch = load_base(str(toy_base)).arch
    narrow = replace(arch, blocks=tuple(replace(block, mlp_width=32) for block in arch.blocks))
    with nuwa_search.open(db, cache_dir=folder / "cache") as lab:
        once = lab.derive(narrow, output=folder / "once", base=toy_base, data=toy_images)
    shutil.rmtree(folder / "once")
    return db, once.subnet_id


@pytest.fixture
def place(tmp_path: Path, cut: tuple[Path, str], toy_base: Path, toy_images: Path) -> Iterator[Place]:
    with open_store(str(shutil.copy(cut[0], tmp_path / "nuwa.sqlite"))) as store:
        yield Place(store, tmp_path, cut[1], (toy_base.resolve(), toy_images.resolve()))


def test_a_subnet_becomes_a_bundle_on_request(place: Place) -> None:
    outside = place.client().post(f"{place.path}/bundle", json={})
    assert outside.status_code == 409
    assert "data roots" in outside.json()["detail"]
    assert f"nuwa derive --subnet {place.subnet_id}" in outside.json()["hint"]

    client = place.client(*place.sources)
    assert client.post(f"{place.path}/bundle", json={"device": "no-board"}).status_code == 422
    assert client.post("/api/v1/subnets/unknown/bundle", json={}).status_code == 404
    queued = client.post(f"{place.path}/bundle", json={"device": "jetson-nano", "budget_ms": 50.0})
    assert queued.status_code == 202
    job = queued.json()
    assert queued.headers["location"] == f"/api/v1/bundle-jobs/{job['job_id']}"
    again = client.post(f"{place.path}/bundle", json={})  # a second click
    assert again.json()["job_id"] == job["job_id"]
    assert client.get(place.path).json()["bundle_job"]["state"] == "queued"

    assert work_off(place.store, place.folder) == 1
    done = client.get(queued.headers["location"]).json()
    assert (done["state"], done["problem"]) == ("done", None)
    assert done["result"]["verdict"] == "met (emulated)"
    assert done["result"]["is_finetuned"] is False
    told = client.get(f"{queued.headers['location']}/log").json()["rows"]
    assert [row["data"]["text"] for row in told if row["kind"] == "step"][-1].startswith("exporting for jetson-nano")

    bundle = client.get(place.path).json()["bundle"]
    assert (bundle["is_missing"], bundle["is_finetuned"]) == (False, False)
    assert [(one["device"], one["budget_ms"]) for one in bundle["devices"]] == [("jetson-nano", 50.0)]
    packed = zipfile.ZipFile(io.BytesIO(client.get(bundle["zip"]).content))
    assert {f"subnet-{place.subnet_id}/{name}" for name in ("model.onnx", "certificate.json")} <= set(packed.namelist())
    assert client.post(f"{place.path}/bundle", json={}).status_code == 409  # it has one


def test_bundles_are_listed_with_their_own_certificates_only(place: Place) -> None:
    client = place.client(*place.sources)
    client.post(f"{place.path}/bundle", json={})
    assert work_off(place.store, place.folder) == 1

    def listed(**query: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = client.get("/api/v1/bundles", params=query).json()["rows"]
        return rows

    (row,) = listed()
    assert (row["subnet_id"], row["device"], row["verdict"]) == (place.subnet_id, "jetson-nano", "no budget")
    assert (row["is_certified"], row["is_finetuned"], row["is_served"]) == (False, False, True)
    assert row["measured_latency_ms"] > 0
    assert listed(device="jetson-orin-nano") == []
    with nuwa_search.open(place.folder / "nuwa.sqlite") as lab:
        (known,) = lab.query("bundles", device="jetson-nano")
        assert len(lab.query("bundles", device="jetson-orin-nano")) == 0
        assert list(lab.query("bundles").columns) == list(known)
    assert known == {name: value for name, value in row.items() if name not in ("is_served", "zip")}

    certificate = Path(row["bundle_dir"]) / "certificate.json"
    certificate.write_text(json.dumps(json.loads(certificate.read_text()) | {"subnet_id": "another"}))
    (row,) = listed()
    assert (row["bundle_is_missing"], row["is_served"], row["verdict"], row["devices"]) == (True, False, None, [])


def test_what_no_cut_gives_is_refused(place: Place) -> None:
    client = place.client(*place.sources)
    store, record = place.store, place.store.load_subnet(place.subnet_id)
    store.record_subnets([replace(record, subnet_id="small", derivation={"origin": "small-model"})])
    refused = client.post("/api/v1/subnets/small/bundle", json={})
    assert (refused.status_code, "trained, not cut" in refused.json()["detail"]) == (409, True)
    store.record_finetune(FinetuneRecord(place.subnet_id, {}, {}, "hash of trained weights", 1.0))
    refused = client.post(f"{place.path}/bundle", json={})  # its folder is gone, with the trained weights
    assert (refused.status_code, "fine-tuned" in refused.json()["detail"]) == (409, True)
    assert client.get(place.path).json()["bundle_job"] is None


def test_a_failed_job_says_why_and_can_be_asked_for_again(place: Place) -> None:
    other: SubnetRecord = replace(place.store.load_subnet(place.subnet_id), subnet_id="of-another-version")
    place.store.record_subnets([other])  # its options do not give its id
    client = place.client(*place.sources)
    first = client.post("/api/v1/subnets/of-another-version/bundle", json={}).json()
    assert work_off(place.store, place.folder) == 1
    failed = client.get("/api/v1/subnets/of-another-version").json()["bundle_job"]
    assert failed["state"] == "failed"
    assert "another version of the derivation" in failed["problem"]["message"]
    second = client.post("/api/v1/subnets/of-another-version/bundle", json={}).json()
    assert second["job_id"] != first["job_id"]
    assert client.post(f"/api/v1/bundle-jobs/{second['job_id']}/cancel").json()["state"] == "interrupted"
    assert [row["job_id"] for row in client.get("/api/v1/bundle-jobs").json()["rows"]] == [
        second["job_id"],
        first["job_id"],
    ]
