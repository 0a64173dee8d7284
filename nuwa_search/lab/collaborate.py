"""Collaborations over boards: their kits, the network between them, and images answered by all of them."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import numpy as np

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.core.images import ImageSet, each_picture
from nuwa_search.deploy.collaborate.answer import CollaborativeAnswer
from nuwa_search.deploy.collaborate.coordinator import Coordinator, described
from nuwa_search.deploy.collaborate.kit import Kits, write_kits, write_probe_kits
from nuwa_search.deploy.collaborate.layout import Collaboration, read_collaboration
from nuwa_search.deploy.collaborate.local import local_boards
from nuwa_search.deploy.collaborate.network import Network
from nuwa_search.deploy.collaborate.probe import NUM_PINGS, Prober, probe_network
from nuwa_search.deploy.collaborate.wire import PORT, read_keys
from nuwa_search.lab.collaborate_accuracy import accuracy_fields, labelled_images

if TYPE_CHECKING:
    import numpy.typing as npt

LISTEN = f"tcp://127.0.0.1:{PORT}"
WAIT_S = 30.0
IN_FLIGHT = 4

Say = Callable[[str], None]
ModeName = Literal["fuse", "any", "route"]


_PACE = NuwaError("an emulated pace is for boards that are started here", hint="add --start")


class BoardKeywords(TypedDict, total=False):
    """How the boards of a collaboration are used.

    Args:
        mode: ``fuse``, ``any`` or ``route``; None for the collaboration's first.
        listen: Where the boards come to.
        keys: Folder with the coordinator's keys; needed off this machine.
        deadline_ms: After which an image is fused from what is there; None for three times the predicted p95, and more
            in a stream.
        wait_s: How long boards may take to come; who is not there then takes part when it comes.
        start: Start the boards here, as processes on loopback.
        emulate_pace: Let boards that are started here wait until their predicted times are over.
    """

    mode: ModeName | None
    listen: str
    keys: str | Path | None
    deadline_ms: float | None
    wait_s: float
    start: bool
    emulate_pace: bool


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True)
class CollaborateRun:
    """Answers to some images.

    Args:
        mode: How the boards were used.
        names: Of the images.
        answers: As many.
        boards: What is known of each board that took part.
        shares: Share of each class among the pixels of each image, where pixels have classes and boards answered.
        maps: Files ``labels`` and ``overlay`` of each image, where they were wanted and boards answered.
    """

    mode: str
    names: tuple[str, ...]
    answers: tuple[CollaborativeAnswer, ...]
    boards: dict[str, Any]
    shares: tuple[dict[str, float] | None, ...] = ()
    maps: tuple[dict[str, str] | None, ...] = ()

    @property
    def num_unanswered(self) -> int:
        return sum(not answer.is_answered for answer in self.answers)

    def to_json(self) -> dict[str, Any]:
        """Render ``nuwa.collaborate-run/1`` without its schema."""
        images = [{"image": name, **one.to_json()} for name, one in zip(self.names, self.answers, strict=True)]
        for image, shares in zip(images, self.shares, strict=bool(self.shares)):
            image["shares"] = shares
        for image, files in zip(images, self.maps, strict=bool(self.maps)):
            image.update(files or dict.fromkeys(("labels", "overlay")))
        return {"mode": self.mode, **self.boards, "images": images}


@dataclass(frozen=True)
class CollaborateBench:
    """How a collaboration did on labelled images, against what was predicted of it.

    Args:
        mode: How the boards were used.
        num_images: One after the other.
        predicted_p50_ms: By the collaboration.
        predicted_p95_ms: As well.
        measured_p50_ms: One image at a time, from its sending to its answer.
        measured_p95_ms: As well.
        measured_mean_ms: As well.
        images_per_s: With ``in_flight`` images on their way.
        in_flight: Images on their way.
        top1: Share of the images right; None where pixels have classes.
        top1_interval: 95 %.
        num_unanswered: Images without an answer; they count as wrong.
        bytes_per_image: Images there and vectors, or scores of patches, back, mean.
        took_part: Share of the images that each board took part in.
        provenance: ``emulated`` where boards ran at an emulated pace.
        boards: What is known of each.
        metric: Which accuracy counts.
        miou: Mean IoU over the classes, where pixels have classes.
        miou_interval: 95 %.
        pixel_accuracy: Share of the pixels right, there.
        classes_without_pixels: What that mean leaves out, as the masks have no pixel of it.
    """

    mode: str
    num_images: int
    predicted_p50_ms: float
    predicted_p95_ms: float
    measured_p50_ms: float
    measured_p95_ms: float
    measured_mean_ms: float
    images_per_s: float
    in_flight: int
    top1: float | None
    top1_interval: tuple[float, float] | None
    num_unanswered: int
    bytes_per_image: float
    took_part: dict[str, float]
    provenance: Literal["measured", "emulated"]
    boards: dict[str, Any]
    metric: Literal["top1", "miou"] = "top1"
    miou: float | None = None
    miou_interval: tuple[float, float] | None = None
    pixel_accuracy: float | None = None
    classes_without_pixels: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """The accuracy that counts."""
        return next(value for value in (self.miou, self.top1, 0.0) if value is not None)

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return self.miou_interval or self.top1_interval or (0.0, 1.0)

    def to_json(self) -> dict[str, Any]:
        """Render ``nuwa.collaborate-bench/1`` without its schema."""
        ends = {name: getattr(self, name) for name in ("top1_interval", "miou_interval")}
        without = {"classes_without_pixels": list(self.classes_without_pixels)}
        return vars(self) | without | {name: None if found is None else list(found) for name, found in ends.items()}


def collaborate_up(
    folder: str | Path | None = None,
    *,
    output: str | Path,
    coordinator: str = LISTEN,
    board: Sequence[str] = (),
    start: bool = False,
    emulate_pace: bool = False,
    say: Say = _silent,
) -> Kits:
    """Write a folder for each board: its models, its program, its keys, a systemd unit; and a compose file.

    Args:
        folder: Of a collaboration; None with ``board``, for boards that are only probed.
        output: A new folder.
        coordinator: Address at which the boards find the coordinator. Off this machine, keys are written.
        board: Names of boards without a collaboration.
        start: Run the boards here as well, as processes, until they end or Ctrl-C.
        emulate_pace: Let them wait until their predicted times are over.
        say: Told that they run.

    Raises:
        NuwaError: If the folder holds no collaboration, or both or neither are named.
    """
    if (folder is None) == (not board):
        raise NuwaError("name a collaboration or boards", hint="nuwa collaborate up FOLDER -o DIR, or --board nano-1")
    if emulate_pace and not start:
        raise _PACE
    if folder is None:
        kits = write_probe_kits(expanded(output), address=coordinator, boards=board)
    else:
        collaboration, _ = read_collaboration(expanded(folder))
        kits = write_kits(expanded(output), address=coordinator, source=expanded(folder), collaboration=collaboration)
    if start:
        with local_boards(kits, address=coordinator, emulate_pace=emulate_pace) as processes:
            say(f"{len(processes)} boards run here until Ctrl-C")
            for process in processes:
                process.wait()
    return kits


def collaborate_probe(
    folder: str | Path | None = None,
    *,
    board: Sequence[str] = (),
    listen: str = LISTEN,
    keys: str | Path | None = None,
    wait_s: float = WAIT_S,
    pings: int = NUM_PINGS,
    say: Say = _silent,
) -> Network:
    """Measure round trips and rates between here and the boards, which run ``board.py``.

    Args:
        folder: Of a collaboration; None with ``board``.
        board: Names of the boards.
        listen: Where they come to.
        keys: Folder with the coordinator's keys; needed off this machine.
        wait_s: How long they may take to come.
        pings: Round trips for each board.
        say: Told what is probed.

    Raises:
        NuwaError: If both or neither are named, or keys are missing.
        OutsideError: If a board does not come or answer.
    """
    if (folder is None) == (not board):
        raise NuwaError("name a collaboration or boards", hint="nuwa collaborate probe FOLDER, or --board nano-1")
    names = tuple(board) if folder is None else read_collaboration(expanded(folder))[0].boards
    with Prober(names, address=listen, keys=_keys(keys)) as prober:
        say(f"waiting for {', '.join(names)} at {prober.address}")
        prober.wait(timeout_s=wait_s)
        return probe_network(prober, num_pings=pings, say=say)


def collaborate_run(
    folder: str | Path,
    images: Sequence[str | Path],
    *,
    maps: str | Path | None = None,
    say: Say = _silent,
    **use: Unpack[BoardKeywords],
) -> CollaborateRun:
    """Answer image files with the boards of a collaboration.

    Args:
        folder: Of the collaboration.
        images: Files, or folders of files.
        maps: Folder for a label map of each picture and the picture with it laid over, where pixels have classes; None
            writes none.
        say: Told who takes part and who is missing.
        use: How the boards are used (``BoardKeywords``).

    Raises:
        NuwaError: If the folder holds no collaboration, an image cannot be read, keys are missing, or label maps are
            wanted of boards that name a class for each image, or would be written over one of the images.
        OutsideError: If no board comes.
    """
    from nuwa_search.deploy.assets.classifier import find_images

    paths = find_images([str(expanded(path)) for path in images])
    if not paths:
        raise NuwaError(f"no images in {', '.join(map(str, images))}", hint="name image files or folders")
    lacking = [path for path in paths if not path.is_file()]
    if lacking:
        raise NuwaError(f"image {lacking[0]} is missing", hint="name image files or folders of them")
    collaboration, _ = read_collaboration(expanded(folder))
    has_pixels = collaboration.grid is not None
    if maps is not None and not has_pixels:
        raise NuwaError(f"{folder} names a class for each image, and none for its pixels", hint="leave --maps out")
    if maps is not None:
        from nuwa_search.lab.collaborate_pixels import prepare_folder

        prepare_folder(expanded(maps), paths)
    source = ImageSet(paths, np.zeros(len(paths), np.int64), ("image",), "the command line")
    mode = use.get("mode")
    with _running(folder, use, say=say) as coordinator:
        pictures = _pictures(source, collaboration)
        stream = coordinator.stream(pictures, mode=mode, deadline_ms=use.get("deadline_ms"))
        answers = tuple(stream)
        told = described(coordinator)
    chosen = mode or collaboration.modes[0].mode
    names = tuple(str(path) for path in paths)
    if not has_pixels:
        return CollaborateRun(chosen, names, answers, told)
    from nuwa_search.lab.collaborate_pixels import class_shares_of, write_label_maps

    files = () if maps is None else write_label_maps(expanded(maps), source, answers, collaboration)
    shares = tuple(class_shares_of(answer, collaboration) for answer in answers)
    return CollaborateRun(chosen, names, answers, told, shares, files)


def collaborate_bench(
    folder: str | Path,
    *,
    data: str | Path,
    split: str | None = None,
    label_column: str | None = None,
    images: int = 200,
    in_flight: int = IN_FLIGHT,
    seed: int = 0,
    say: Say = _silent,
    **use: Unpack[BoardKeywords],
) -> CollaborateBench:
    """Measure a collaboration on labelled images: one at a time, then as a stream.

    Args:
        folder: Of the collaboration.
        data: Images with classes among its labels, or with masks of these where pixels have classes.
        split: Which; None for ``test``, or the only one.
        label_column: Of Parquet files.
        images: How many, drawn at random.
        in_flight: Images on their way at once in the stream.
        seed: Of drawing the images.
        say: As of ``collaborate_run``.
        use: How the boards are used (``BoardKeywords``).

    Raises:
        NuwaError: As ``collaborate_run``, and if a class of the images is none of the labels.
        OutsideError: If no board comes.
    """
    collaboration, _ = read_collaboration(expanded(folder))
    mode = use.get("mode")
    chosen = collaboration.modes[0] if mode is None else collaboration.figures(mode)
    source = labelled_images(collaboration, data, split=split, label_column=label_column, count=images, seed=seed)
    pictures = list(_pictures(source, collaboration))
    with _running(folder, use, say=say) as coordinator:
        options: dict[str, Any] = {"mode": chosen.mode, "deadline_ms": use.get("deadline_ms")}
        answers = list(coordinator.stream(pictures, **options))
        begin = time.perf_counter()
        streamed = list(coordinator.stream(pictures, in_flight=in_flight, **options))
        images_per_s = len(streamed) / (time.perf_counter() - begin)
        told = described(coordinator)
    latencies = [answer.latency_ms for answer in answers]
    taken = {name: sum(name in answer.boards for answer in answers) / len(answers) for name in collaboration.boards}
    return CollaborateBench(
        mode=chosen.mode,
        num_images=len(answers),
        predicted_p50_ms=chosen.predicted_p50_ms,
        predicted_p95_ms=chosen.predicted_p95_ms,
        measured_p50_ms=statistics.median(latencies),
        measured_p95_ms=float(np.percentile(latencies, 95)),
        measured_mean_ms=statistics.fmean(latencies),
        images_per_s=images_per_s,
        in_flight=in_flight,
        **accuracy_fields(answers, source, collaboration),
        num_unanswered=sum(not answer.is_answered for answer in answers),
        bytes_per_image=statistics.fmean(answer.bytes_sent + answer.bytes_received for answer in answers),
        took_part=taken,
        provenance="emulated" if any(board["is_paced"] for board in told["boards"].values()) else "measured",
        boards=told,
    )


@contextmanager
def _running(folder: str | Path, use: BoardKeywords, *, say: Say) -> Iterator[Coordinator]:
    """Open the coordinator, start the boards here where that is asked for, and wait until they have come."""
    for name in use:
        if name not in BoardKeywords.__annotations__:
            raise TypeError(f"collaborations take no {name!r}: {', '.join(BoardKeywords.__annotations__)}")
    source, keys, start = expanded(folder), use.get("keys"), use.get("start", False)
    collaboration, fusion = read_collaboration(source)
    if use.get("emulate_pace") and not start:
        raise _PACE
    if start and keys is not None:
        raise NuwaError("boards that are started here need no keys", hint="leave --keys out")
    wait_s = use.get("wait_s", WAIT_S)
    address = "tcp://127.0.0.1:0" if start else use.get("listen", LISTEN)
    with Coordinator(collaboration, fusion, address=address, keys=_keys(keys), say=say) as coordinator:
        if not start:
            say(f"waiting for {', '.join(collaboration.boards)} at {coordinator.address}")
            coordinator.wait(timeout_s=wait_s)
            yield coordinator
            return
        with tempfile.TemporaryDirectory(prefix="nuwa-boards-") as place:
            kits = write_kits(
                Path(place) / "kits", address=coordinator.address, source=source, collaboration=collaboration
            )
            with local_boards(kits, address=coordinator.address, emulate_pace=use.get("emulate_pace", False)):
                coordinator.wait(timeout_s=wait_s)
                yield coordinator


def _keys(path: str | Path | None) -> Any:
    return None if path is None else read_keys(expanded(path))


def _pictures(source: ImageSet, collaboration: Collaboration) -> Iterator["npt.NDArray[np.uint8]"]:
    for picture, _ in each_picture(source, collaboration.preprocess):
        yield np.ascontiguousarray(picture.transpose(1, 2, 0))
