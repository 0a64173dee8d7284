"""``nuwa collaborate``: boards that answer together: their kits, the network between them, runs and benchmarks."""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.flags import PositiveNumber, with_flags
from nuwa_search.service.cli.output import output_from_flags

if TYPE_CHECKING:
    from nuwa_search.deploy.collaborate.answer import CollaborativeAnswer

F = TypeVar("F", bound=Callable[..., Any])
SHOWN_CLASSES = 3
"""Of a picture's pixels, that a row names, as ``run.py`` of a bundle does."""
_LISTEN = "tcp://127.0.0.1:5577"
_FOLDER = click.argument("folder", type=click.Path(path_type=Path))
_MAYBE_FOLDER = click.argument("folder", type=click.Path(path_type=Path), required=False)
_BOARD = click.option("--board", multiple=True, metavar="NAME", help="A board without a collaboration; repeat it.")
_WAIT = click.option(
    "--wait-s", type=PositiveNumber(), default=30.0, show_default=True, metavar="S", help="For boards."
)
_LISTEN_AT = (
    click.option("--listen", default=_LISTEN, show_default=True, metavar="ADDRESS", help="Where the boards come to."),
    click.option(
        "--keys", type=click.Path(path_type=Path), metavar="DIR", help="The coordinator's keys, off this machine."
    ),
    _WAIT,
)
_HERE = (
    click.option("--start", is_flag=True, help="Start the boards here, as processes."),
    click.option("--emulate-pace", is_flag=True, help="With --start: each waits until its predicted time is over."),
)
_USE = (
    click.option(
        "--mode", type=click.Choice(["fuse", "any", "route"]), help="How the boards are used.  [the folder's]"
    ),
    click.option("--deadline-ms", type=PositiveNumber(), metavar="MS", help="Then fuse what is there.  [from p95]"),
    *_LISTEN_AT,
    *_HERE,
)


def _with(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.group()
def command() -> None:
    """Let several boards answer together: one coordinator, one small model or more on each board."""


@command.command("up", cls=NuwaCommand)
@_MAYBE_FOLDER
@click.option("--coordinator", default=_LISTEN, show_default=True, metavar="ADDRESS", help="Where boards find it.")
@_with(_BOARD, *_HERE)
@with_flags(writes=True)
def up(folder: Path | None, **values: Any) -> None:
    """Write to -o DIR what each board of collaboration FOLDER needs: models, program, keys, systemd unit; compose file.

    With --board instead of FOLDER: boards that can be probed before anything is searched.
    """
    output = output_from_flags(values, use_path=False)
    if values["output"] is None:
        raise NuwaError("the boards' folders need a place", hint="nuwa collaborate up FOLDER -o DIR")
    from nuwa_search.lab.collaborate import collaborate_up

    kits = collaborate_up(
        folder, say=output.note, **_given(values, "output", "coordinator", "board", "start", "emulate_pace")
    )
    rows = [{"board": board, "folder": str(path)} for board, path in kits.boards.items()]
    if output.json:
        keys = None if kits.keys is None else str(kits.keys)
        answer = {"dir": str(kits.dir), "coordinator": kits.address, "keys": keys, "boards": rows}
        output.document({"schema": "nuwa.collaborate-up/1", **answer})
        return
    output.table(rows)
    keys_flag = "" if kits.keys is None else f" --keys {shlex.quote(str(kits.keys))}"
    output.note("copy each folder to its board and start python3 board.py there (README.md in it)")
    if folder is None:
        named = " ".join(f"--board {board}" for board in kits.boards)
        output.note(f"next: nuwa collaborate probe {named} --listen {kits.address}{keys_flag} -o network.json")
    else:
        output.note(f"next: nuwa collaborate run {shlex.quote(str(folder))} IMAGES --listen {kits.address}{keys_flag}")


@command.command("probe", cls=NuwaCommand)
@_MAYBE_FOLDER
@click.option("--pings", type=click.IntRange(min=5), default=50, show_default=True, help="Round trips for each board.")
@_with(_BOARD, *_LISTEN_AT)
@with_flags(writes=True)
def probe(folder: Path | None, **values: Any) -> None:
    """Measure round trips and rates to the boards; -o FILE is what `nuwa decompose --network FILE` reads."""
    output = output_from_flags(values, use_path=False)
    from nuwa_search.deploy.collaborate.network import network_to_json
    from nuwa_search.lab.collaborate import collaborate_probe

    network = collaborate_probe(folder, say=output.note, **_given(values, "board", "listen", "keys", "wait_s", "pings"))
    document = network_to_json(network)
    if values["output"] is not None:
        path = Path(values["output"])
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if output.json:
        output.document(document)
        return
    output.table(
        [
            {
                "board": link.board,
                "round trip": f"{link.rtt_p50_ms:.2f} ms measured (p95 {link.rtt_p95_ms:.2f})",
                "down": f"{link.down_mbit:.1f} Mbit/s",
                "up": f"{link.up_mbit:.1f} Mbit/s",
            }
            for link in network.links
        ]
    )
    output.note(f"all at once: {network.all_down_mbit:.1f} Mbit/s down, {network.all_up_mbit:.1f} Mbit/s up")
    if values["output"] is not None:
        output.note(f"next: nuwa decompose --network {shlex.quote(str(values['output']))} …")


@command.command("run", cls=NuwaCommand)
@_FOLDER
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--maps",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where pixels have classes: write label maps there, and the pictures with them laid over.",
)
@_with(*_USE)
@with_flags(writes=True)
def run(folder: Path, images: tuple[str, ...], **values: Any) -> None:
    """Answer IMAGES (files, or folders of them) with the boards of collaboration FOLDER, and say who took part."""
    output = output_from_flags(values)
    from nuwa_search.lab.collaborate import collaborate_run

    found = collaborate_run(folder, images, maps=values["maps"], say=output.note, **_use(values))
    if output.json:
        output.document({"schema": "nuwa.collaborate-run/1", **found.to_json()})
    else:
        rows = []
        for place, (name, one) in enumerate(zip(found.names, found.answers, strict=True)):
            said = _pixels_said(found.shares[place]) if found.shares else _label_said(one)
            rows.append({"image": name, **said, **_took_part(one)})
        output.table(rows)
    if values["maps"] is not None:
        output.note(f"label maps and overlays: {values['maps']}")
    if found.num_unanswered:
        raise NoAnswerError(
            f"{found.num_unanswered} of {len(found.answers)} images have no answer: no board was there in time",
            hint="--deadline-ms gives boards longer; their journals say why they are away",
        )


