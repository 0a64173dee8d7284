"""A stand-in board over a real SSH server, for trying what only a board does: no GPU, no latency of any worth.

    python -m benchmarks.stand_in -- nuwa doctor lab-nano
    python -m benchmarks.stand_in --build-s 240 -- nuwa profile lab-nano --base BASE
    python -m benchmarks.stand_in --fault infer-bgr -- nuwa evaluate BUNDLE --device lab-nano --images 32 --json

It plays a Jetson Nano that has nothing but SSH and `trtexec`: engines "build" for as long as ``--build-s`` says, on its
own clock and not on yours; latencies follow from a file's size, and outputs are computed with ONNX Runtime from the
very file that was sent. The command runs with a home folder of its own, in which the board is trusted and registered
as ``lab-nano``; your own ``~/.ssh`` and database are left alone. Without a command it serves until Ctrl-C and prints
what to set in another terminal. Faults: ``infer-bgr`` swaps channels, ``infer-endian`` reads bytes in the wrong order,
``infer-nan`` overflows, ``build-other`` builds an engine of another model; ``heats`` gets a third slower under load.
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from tests.support.ssh_board import SshBoard, serve_board, trust_in

NAME = "lab-nano"
FAULTS = ("infer-bgr", "infer-endian", "infer-nan", "build-other", "heats")
PORT = 8222  # fixed, because the address of a board is part of what it is registered as


def main() -> int:
    """Serve the board around a command, or until it is interrupted; return the command's exit status."""
    parser = argparse.ArgumentParser(description="a stand-in board over SSH")
    parser.add_argument("--folder", type=Path, default=Path("runs/stand-in"), help="where it lives")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--tensorrt", default="8.2.1", help="TensorRT version that it plays")
    parser.add_argument("--build-s", type=float, default=184.708, help="seconds of an engine build, by its own clock")
    parser.add_argument("--fault", choices=FAULTS, action="append", default=[])
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    folder: Path = arguments.folder.absolute()
    board = SshBoard(folder / "board", version=arguments.tensorrt, build_s=arguments.build_s, listens_on=arguments.port)
    home = folder / "home"
    for path in (board.root, home):
        path.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(board.root / "faults", ignore_errors=True)
    board.install()
    for fault in arguments.fault:
        board.fault(fault)
    with serve_board(board):
        trust_in(home, board)
        env = environment(folder, home)
        if not is_registered(env):
            address = f"nano@127.0.0.1:{board.port}"
            add = ["device", "add", NAME, "--ssh", address, "--runtime", "trtexec", "--precision", "fp16"]
            subprocess.run([*nuwa(), *add], env=env, check=True, stdout=sys.stderr)
        command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
        if command:
            return subprocess.run(command, env=env, check=False).returncode
        print(f"{NAME} listens on 127.0.0.1:{board.port}; in another terminal:", file=sys.stderr)
        for name in ("HOME", "NUWA_DB", "HF_HOME"):
            print(f"export {name}={env[name]}", flush=True)
        threading.Event().wait()
    return 0


def environment(folder: Path, home: Path) -> dict[str, str]:
    """What a command sees: a home of its own, in which only the way to the board is, and a database of its own.

    ``nuwa`` is this checkout's, whatever else is installed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own_cache = os.environ.get("HF_HOME", str(Path.home() / ".cache" / "huggingface"))
    found = {"HOME": str(home), "NUWA_DB": str(folder / "nuwa.sqlite"), "HF_HOME": own_cache, "PATH": path}
    return os.environ | found


def is_registered(env: dict[str, str]) -> bool:
    """Whether the database of the stand-in knows it from an earlier command."""
    done = subprocess.run([*nuwa(), "device", "show", NAME], env=env, check=False, capture_output=True)
    return done.returncode == 0


def nuwa() -> list[str]:
    """Return the command line of this very checkout."""
    return [sys.executable, "-c", "import sys; from nuwa_search.service.cli.main import main; sys.exit(main())"]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
