"""A board's program: what its folder holds is read strictly, and its pace is emulated where that is asked for."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.assets import board as program
from nuwa_search.deploy.assets.board import BoardServer, Message, VectorModel, pack, unpack
from nuwa_search.deploy.collaborate.kit import Kits, write_kits, write_probe_kits
from nuwa_search.deploy.collaborate.layout import Collaboration
from nuwa_search.deploy.collaborate.network import HEADER_BYTES
from tests.support.toy_collaboration import BOARDS, toy_images, toy_vectors

Toy = tuple[Path, Collaboration]
ADDRESS = "tcp://127.0.0.1:5577"


@pytest.fixture
def kits(toy: Toy, tmp_path: Path) -> Kits:
    return write_kits(tmp_path / "kits", address=ADDRESS, source=toy[0], collaboration=toy[1])


def model_of(kits: Kits, name: str) -> VectorModel:
    told = program.read_board(kits.boards[name] / "board.json")
    return VectorModel(kits.boards[name], told["models"][0], told["preprocess"], False)


def test_its_vector_is_the_models(kits: Kits) -> None:
    images, _ = toy_images(2)
    wanted = toy_vectors(images)[2]
    assert model_of(kits, "nano-3").compute(images[1]) == pytest.approx(wanted[1], abs=1e-4)


@pytest.mark.parametrize("kind", ["normalised", "uint8"])
def test_images_become_what_the_model_takes(kits: Kits, kind: str) -> None:
    model, (images, _) = model_of(kits, "nano-1"), toy_images(1)
    model.input_kind, model.preprocess = kind, {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.25, 0.2]}
    seen: list[Any] = []

    def run(given: Any) -> Any:
        seen.append(given)
        return np.zeros((1, 6), np.float32)

    model.model.run = run
    model.compute(images[0])
    chw = images[0].transpose(2, 0, 1)[None]
    wanted = chw if kind == "uint8" else (chw / 255 - _channels(0.5, 0.4, 0.3)) / _channels(0.5, 0.25, 0.2)
    assert seen[0] == pytest.approx(wanted, abs=1e-5)
    assert seen[0].dtype == (np.uint8 if kind == "uint8" else np.float32)


def _channels(*values: float) -> Any:
    return np.array(values).reshape(1, 3, 1, 1)


def test_an_emulated_pace_is_waited_out_and_said(kits: Kits) -> None:
    board = BoardServer(kits.boards["nano-1"], emulate_pace=True)
    image = Message(program.IMAGE, toy_images(1)[0].tobytes(), session=3, number=9, figure=1)
    answer = board.vector(board.models[0], image)
    assert answer.figure >= 5000, "microseconds: the collaboration predicts 5 ms"
    assert (answer.kind, answer.part, answer.session, answer.number) == (program.VECTOR, 0, 3, 9)
    assert json.loads(board.hello())["is_paced"] is True
    short = board.vector(board.models[0], image._replace(payload=b"x"))
    assert (short.kind, short.payload) == (program.FAILED, b"an image has 1 bytes, wanted 8 x 10 x 3")


def test_a_stream_keeps_its_emulated_pace_where_the_clock_oversleeps(
    kits: Kits, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]

    def oversleep(seconds: float) -> None:
        now[0] += seconds + 0.002

    monkeypatch.setattr(program, "time", SimpleNamespace(perf_counter=lambda: now[0], sleep=oversleep))
    board = BoardServer(kits.boards["nano-1"], emulate_pace=True)
    image = Message(program.IMAGE, toy_images(1)[0].tobytes(), session=3, number=9, figure=1)
    for others_wait, took in ((True, 10 * 0.005 + 0.002), (False, 10 * 0.007)):
        board.overslept_s, begin = 0.0, now[0]
        for _ in range(10):
            board.answer(program.load_zmq(), WaitedFor(others_wait), image)
        assert now[0] - begin == pytest.approx(took)


class WaitedFor:
    """A socket that takes everything; ``poll`` says whether an image waits."""

    def __init__(self, is_waited_for: bool) -> None:
        self.poll = lambda _: is_waited_for

    def send_multipart(self, *_: object) -> None:
        pass


def test_messages_are_read_as_they_were_written() -> None:
    message = Message(program.VECTOR, b"abcd", part=3, session=2**63, number=2**40, figure=7)
    frames = pack(message)
    assert len(frames[0]) == HEADER_BYTES
    assert unpack(frames, 4) == message
    with pytest.raises(ValueError, match="at most 3 are taken"):
        unpack(frames, 3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(schema="x"), "wanted nuwa.board/1"),
        (lambda v: v.update(name="a b"), "gives no name"),
        (lambda v: v["models"][0].update(file="../model.onnx"), "outside this folder"),
        (lambda v: v["models"][0].update(sha256="0" * 64), "is not the model that board.json names"),
        (lambda v: v["models"][0].update(vector_dim=7), "answers with 6 numbers, wanted 7"),
        (lambda v: v["models"][0].update(pace_ms=-1), "gives pace_ms"),
        (lambda v: v["models"][0].update(output="logits"), "must take one input and answer 'logits'"),
        (lambda v: v["preprocess"].update(img_size=[16, 8]), "its pictures are"),
        (lambda v: v["preprocess"].update(img_size=[8, 10**9]), "gives img_size"),
        (lambda v: v["preprocess"].update(std=[0, 1, 1]), "std of zero"),
        (lambda v: v.update(coordinator="tcp://10.0.0.1:1"), "boards speak with keys"),
    ],
)
def test_a_folder_that_is_not_as_it_was_written_is_refused(kits: Kits, change: Any, said: str) -> None:
    path = kits.boards["nano-1"] / "board.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=said):
        BoardServer(kits.boards["nano-1"])


HIDE = """
import runpy, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "onnx", "scipy", "PIL", "nuwa_search"):
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Hidden())
sys.argv = ["board.py"]
runpy.run_path(FILE, run_name="__main__")
"""


def test_it_runs_by_itself_and_says_what_is_wrong(kits: Kits) -> None:
    """As a program, without anything of ours: an address that is none ends it with a sentence."""
    path = kits.boards["nano-1"] / "board.json"
    path.write_text(path.read_text().replace(ADDRESS, "ipc://"))
    code = HIDE.replace("FILE", repr(str(path.with_name("board.py"))))
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nano-1: 1 models, looking for the coordinator at ipc://" in done.stderr
    assert "error: ipc:// is no address" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_kit_off_this_machine_has_keys_and_a_probe_kit_no_models(toy: Toy, tmp_path: Path) -> None:
    kits = write_kits(tmp_path / "a", address="tcp://10.0.0.1:5577", source=toy[0], collaboration=toy[1])
    assert kits.keys == tmp_path / "a" / "coordinator"
    assert BoardServer(kits.boards["nano-4"]).keys is not None
    assert (kits.boards["nano-4"] / "keys.json").stat().st_mode & 0o777 == 0o600
    probe = write_probe_kits(tmp_path / "b", address=ADDRESS, boards=["x", "y"])
    assert BoardServer(probe.boards["y"]).models == []
    with pytest.raises(NuwaError, match="is there already"):
        write_probe_kits(tmp_path / "b", address=ADDRESS, boards=["x"])
    for names in ([], ["x", "x"], ["../x"]):
        with pytest.raises(NuwaError):
            write_probe_kits(tmp_path / "c", address=ADDRESS, boards=names)


def test_the_unit_is_one_that_systemd_takes(kits: Kits) -> None:
    unit = kits.boards["nano-1"] / "nuwa-board.service"
    if Path("/usr/bin/systemd-analyze").exists() and os.access("/usr/bin/python3", os.X_OK):
        done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split("=")[0] for line in unit.read_text().splitlines() if "=" in line]
    assert len(set(lines)) == len(lines)


def test_the_compose_file_has_a_service_per_board(kits: Kits) -> None:
    yaml = pytest.importorskip("yaml")
    told = yaml.safe_load((kits.dir / "compose.yaml").read_text())
    assert tuple(told["services"]) == BOARDS
    for name, service in told["services"].items():
        assert set(service) <= {"image", "command", "environment", "extra_hosts", "volumes", "restart"}
        assert service["volumes"] == [f"./{name}:/board:ro"]
        assert service["command"][2].endswith("--coordinator $${NUWA_COORDINATOR}"), "expanded in the container"
        assert service["environment"]["NUWA_COORDINATOR"].endswith("tcp://host.docker.internal:5577}")
