"""``nuwa decompose`` of images with masks: scores of patches from every board, fused patch by patch.

The searches are played: what they find is the base itself, for one of the boards with a block less.
"""

import dataclasses
import itertools
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from nuwa_search.core.base import load_base
from nuwa_search.core.tasks.patch_head import dense_model
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.assets.board import BoardServer
from nuwa_search.deploy.bundle import Bundle
from nuwa_search.deploy.collaborate.answer import CollaborativeAnswer
from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.layout import read_collaboration
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.search.request import SearchRequest
from nuwa_search.service.cli.main import cli, run
from tests.support.board_threads import BoardThreads
from tests.support.toy_masks import CLASSES, write_masks

GRID, PATCHES, IMAGE_BYTES = (4, 4), 16, 16 * 16 * 3
ANSWER_BYTES = PATCHES * len(CLASSES) * 4
TWO = ("jetson-nano-1", "jetson-nano-2")


def played_search(base: Path, asked: list[SearchRequest]) -> Callable[..., Bundle]:
    """Find the base for every request, with two blocks of three for the second."""
    whole = dense_model(load_base(str(base)).model, len(CLASSES))

    def find(request: SearchRequest, **_: object) -> Bundle:
        asked.append(request)
        arch = dataclasses.replace(whole.arch, blocks=whole.arch.blocks[: 2 if len(asked) == 2 else 3])
        model = PlainViT(arch)
        model.load_state_dict(whole.state_dict(), strict=False)
        proof = SimpleNamespace(measurement=SimpleNamespace(latency_ms=SimpleNamespace(median=2.0)))
        return cast(
            Bundle, SimpleNamespace(load_model=model.eval, subnet_id="played", arch=model.arch, certificate=proof)
        )

    return find


def given(image: Path) -> "np.typing.NDArray[np.uint8]":
    """Squash a picture to what the toy base takes."""
    with Image.open(image) as picture:
        return np.asarray(picture.convert("RGB").resize((16, 16), Image.Resampling.BICUBIC))


def fused_here(folder: Path, fusion: Fusion, image: "np.typing.NDArray[np.uint8]", present: tuple[int, ...]) -> Floats:
    """Run the graphs that are there in this process, and fuse one patch after another by the formula: (C, h, w)."""
    pixels = ((image.astype(np.float32) / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None]
    answers = []
    for k in range(2):
        session = onnxruntime.InferenceSession(folder / f"part-{k + 1}.onnx", providers=["CPUExecutionProvider"])
        (scores,) = session.run(None, {"images": pixels})
        assert scores.shape == (1, PATCHES, len(CLASSES))
        answers.append(scores[0] if k in present else np.zeros_like(scores[0]))
    out = np.zeros((len(CLASSES), *GRID), np.float32)
    for patch, (row, column) in enumerate(itertools.product(range(4), range(4))):
        read = np.concatenate([*(one[patch] for one in answers), [float(k in present) for k in range(2)]])
        hidden = np.maximum(read @ fusion.weights[0] + fusion.biases[0], 0)
        out[:, row, column] = hidden @ fusion.weights[1] + fusion.biases[1]
    return out


def is_near(answer: CollaborativeAnswer, wanted: Floats) -> bool:
    return answer.scores is not None and np.allclose(answer.scores, wanted, atol=1e-4)


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[Callable[[Path], BoardThreads]]:
    opened: list[BoardThreads] = []

    def start(folder: Path) -> BoardThreads:
        opened.append(BoardThreads(folder, read_collaboration(folder)[0], tmp_path / "kits"))
        opened[-1].start()
        return opened[-1]

    yield start
    for running in opened:
        running.close()


def test_boards_answer_for_pixels_from_the_command_to_the_wire(
    tmp_path: Path,
    toy_base: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    boards: Callable[[Path], BoardThreads],
) -> None:
    asked: list[SearchRequest] = []
    monkeypatch.setattr("nuwa_search.search.collaborate.decompose.find_part", played_search(toy_base, asked))
    images = write_masks(tmp_path / "masks", num_train=9, num_test=4)
    words = ["decompose", "--devices", "jetson-nano,jetson-nano", "--budget-ms", "6", "--base", str(toy_base)]
    words += ["--data", str(images), "--finetune-steps", "1", "--study", "toy", "-o", str(tmp_path / "out"), "--json"]
    words += ["--db", str(tmp_path / "nuwa.sqlite"), "--cache-dir", str(tmp_path / "cache")]
    assert run(cli, words, prog_name="nuwa") == 0
    answer = json.loads(capsys.readouterr().out)

    assert (answer["metric"], answer["grid"], answer["grouping"]["shared"]) == ("miou", [4, 4], ["background"])
    assert sorted(part["classes"] for part in answer["sub_models"]) == [["square"], ["stripe"]]
    assert sorted(request.classes or () for request in asked[:2]) == [("square",), ("stripe",)]
    assert asked[2].classes is None, "one board alone knows them all"
    assert [mode["mode"] for mode in answer["modes"]] == ["fuse", "any"]
    assert any("images are not routed" in note for note in answer["notes"])
    for mode in answer["modes"]:
        assert mode["bytes_per_image"] == 2 * (IMAGE_BYTES + ANSWER_BYTES)
        assert (mode["top1"], mode["top1_search"], mode["num_images"]) == (None, None, 4)
        assert mode["miou_interval"][0] <= mode["miou"] <= mode["miou_interval"][1]
    assert {part["answer_bytes"] for part in answer["sub_models"]} == {ANSWER_BYTES}
    rival, fuse = answer["rival"], answer["modes"][0]
    assert rival["is_better"] == (rival["miou_search"] >= fuse["miou_search"])
    assert rival["difference"] == pytest.approx(fuse["miou"] - rival["miou"])
    assert rival["latency_ms"] == pytest.approx(answer["base"]["latency_ms"], rel=0.2), "the base itself, timed alike"
    assert any("end at the scores of patches" in note for note in answer["notes"])

    folder = Path(answer["dir"])
    fusion = read_collaboration(folder)[1]
    running = boards(folder)
    running.coordinator.wait(timeout_s=20)
    pictures = sorted((images / "test" / "images").iterdir())
    shown = [given(path) for path in pictures]

    def answered(mode: str = "fuse") -> list[CollaborativeAnswer]:
        return list(running.coordinator.stream(shown, mode=mode, deadline_ms=20_000))

    for picture, one in zip(shown, answered(), strict=True):
        assert is_near(one, fused_here(folder, fusion, picture, (0, 1)))
        assert (one.label, one.boards) == (None, TWO)
        assert (one.bytes_sent, one.bytes_received) == (2 * IMAGE_BYTES, 2 * ANSWER_BYTES)
    running.end(TWO[0])
    while TWO[0] in running.coordinator.present:
        next(running.coordinator.stream(shown[:1], mode="fuse", deadline_ms=20_000))
    for mode in ("fuse", "any"):
        for picture, one in zip(shown, answered(mode), strict=True):
            assert is_near(one, fused_here(folder, fusion, picture, (1,)))
            assert one.boards == TWO[1:]

    running.close()
    miou = run_and_bench(folder, images, tmp_path, capsys)
    assert miou == pytest.approx(fuse["miou"], abs=0.02), "as the decomposition scored it"
    photos = Path(shutil.copytree(pictures[0].parent, tmp_path / "photos"))
    line = ["collaborate", "run", str(folder), str(photos), "--maps", str(photos)]
    before = pictures[0].read_bytes()
    assert run(cli, line, prog_name="nuwa") == 2
    assert "0.png is one of the images, and a label map would be written over it" in capsys.readouterr().err
    assert (photos / pictures[0].name).read_bytes() == before
    assert run(cli, ["query", "collaborations", "--json", "--db", words[-3]], prog_name="nuwa") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["top1"], row["miou"], row["rival_miou"]) == (None, fuse["miou"], rival["miou"])


