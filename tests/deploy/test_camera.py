"""A bundle's camera.py: a folder, a video, a camera that fails, and Ctrl-C."""

import dataclasses
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nuwa_search.deploy.write_bundle import write_bundle
from tests.deploy.bundle_parts import make_parts, png
from tests.deploy.export_families import FAMILIES, lively_model
from tests.support.bundle_programs import program_at

FRAME = np.zeros((20, 30, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return program_at(write_bundle(tmp_path_factory.mktemp("camera") / "b", make_parts()).dir / "camera.py")


class PlayedCapture:
    """Stands in for OpenCV's VideoCapture: gives frames, fails where None is, and ends."""

    def __init__(self, frames: list[Any], *, count: int) -> None:
        self.frames, self.count, self.is_released = list(frames), count, False

    def isOpened(self) -> bool:
        return bool(self.frames)

    def get(self, _: int) -> float:
        return float(self.count)

    def read(self) -> tuple[bool, Any]:
        frame = self.frames.pop(0) if self.frames else None
        if frame is KeyboardInterrupt:
            raise KeyboardInterrupt
        return frame is not None, frame

    def release(self) -> None:
        self.is_released = True


def play(
    monkeypatch: pytest.MonkeyPatch, camera: ModuleType, frames: list[Any], *arguments: str, count: int = 0
) -> int:
    capture = PlayedCapture(frames, count=count)
    played = SimpleNamespace(VideoCapture=lambda source: capture, CAP_PROP_FRAME_COUNT=7)
    monkeypatch.setitem(sys.modules, "cv2", played)
    monkeypatch.setattr(sys, "argv", ["camera.py", *arguments])
    code = int(camera.start())
    assert capture.is_released or not frames
    return code


def test_a_folder_is_timed_and_a_broken_image_named(
    camera: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, data in (("a.png", png(30, 50)), ("b.png", b"torn"), ("c.png", png(24, 24))):
        (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(sys, "argv", ["camera.py", "--source", str(tmp_path), "--json"])
    assert camera.start() == 2
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert f"not a readable frame: {tmp_path / 'b.png'}: " in said.err
    assert (answer["frames"], answer["skipped"], answer["interrupted"]) == (2, 1, False)
    for step in ("decode", "preprocess", "infer", "total"):
        assert 0 < answer["latency_ms"][step]["p50"] <= answer["latency_ms"][step]["p95"]
    assert answer["frames_per_s"] == pytest.approx(2 / answer["seconds"])


def test_a_camera_ends_with_the_summary_at_ctrl_c(
    camera: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play(monkeypatch, camera, [FRAME, None, FRAME, KeyboardInterrupt]) == 130
    said = capsys.readouterr()
    assert "not a readable frame: frame 2: " in said.err
    assert said.out.splitlines()[0].startswith("frame 1: ")
    assert "2 frames in " in said.out
    assert "frames/s end to end" in said.out


def test_a_camera_that_stops_giving_frames_fails_after_the_summary(
    camera: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play(monkeypatch, camera, [FRAME], "--quiet") == 3
    said = capsys.readouterr()
    assert "1 frames in " in said.out
    assert "0 has given no frame 31 times in a row" in said.err
    assert play(monkeypatch, camera, [], "--source", "rtsp://nowhere/1") == 3
    assert "rtsp://nowhere/1 cannot be opened" in capsys.readouterr().err


def test_a_video_ends_where_no_frame_follows(
    camera: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "a.mp4"
    video.touch()
    assert play(monkeypatch, camera, [FRAME] * 3, "--source", str(video), "--json", count=3) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 3
    assert play(monkeypatch, camera, [FRAME, None, FRAME], "--source", str(video), "--json", count=4) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["skipped"] == 1
    assert "says that it has 4 frames, and ends after 3" in said.err
    assert play(monkeypatch, camera, [FRAME] * 3, "--source", str(video), "--json", "--frames", "2") == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 2


def test_without_opencv_a_camera_is_refused_with_what_to_install(
    camera: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr(sys, "argv", ["camera.py"])
    assert camera.start() == 2
    said = capsys.readouterr().err
    assert "pip install opencv-python-headless" in said
    assert "--source FOLDER" in said
    for missing in ("phots", "film.mp4", "/dev/video77"):
        monkeypatch.setattr(sys, "argv", ["camera.py", "--source", missing])
        assert camera.start() == 2
        assert capsys.readouterr().err.startswith(f"error: {missing} does not exist\nhint: ")


def test_a_model_for_pixels_writes_the_labels_and_the_overlay_of_each_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = lively_model(dataclasses.replace(FAMILIES["token"], global_pool="patches"))
    bundle = write_bundle(tmp_path / "b", make_parts(model=model))
    frames = [np.random.default_rng(k).integers(0, 256, (20, 30, 3), dtype=np.uint8) for k in range(2)]
    seen = tmp_path / "seen"
    camera = program_at(bundle.dir / "camera.py")
    assert play(monkeypatch, camera, [*frames, KeyboardInterrupt], "--save", str(seen)) == 130
    assert "2 frames in " in capsys.readouterr().out
    opened = program_at(bundle.dir / "classifier.py").Classifier(bundle.dir)
    for number, frame in enumerate(frames, start=1):
        (answer,) = opened.predict(frame, channels="BGR")
        assert np.array_equal(np.asarray(Image.open(seen / f"frame-{number:06d}.png")), answer.labels)
        assert answer.labels.shape == (20, 30)
        assert np.array_equal(
            np.asarray(Image.open(seen / f"frame-{number:06d}.overlay.png")), np.asarray(answer.overlay())
        )


def test_labels_of_whole_pictures_are_not_saved_as_maps(
    camera: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert play(monkeypatch, camera, [], "--save", str(tmp_path / "seen")) == 2
    assert "answers for whole images" in capsys.readouterr().err