@command.command("bench", cls=NuwaCommand)
@_FOLDER
@click.option("--images", type=click.IntRange(min=1), default=200, show_default=True, help="Drawn at random.")
@click.option("--in-flight", type=click.IntRange(1, 64), default=4, show_default=True, help="In the stream at once.")
@_with(*_USE)
@with_flags("data", "label-column", "split", writes=True)
def bench(folder: Path, **values: Any) -> None:
    """Measure collaboration FOLDER on --data: latency one image at a time, images per second as a stream, accuracy."""
    output = output_from_flags(values)
    if values["data"] is None:
        raise NuwaError("a benchmark needs images with classes", hint="nuwa collaborate bench FOLDER --data PATH")
    from nuwa_search.lab.collaborate import collaborate_bench

    names = ("data", "split", "label_column", "images", "in_flight", "seed")
    found = collaborate_bench(folder, say=output.note, **_given(values, *names), **_use(values))
    if output.json:
        output.document({"schema": "nuwa.collaborate-bench/1", **found.to_json()})
        return
    output.table(_bench_rows(found))


def _bench_rows(found: Any) -> list[dict[str, str]]:
    low, high = found.accuracy_interval
    name = "mIoU" if found.metric == "miou" else "top1"
    told = {
        "latency predicted": f"{found.predicted_p50_ms:.1f} ms (p95 {found.predicted_p95_ms:.1f})",
        f"latency {found.provenance}": f"{found.measured_p50_ms:.1f} ms (p95 {found.measured_p95_ms:.1f})",
        "stream": f"{found.images_per_s:.1f} images/s, {found.in_flight} in flight",
        name: f"{100 * found.accuracy:.1f} % ({100 * low:.1f}-{100 * high:.1f}) on {found.num_images} images",
        "bytes per image": f"{found.bytes_per_image:.0f}",
        "unanswered": str(found.num_unanswered),
        **({"not in the mean": ", ".join(found.classes_without_pixels)} if found.classes_without_pixels else {}),
        **{f"{board} took part": f"{100 * share:.1f} %" for board, share in found.took_part.items()},
    }
    return [{"figure": name, found.mode: value} for name, value in told.items()]


def _label_said(one: "CollaborativeAnswer") -> dict[str, str]:
    return {"label": one.label or "no answer", "score": "" if one.score is None else f"{100 * one.score:.1f} %"}


def _pixels_said(shares: Mapping[str, float] | None) -> dict[str, str]:
    if shares is None:
        return {"pixels": "no answer"}
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])[:SHOWN_CLASSES]
    return {"pixels": ", ".join(f"{label} {100 * share:.1f} %" for label, share in ranked if share)}


def _took_part(one: "CollaborativeAnswer") -> dict[str, str]:
    return {
        "latency": f"{one.latency_ms:.1f} ms",
        "boards": ", ".join(one.boards),
        "missing": "; ".join(f"{board}: {why}" for board, why in one.missing),
    }


def _use(values: Mapping[str, Any]) -> dict[str, Any]:
    return _given(values, "mode", "listen", "keys", "deadline_ms", "wait_s", "start", "emulate_pace")


def _given(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: values[name] for name in names}
