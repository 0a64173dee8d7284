"""``nuwa collaborate`` as a person types it: kits, a probe, a run and a benchmark, and lines that are wrong."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nuwa_search.deploy.assets.board import BoardServer
from nuwa_search.deploy.collaborate.layout import read_collaboration
from nuwa_search.deploy.collaborate.network import message_bytes, read_network
from nuwa_search.service.cli.main import cli, run
from tests.support.toy_collaboration import BOARDS, DIM, LABELS, toy_images, write_toy_collaboration


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collaboration ``c`` and its images ``data``."""
    folder = tmp_path_factory.mktemp("collaborate")
    write_toy_collaboration(folder / "c")
    for number, (image, label) in enumerate(zip(*toy_images(16), strict=True)):
        path = folder / "data" / "test" / LABELS[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return folder


def answer_of(capsys: pytest.CaptureFixture[str], *line: object) -> Any:
    assert run(cli, ["collaborate", *map(str, line), "--json"], prog_name="nuwa") == 0
    return json.loads(capsys.readouterr().out)


@contextmanager
def served(kits: Path, address: str) -> Iterator[None]:
    boards = [BoardServer(kits / name, coordinator=address, say=lambda _: None) for name in BOARDS]
    threads = [threading.Thread(target=board.serve) for board in boards]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for board, thread in zip(boards, threads, strict=True):
            board.stop()
            thread.join()


def test_boards_are_prepared_probed_and_answer_images(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = answer_of(capsys, "up", place / "c", "-o", tmp_path / "kits")
    assert told["schema"] == "nuwa.collaborate-up/1"
    assert [row["board"] for row in told["boards"]] == list(BOARDS)
    at = f"ipc://{tmp_path}/wire"  # no port that another test may have
    with served(tmp_path / "kits", at):
        network = answer_of(capsys, "probe", place / "c", "--listen", at, "--pings", 5, "-o", tmp_path / "n.json")
        assert network["schema"] == "nuwa.network/1"
        assert read_network(tmp_path / "n.json").provenance == "measured"
        assert all(link["down_mbit"] > 0 and link["rtt_p50_ms"] > 0 for link in network["links"])
        assert all(
            0 < ms < 1000
            for ms in [network["all_message_ms"], network["all_rtt_ms"], *(m["message_ms"] for m in network["links"])]
        )
        options = ("--listen", at, "--deadline-ms", 20_000, "--mode", "fuse")
        ran = answer_of(capsys, "run", place / "c", place / "data" / "test" / "red", *options)
        assert [image["label"] for image in ran["images"]] == ["red", "red"]
        assert {tuple(image["boards"]) for image in ran["images"]} == {BOARDS}
        bench = answer_of(capsys, "bench", place / "c", "--data", place / "data", "--images", 8, *options)
    assert (bench["num_images"], bench["top1"], bench["num_unanswered"]) == (8, 1.0, 0)
    assert bench["took_part"] == dict.fromkeys(BOARDS, 1.0)
    assert bench["provenance"] == "measured"
    image_bytes = read_collaboration(place / "c")[0].image_bytes
    assert bench["bytes_per_image"] == 4 * (image_bytes + 4 * DIM)
    assert bench["images_per_s"] > 0


def predicted(capsys: pytest.CaptureFixture[str], *line: object) -> Any:
    assert run(cli, ["predict", *map(str, line), "--json"], prog_name="nuwa") == 0
    return json.loads(capsys.readouterr().out)


def test_a_collaboration_is_predicted_on_its_own_network_and_on_another(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ("--db", tmp_path / "n.sqlite")
    found = predicted(capsys, place / "c", *at)
    assert found["schema"] == "nuwa.predict-collaboration/1"
    assert found["boards"] == dict.fromkeys(BOARDS, "jetson-nano")
    assert [way["mode"] for way in found["modes"]] == ["fuse", "any", "route"]
    assert found["modes"][2]["predicted_mean_ms"] is None, "made without the shares of routed images"
    whole, image, answer = read_collaboration(place / "c")[0], message_bytes(240), message_bytes(4 * DIM)
    wire_ms = 8e-3 * (4 * image + answer)  # at a megabit; the coordinator's link carries all four images
    fuse = found["modes"][0]
    assert fuse["predicted_p50_ms"] == pytest.approx(5 + wire_ms / 1000 + 0.5 + whole.fusion_ms, rel=1e-4)
    slow = predicted(capsys, place / "c" / "collaboration.json", "--network", "10mbit,5ms", *at)["modes"][0]
    assert slow["predicted_p50_ms"] == pytest.approx(5 + wire_ms / 10 + 10 + whole.fusion_ms, rel=1e-4)
    assert slow["predicted_images_per_s"] == pytest.approx(1000 / 5)
    for words, said in (
        ([place / "c", "--device", "jetson-nano"], "leave --device out"),
        (["nothing", "--network", "10mbit,5ms"], "leave --network out"),
        ([place / "c", "--network", "fast"], "a rate and the delay of one way"),
    ):
        assert run(cli, ["predict", *map(str, [*words, *at])], prog_name="nuwa") == 2
        assert said in capsys.readouterr().err


def test_boards_can_be_started_here(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ("run", place / "c", place / "data" / "test" / "blue", "--start", "--mode", "any", "--deadline-ms", 20_000)
    told = answer_of(capsys, *line)
    assert [image["label"] for image in told["images"]] == ["blue", "blue"]


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("up -o {tmp}/k", 2, "name a collaboration or boards"),
        ("up {place}/c", 2, "need a place"),
        ("up {place}/nowhere -o {tmp}/k", 2, "there is no folder"),
        ("up {place}/data -o {tmp}/k", 2, "collaboration.json is missing"),
        ("up --board a/b -o {tmp}/k", 2, "letters, digits"),
        ("probe --board a --listen tcp://0.0.0.0:5577", 2, "no keys were named"),
        ("probe --board a --listen ipc://{tmp}/s --wait-s 0.01", 3, "board a did not come"),
        ("run {place}/c {place}/data --listen nowhere", 2, "no address to listen at"),
        ("run {place}/c {place}/data --listen tcp://192.0.2.1:5577 --keys {tmp}", 2, "keys.json is missing"),
        ("run {place}/c {place}/data --listen tcp://0.0.0.0:1", 2, "no keys were named"),
        ("run {place}/c {place}/data/nothing.png --start", 2, "nothing.png is missing"),
        ("run {place}/c {place}/c/boards", 2, "no images in"),
        ("run {place}/c {place}/data --emulate-pace", 2, "add --start"),
        ("run {place}/c {place}/data --listen ipc://{tmp}/s --wait-s 0.01", 3, "no board of nano-1"),
        ("bench {place}/c", 2, "needs images with classes"),
        ("bench {place}/c --data {place}/nothing", 2, "nothing"),
    ],
)
def test_a_line_that_is_wrong_is_answered_in_a_sentence(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, code: int, said: str
) -> None:
    words = line.format(place=place, tmp=tmp_path).split()
    assert run(cli, ["collaborate", *words], prog_name="nuwa") == code
    told = capsys.readouterr()
    assert said in told.err
    assert "Traceback" not in told.err


def test_other_images_are_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test" / "zebra").mkdir(parents=True)
    (tmp_path / "test" / "quagga").mkdir()
    for name in ("zebra", "quagga"):
        Image.new("RGB", (8, 8)).save(tmp_path / "test" / name / "1.png")
    assert run(cli, ["collaborate", "bench", str(place / "c"), "--data", str(tmp_path)], prog_name="nuwa") == 2
    assert "has none of the collaboration's classes" in capsys.readouterr().err
