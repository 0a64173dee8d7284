"""What each board needs: a folder with its models, its program, its keys and a systemd unit; and a compose file."""

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.onnx_file import parse_onnx, read_onnx_bytes
from nuwa_search.deploy.assets.board import is_loopback
from nuwa_search.deploy.collaborate.layout import Collaboration, Part
from nuwa_search.deploy.collaborate.network import board_name
from nuwa_search.deploy.collaborate.wire import write_keys

UNIT = "nuwa-board.service"
COMPOSE = "compose.yaml"
BOARD = "board.json"
BOARD_SCHEMA = "nuwa.board/1"
PROGRAMS = ("board.py", "run_engine.py")
WHEELS = "numpy pyzmq onnxruntime"
_ASSETS = Path(__file__).parents[1] / "assets"
_INSTALLED_AT = "/opt/nuwa-board"


@dataclass(frozen=True)
class Kits:
    """Folders that were written.

    Args:
        dir: Folder that holds them all.
        boards: Folder of each board.
        keys: Folder of the coordinator's keys; None where none are needed.
        address: Of the coordinator, as the boards reach it.
    """

    dir: Path
    boards: Mapping[str, Path]
    keys: Path | None
    address: str


def write_kits(folder: Path, *, address: str, source: Path | None, collaboration: Collaboration | None) -> Kits:
    """Write a folder per board of a collaboration.

    Args:
        folder: Folder to make; must be empty or missing.
        address: Of the coordinator, as the boards reach it. Off this machine, keys are written as well.
        source: Folder of the collaboration.
        collaboration: The collaboration in that folder.

    Raises:
        NuwaError: If the folder holds something, or a model cannot be read.
    """
    if source is None or collaboration is None:
        raise NuwaError("a kit needs a collaboration", hint="nuwa collaborate up FOLDER, or --board NAME for a probe")
    return _write(folder, address, boards=collaboration.boards, parts=collaboration, source=source)


def write_probe_kits(folder: Path, *, address: str, boards: Sequence[str]) -> Kits:
    """Write a folder per board without models: enough to measure the network before anything is searched.

    Raises:
        NuwaError: If the folder holds something, or a name is none.
    """
    names = [board_name(board, "name of a board") for board in boards]
    if len(set(names)) < len(names) or not names:
        raise NuwaError("name each board once", hint="--board nano-1 --board nano-2")
    return _write(folder, address, boards=names, parts=None, source=folder)


def _write(folder: Path, address: str, *, boards: Sequence[str], parts: Collaboration | None, source: Path) -> Kits:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NuwaError(f"{folder} is there already", hint="name a new folder: -o DIR")
    folder.mkdir(parents=True, exist_ok=True)
    for board in boards:
        own = folder / board
        own.mkdir()
        told: dict[str, object] = {
            "schema": BOARD_SCHEMA,
            "name": board,
            "coordinator": address,
            "models": [],
            "preprocess": None,
        }
        if parts is not None:
            models = [_copy_model(parts, place, source, own) for place in parts.parts_on(board)]
            preprocess = parts.preprocess
            shown = {"img_size": preprocess.img_size, "mean": list(preprocess.mean), "std": list(preprocess.std)}
            told |= {"models": models, "preprocess": shown}
        (own / BOARD).write_text(json.dumps(told, indent=1) + "\n")
        for program in PROGRAMS:
            shutil.copyfile(_ASSETS / program, own / program)
        (own / UNIT).write_text(_unit(board))
        (own / "README.md").write_text(_readme(board, address, has_models=parts is not None))
    is_here = is_loopback(address)
    if not is_here:
        write_keys(folder, boards)
    (folder / COMPOSE).write_text(_compose(boards, address))
    return Kits(
        folder, {board: folder / board for board in boards}, None if is_here else folder / "coordinator", address
    )


