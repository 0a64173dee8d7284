"""Test images that a cut lost: which they are, and that the service shows them and no other file."""

import io
import json
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from pyarrow import parquet

from nuwa_search.core.images import ImageSet
from nuwa_search.search.job.lost import lost_images
from nuwa_search.search.job.lost_files import lost_files
from nuwa_search.search.lost_images import MAX_KEPT, LostImages
from nuwa_search.service.cli.main import cli
from nuwa_search.store.records import SearchTerms
from nuwa_search.store.store import Store, open_store
from tests.support.api_client import client_of
from tests.support.page_store import BUDGET_MS, seed_page_store
from tests.support.store_values import NANO

NAMES = ("bus", "van")


def png(seed: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (200, 120, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "data" / "test" / "bus"
    place.mkdir(parents=True)
    for number in range(3):
        (place / f"{number}.png").write_bytes(png(number))
    return tmp_path / "data"


def compared(folder: Path) -> LostImages:
    """Two lost (1 surer than 0), one right by both."""
    files = sorted((folder / "test" / "bus").iterdir())
    images = ImageSet(files, np.zeros(3, np.int64), NAMES, str(folder))
    base = torch.tensor([[2.0, 0.0]] * 3)
    winner = torch.tensor([[0.0, 1.0], [0.0, 5.0], [1.0, 0.0]])
    return lost_images(images, base, winner, data=str(folder))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "nuwa.sqlite")) as opened:
        seed_page_store(opened, tmp_path, num_subnets=3)
        yield opened


def client_for(store: Store, root: Path, lost: LostImages, data: str, *, bundle: Path | None = None) -> TestClient:
    settings = {"budget_ms": BUDGET_MS, "device": NANO.name, "base": "default", "trials": 1, "data": data}
    claim = store.start_search(
        "mine", SearchTerms(device_id=NANO.device_id, budget_ms=BUDGET_MS, seed=0, settings=settings)
    )
    store.finish_search(
        claim,
        "done",
        result={"schema": "nuwa.search/1", "lost_images": lost.to_json(), "artifacts": {"dir": str(bundle)}},
    )
    return client_of(store, root)


def test_the_surest_mistakes_come_first_and_few_are_kept(folder: Path) -> None:
    found = compared(folder)
    assert (found.num_lost, found.num_won) == (2, 0)
    assert [(one.file, one.label, one.base, one.winner) for one in found.images] == [
        ("test/bus/1.png", "bus", "bus", "van"),
        ("test/bus/0.png", "bus", "bus", "van"),
    ]
    many = ImageSet([bytes([n]) for n in range(100)], np.zeros(100, np.int64), NAMES, "here")
    right, wrong = torch.tensor([[1.0, 0.0]] * 100), torch.tensor([[0.0, 1.0]] * 100)
    assert len(lost_images(many, right, wrong, data="hub/name").images) == MAX_KEPT
    assert lost_images(many, wrong, right, data="hub/name") == LostImages(0, 100, ())