@contextmanager
def served(kits: Path, address: str) -> Iterator[None]:
    """Run the boards' programs as threads."""
    programs = [BoardServer(kits / name, coordinator=address, say=lambda _: None) for name in TWO]
    threads = [threading.Thread(target=program.serve) for program in programs]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for program, thread in zip(programs, threads, strict=True):
            program.stop()
            thread.join()


def run_and_bench(folder: Path, images: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> float:
    """Hold mIoU of ``bench`` against that of the label maps that ``run`` writes, counted class by class."""
    maps, shown, at = place / "maps", images / "test" / "images", f"ipc://{place}/wire"
    use = ["--deadline-ms", "20000", "--listen", at, "--json"]
    with served(place / "kits", at):
        assert (
            run(cli, ["collaborate", "run", str(folder), str(shown), "--maps", str(maps), *use], prog_name="nuwa") == 0
        )
        ran = json.loads(capsys.readouterr().out)
        assert run(cli, ["collaborate", "bench", str(folder), "--data", str(images), *use], prog_name="nuwa") == 0
        bench: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert all(list(image["shares"]) == list(CLASSES) for image in ran["images"])
    assert all(sum(image["shares"].values()) == pytest.approx(1) for image in ran["images"])
    said = np.stack([np.asarray(Image.open(maps / f"{path.stem}.png")) for path in sorted(shown.iterdir())])
    truth = np.stack([np.asarray(Image.open(path)) for path in sorted((images / "test" / "masks").iterdir())])
    pairs = [((said == c) & (truth == c), (said == c) | (truth == c)) for c in range(len(CLASSES))]
    assert bench["classes_without_pixels"] == []
    for image in ran["images"]:
        stem = maps / Path(image["image"]).stem
        assert (image["labels"], image["overlay"]) == (f"{stem}.png", f"{stem}.overlay.png")
    assert bench["miou"] == pytest.approx(np.mean([both.sum() / either.sum() for both, either in pairs]))
    assert (bench["metric"], bench["top1"], bench["num_images"]) == ("miou", None, 4)
    assert bench["bytes_per_image"] == 2 * (IMAGE_BYTES + ANSWER_BYTES)
    return float(bench["miou"])


def test_what_pixels_cannot_have_is_refused(
    tmp_path: Path, toy_base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_masks(tmp_path / "masks", num_train=9, num_test=1)
    line = ["decompose", "--devices", "jetson-nano,jetson-nano", "--budget-ms", "6", "--base", str(toy_base)]
    line += ["--data", str(images), "--db", str(tmp_path / "nuwa.sqlite"), "-o", str(tmp_path / "out")]
    for words, told in (
        (["--mean-ms", "3"], "--mean-ms is for images that are routed to one board first"),
        (["--first-share", "0.5"], "a picture holds several classes"),
        (["--sub-models", "3"], "2 classes beside the background for 3 sub-models"),
    ):
        assert run(cli, [*line, *words], prog_name="nuwa") == 2
        assert told in capsys.readouterr().err
    with (images / "classes.txt").open("a", encoding="utf-8") as names:
        names.write("hole\n")
    assert run(cli, line, prog_name="nuwa") == 2
    assert "class 'hole' has no pixel in the training images" in capsys.readouterr().err
    monkeypatch.setattr("nuwa_search.search.collaborate.prepare.MAX_VECTOR", PATCHES * len(CLASSES) - 1)
    assert run(cli, [*line, "--classes", "square,stripe"], prog_name="nuwa") == 2
    assert "scores of 3 classes for each of 16 patches are 48 numbers from each board" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
