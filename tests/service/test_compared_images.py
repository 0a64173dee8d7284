"""Pictures of test images with truth, base and winner, as a search's bundle holds them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nuwa_search.service.api.routes.compared import MAX_COMPARED, MAX_PICTURE_BYTES
from nuwa_search.store.records import SearchTerms
from nuwa_search.store.store import Store, open_store
from tests.support.api_client import client_of
from tests.support.store_values import NANO, record_basics

PICTURE = b"\x89PNG and so on"
ROW = {"picture": "00.png", "image": "/data/test/images/7.jpg", "classes": ["crack"], "miou_base": 0.5, "miou": 0.4}
IOU = {"iou_base": {"crack": 0.5}, "iou": {"crack": 0.4}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "nuwa.sqlite")) as opened:
        record_basics(opened)
        yield opened


def finish(store: Store, study: str, bundle: Path | None) -> None:
    claim = store.start_search(study, SearchTerms(device_id=NANO.device_id, budget_ms=5.0, seed=0, settings={}))
    store.finish_search(claim, "done", result={"artifacts": {"dir": None if bundle is None else str(bundle)}})


def write(bundle: Path, *, num: int = 1) -> Path:
    folder = bundle / "compared"
    folder.mkdir(parents=True)
    (folder / "compared.json").write_text(json.dumps({"images": [ROW] * num}))
    (folder / "00.png").write_bytes(PICTURE)
    return folder


def test_the_list_and_the_pictures_are_shown_and_nothing_else(store: Store, tmp_path: Path) -> None:
    root = tmp_path / "shown"
    folder = write(root / "bundle", num=MAX_COMPARED + 5)
    finish(store, "mine", root / "bundle")
    client = client_of(store, root)
    images = client.get("/api/v1/searches/mine/compared").json()["images"]
    assert len(images) == MAX_COMPARED, "no more than are ever made"
    older = {"number": 0, "image": "7.jpg", "classes": ["crack"], "miou_base": 0.5, "miou": 0.4}
    assert images[0] == older | {"iou_base": None, "iou": None}
    (folder / "compared.json").write_text(json.dumps({"colours": {"crack": "#ff0000"}, "images": [ROW | IOU]}))
    told = client.get("/api/v1/searches/mine/compared").json()
    assert (told["colours"], told["images"]) == ({"crack": "#ff0000"}, [older | IOU])
    answer = client.get("/api/v1/searches/mine/compared/0.png")
    assert (answer.content, answer.headers["content-type"]) == (PICTURE, "image/png")
    assert client.get("/api/v1/searches/mine/compared/1.png").status_code == 404
    assert client.get(f"/api/v1/searches/mine/compared/{MAX_COMPARED}.png").status_code == 422
    (folder / "00.png").write_bytes(bytes(MAX_PICTURE_BYTES + 1))
    assert client.get("/api/v1/searches/mine/compared/0.png").status_code == 404
    (folder / "compared.json").write_text("[1]")
    assert client.get("/api/v1/searches/mine/compared").status_code == 404


def test_a_bundle_elsewhere_or_none_is_not_found(store: Store, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere")
    finish(store, "outside", tmp_path / "elsewhere")
    finish(store, "nothing", None)
    (tmp_path / "shown").mkdir()
    client = client_of(store, tmp_path / "shown")
    for study in ("outside", "nothing", "unknown"):
        for path in ("compared", "compared/0.png"):
            assert client.get(f"/api/v1/searches/{study}/{path}").status_code == 404, (study, path)