def test_the_service_shows_them_small_and_only_as_they_were(store: Store, tmp_path: Path, folder: Path) -> None:
    client = client_for(store, tmp_path, compared(folder), str(folder))
    answer = client.get("/api/v1/searches/mine/lost/0.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(answer.content)).size == (58, 96)
    assert client.get("/api/v1/searches/mine/lost/2.png").status_code == 404
    (folder / "test" / "bus" / "1.png").write_bytes(png(9))
    assert client.get("/api/v1/searches/mine/lost/0.png").status_code == 404
    (folder / "test" / "bus" / "0.png").unlink()
    assert "not in" in client.get("/api/v1/searches/mine/lost/1.png").json()["detail"]


def test_the_bundle_holds_their_list_and_pictures_which_the_service_falls_back_to(
    store: Store, tmp_path: Path, folder: Path
) -> None:
    lost = compared(folder)
    files = sorted((folder / "test" / "bus").iterdir())
    made = dict(lost_files(lost, ImageSet(files, np.zeros(3, np.int64), NAMES, str(folder))))
    assert sorted(made) == ["00.png", "01.png", "lost.json"]
    listed = json.loads(made["lost.json"])
    assert listed["images"][0] == {"picture": "00.png", **lost.to_json()["images"][0]}
    assert Image.open(io.BytesIO(made["01.png"])).size == (58, 96)
    assert lost_files(LostImages(0, 3, ()), ImageSet(files, np.zeros(3, np.int64), NAMES, "")) == ()
    bundle = tmp_path / "bundle"
    (bundle / "lost_images").mkdir(parents=True)
    for name, content in made.items():
        (bundle / "lost_images" / name).write_bytes(content)
    shutil.rmtree(folder)
    client = client_for(store, tmp_path, lost, str(folder), bundle=bundle)
    assert client.get("/api/v1/searches/mine/lost/1.png").content == made["01.png"]
    (bundle / "lost_images" / "lost.json").write_text('{"images": [{"hash": "another"}]}')
    assert client.get("/api/v1/searches/mine/lost/0.png").status_code == 404


def test_nothing_outside_the_data_or_the_roots_is_shown(store: Store, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(1))  # the content that is asked for, in another place
    found = compared(folder)
    first = found.images[0]
    (folder / "test" / "bus" / "1.png").unlink()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    ways = ("../secret.png", str(tmp_path / "secret.png"), "link.png", "test/bus", "\0")
    asked = [type(first)(**{**vars(first), "file": way}) for way in ways]
    client = client_for(store, tmp_path, LostImages(5, 0, asked), str(folder))
    answers = [client.get(f"/api/v1/searches/mine/lost/{number}.png").status_code for number in range(5)]
    assert answers == [404] * 5
    elsewhere = client_of(store, tmp_path / "data" / "test")  # the data lies above its only root
    assert elsewhere.get("/api/v1/searches/mine/lost/0.png").status_code == 422


def test_images_in_parquet_files_are_found_by_their_content(store: Store, tmp_path: Path, folder: Path) -> None:
    contents = [png(number) for number in range(3)]
    file = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"image": [{"bytes": c} for c in contents], "label": ["bus"] * 3}), file)
    images = ImageSet(contents, np.zeros(3, np.int64), NAMES, str(file))
    lost = lost_images(images, torch.tensor([[2.0, 0.0]] * 3), torch.tensor([[0.0, 5.0]] * 3), data=str(file))
    assert [one.file for one in lost.images] == [None] * 3
    client = client_for(store, tmp_path, lost, str(file))
    shown = Image.open(io.BytesIO(client.get("/api/v1/searches/mine/lost/1.png").content))
    whole = Image.open(io.BytesIO(contents[1])).convert("RGB")
    whole.thumbnail((96, 96), Image.Resampling.LANCZOS)
    assert np.array_equal(np.asarray(shown), np.asarray(whole))


def test_commands_in_answers_name_the_database_and_are_ones_that_we_have(store: Store, tmp_path: Path) -> None:
    client = client_of(store, tmp_path)
    rows = client.get("/api/v1/subnets?limit=5").json()["rows"]
    documents = [client.get(f"/api/v1/subnets/{row['subnet_id']}").json() for row in rows]
    documents.append(client.get(f"/api/v1/searches/{rows[0]['study']}").json())
    lines = {one["command"] for document in documents for one in document["commands"]}
    ours = [shlex.split(line) for line in lines if line.startswith("nuwa")]
    assert {tuple(words[:2])[-1] for words in ours} >= {"derive", "verify", "measure", "predict"}
    for words in ours:
        assert words[words.index("--db") + 1] == str(tmp_path / "nuwa.sqlite")
        verb, *rest = ["search", *words[1:]] if words[0] == "nuwa-search" else words[1:]
        group = click.Context(cli, info_name="nuwa")
        found = cli.get_command(group, verb)
        assert found is not None
        found.make_context(verb, rest, parent=group)  # parses as pasted, and runs nothing