def _copy_model(collaboration: Collaboration, place: int, source: Path, own: Path) -> dict[str, object]:
    part: Part = collaboration.parts[place]
    path = source / part.model
    graph = parse_onnx(read_onnx_bytes(path), origin=str(path)).graph
    if len(graph.output) != 1:
        raise NuwaError(f"{path} has {len(graph.output)} outputs, wanted one vector", hint="nuwa decompose writes it")
    file = f"{part.name}.onnx"
    shutil.copyfile(path, own / file)
    return {
        "part": place,
        "name": part.name,
        "file": file,
        "sha256": part.model_sha256,
        "vector_dim": part.vector_dim,
        "input": part.input_kind,
        "output": graph.output[0].name,
        "pace_ms": part.predicted_ms,
    }


def _unit(board: str) -> str:
    """Write a unit that the systemd 237 of JetPack 4.6 takes as well."""
    return f"""[Unit]
Description=nuwa-search: sub-models of board {board}
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
User=nuwa-board
SupplementaryGroups=video
WorkingDirectory={_INSTALLED_AT}
ExecStart=/usr/bin/python3 {_INSTALLED_AT}/board.py
Restart=always
RestartSec=2
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
"""


def _compose(boards: Sequence[str], address: str) -> str:
    """Write a compose file with a service per board, for machines with containers in place of boards."""
    lines = [
        "# The boards as containers, to try a collaboration on one machine; each computes at its emulated pace.",
        "# The coordinator runs outside: nuwa collaborate run FOLDER --listen tcp://0.0.0.0:5577 --keys coordinator",
        "#   docker compose up",
        "name: nuwa-boards",
        "services:",
    ]
    for board in boards:
        command = f"pip install --quiet {WHEELS} && exec python /board/board.py --emulate-pace"
        lines += [
            f"  {board}:",
            "    image: python:3.12.12-slim-bookworm",
            f'    command: ["sh", "-c", "{command} --coordinator $${{NUWA_COORDINATOR}}"]',
            "    environment:",
            f'      NUWA_COORDINATOR: "${{NUWA_COORDINATOR:-{_seen_from_container(address)}}}"',
            "    extra_hosts:",
            '      - "host.docker.internal:host-gateway"',
            "    volumes:",
            f'      - "./{board}:/board:ro"',
            "    restart: unless-stopped",
        ]
    return "\n".join(lines) + "\n"


def _seen_from_container(address: str) -> str:
    port = address.rpartition(":")[2]
    return f"tcp://host.docker.internal:{port}" if is_loopback(address) and port.isdigit() else address


def _readme(board: str, address: str, *, has_models: bool) -> str:
    what = "its sub-models" if has_models else "no models yet: it answers a probe of the network"
    secret = "" if is_loopback(address) else "\n`keys.json` lets the board in; it is readable for its owner alone.\n"
    return f"""# Board {board}

This folder is all that the board needs: `board.py` and {what}.

On a Jetson Nano with JetPack 4.6 (Python 3.6), once:

    sudo apt-get install python3-pip && pip3 install --upgrade 'pip<22'
    pip3 install 'numpy<1.20' pyzmq==25.1.2 onnxruntime==1.10.0

Elsewhere: `pip install {WHEELS}`. Try it: `python3 board.py`. It looks for the coordinator at {address};
`--coordinator tcp://HOST:PORT` names another. `python3 board.py --engine` runs TensorRT engines that lie beside the
models under their names (`part.engine` for `part.onnx`; `/usr/src/tensorrt/bin/trtexec --onnx=part.onnx
--saveEngine=part.engine --fp16`). `--emulate-pace` is for trials without the board: it waits after each vector until
the board's predicted time is over.
{secret}
As a service:

    sudo useradd --system nuwa-board
    sudo cp -r . {_INSTALLED_AT} && sudo chown -R nuwa-board {_INSTALLED_AT}
    sudo cp {UNIT} /etc/systemd/system/ && sudo systemctl enable --now {shlex.quote(UNIT)}
"""
