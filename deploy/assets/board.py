"""Answer a coordinator's images with the vectors of the models in this folder: numpy, pyzmq and onnxruntime.

    python3 board.py                       serve the coordinator that board.json names, until Ctrl-C
    python3 board.py --coordinator tcp://10.0.0.1:5577
    python3 board.py --engine              with the TensorRT engines beside the models (build.sh), and run_engine.py
    python3 board.py --emulate-pace        FOR TRIALS: compute each vector, then wait until its predicted time is over

The board connects to the coordinator, says who it is twice a second, and sends one vector for each image and model.
It has no clock in common with anybody: whether an answer came in time is for the coordinator to judge. Off this machine
it speaks with keys (keys.json, CURVE) or not at all. Nothing that arrives is unpickled, and sizes are bounded. Runs on
the Python 3.6 of a Jetson Nano, where pyzmq 25.1.2 and onnxruntime 1.10.0 are the last that pip finds.
"""

import argparse
import binascii
import hashlib
import importlib.util
import json
import os
import re
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
MAGIC, VERSION = b"NWCB", 1
HEADER = struct.Struct("<4sBBHQQQ")  # magic, kind, version, part, session, number, and a figure
HELLO, WELCOME, REFUSED, IMAGE, VECTOR, PING, PONG, FAILED, BYE = range(1, 10)
MAX_PING_BYTES = 2**20  # of what a probe has sent back
ENVELOPE_BYTES = 256  # by which a frame is larger on the wire where it is encrypted (CURVE: 33, in ZeroMQ 4.3)
MAX_TEXT_BYTES = 2**16  # of what a board says of itself
MAX_JSON_BYTES = 2**20  # of one of this folder's files
MAX_SIDE = 4096
MAX_VECTOR = 65536
MAX_PARTS = 64
HELLO_S = 0.5  # how often a board says that it is there
RETRY_S, LONELY_S = 0.05, 5.0  # where nobody is there to be told; how long until that is said
STOP_S = 0.05  # within which a board ends
HEARTBEAT_MS, SILENT_MS = 1000, 3000  # of ZeroMQ's own: a pulled cable ends a connection that TCP keeps for hours
INPUT_KINDS = ("normalised", "unit", "uint8")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")
HEX = re.compile(r"[0-9a-f]{64}\Z")
LOOPBACK = re.compile(r"(tcp://(127(\.\d{1,3}){3}|localhost|\[::1\]):|ipc://|inproc://)")


class Message(NamedTuple):
    """One message of either side.

    ``kind`` is one of HELLO to BYE; ``part`` the place of a sub-model in the collaboration; ``session`` and ``number``
    those of the coordinator's image, sent back as they came. ``figure`` depends on the kind: in an IMAGE it has a bit
    for each part that is wanted, in a VECTOR it is the compute time in microseconds, in a PING the number of bytes to
    send back.
    """

    kind: int
    payload: bytes
    part: int = 0
    session: int = 0
    number: int = 0
    figure: int = 0


def pack(message: Message) -> "list[bytes]":
    """Render a message as its two frames: header and payload."""
    head = HEADER.pack(MAGIC, message.kind, VERSION, message.part, message.session, message.number, message.figure)
    return [head, message.payload]


def unpack(frames: "list[bytes]", max_bytes: int) -> Message:
    """Read a message from its two frames; raise ValueError if they hold none."""
    if len(frames) != 2:
        raise ValueError(f"a message has {len(frames)} frames, wanted two")
    head, payload = frames
    if len(head) != HEADER.size:
        raise ValueError(f"a header has {len(head)} bytes, wanted {HEADER.size}")
    magic, kind, version, part, session, number, figure = HEADER.unpack(head)
    if magic != MAGIC or version != VERSION:
        raise ValueError("a header is not of this program, or of another version of it")
    if not HELLO <= kind <= BYE:
        raise ValueError(f"a message is of kind {kind}, which is not known")
    if len(payload) > max_bytes:
        raise ValueError(f"a message has {len(payload)} bytes, at most {max_bytes} are taken")
    return Message(kind, bytes(payload), part, session, number, figure)


def is_loopback(address: str) -> bool:
    """Whether an address never leaves this machine."""
    return LOOPBACK.match(address) is not None


def load_zmq() -> Any:
    """Import pyzmq; raise ValueError if it is not installed."""
    try:
        import zmq
    except ImportError as error:
        raise ValueError("pyzmq is not installed: pip install pyzmq") from error
    return zmq


class VectorModel:
    """One sub-model: a picture (H, W, 3) uint8 in, its vector (d,) float32 out.

    Where pixels have classes that is the scores of every patch, one patch after another.
    """

    def __init__(self, folder: Path, told: "dict[str, Any]", preprocess: "dict[str, Any]", use_engine: bool) -> None:
        self.part, self.name, self.dim = int(told["part"]), str(told["name"]), int(told["vector_dim"])
        self.pace_ms, self.input_kind = float(told["pace_ms"]), str(told["input"])
        self.preprocess = preprocess
        path = folder / str(told["file"])
        self.sha256 = hash_file(path)
        if self.sha256 != told["sha256"]:
            raise ValueError(f"{path.name} is not the model that board.json names: copy the folder again")
        if use_engine:
            engine = path.with_suffix(".engine")
            beside = load_beside("run_engine")
            self.model = beside.EngineModel(engine, folder / "none.json", output=told["output"])  # type: Any
        else:
            self.model = OnnxVector(path, str(told["output"]))
        high, wide = sides_of(preprocess)
        if tuple(self.model.shape) != (1, 3, high, wide):
            raise ValueError(f"{path.name} takes {self.model.shape}, and its pictures are (1, 3, {high}, {wide})")
        self.compute(np.zeros((high, wide, 3), np.uint8))  # the first run allocates, and shows what comes out

    def compute(self, picture: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Compute the vector of one picture (H, W, 3) uint8."""
        given = picture.transpose(2, 0, 1)[None]
        if self.input_kind != "uint8":
            given = given.astype(np.float32) / np.float32(255)
        if self.input_kind == "normalised":
            mean = np.asarray(self.preprocess["mean"], dtype=np.float32).reshape(1, -1, 1, 1)
            std = np.asarray(self.preprocess["std"], dtype=np.float32).reshape(1, -1, 1, 1)
            given = (given - mean) / std
        vector = np.ascontiguousarray(self.model.run(np.ascontiguousarray(given)), dtype="<f4").reshape(-1)
        if len(vector) != self.dim or not np.isfinite(vector).all():
            raise ValueError(f"{self.name} answers with {len(vector)} numbers, wanted {self.dim} finite ones")
        return vector


class OnnxVector:
    """A model on ONNX Runtime's CPU provider, with one thread."""

    def __init__(self, path: Path, output: str) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError("onnxruntime is not installed: pip install onnxruntime") from error

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise ValueError(f"{path.name} cannot be loaded: {first_line(error)}") from error
        ends = [end.name for end in self.session.get_outputs()]
        if len(self.session.get_inputs()) != 1 or output not in ends:
            raise ValueError(f"{path.name} must take one input and answer {output!r}, found {ends}")
        self.input, self.output = self.session.get_inputs()[0].name, output
        self.shape = tuple(self.session.get_inputs()[0].shape)
        self.runtime = "onnxruntime " + onnxruntime.__version__

    def run(self, images: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Run one picture."""
        try:
            answer = self.session.run([self.output], {self.input: images})[0]  # type: np.ndarray[Any, Any]
        except Exception as error:  # as above
            raise ValueError("the model cannot be run: " + first_line(error)) from error
        return answer


class BoardServer:
    """The board's end of the wire.

    ``folder`` is where board.json lies, ``coordinator`` an address in place of the one in it, ``context`` a ZeroMQ
    context to share (None makes one). One thread uses a board; ``stop`` may be called from another.
    """

    def __init__(
        self,
        folder: "str | Path" = HERE,
        *,
        coordinator: "str | None" = None,
        use_engine: bool = False,
        emulate_pace: bool = False,
        say: Any = None,
    ) -> None:
        self.folder = Path(folder)
        told = read_board(self.folder / "board.json")
        self.name = str(told["name"])
        self.sides = sides_of(told["preprocess"]) if told["models"] else (0, 0)
        self.image_bytes = 3 * self.sides[0] * self.sides[1]
        self.address = coordinator or str(told["coordinator"])
        self.keys = read_keys(self.folder / "keys.json")
        if self.keys is None and not is_loopback(self.address):
            raise ValueError(f"{self.address} is another machine, and keys.json is not here: boards speak with keys")
        self.models = [VectorModel(self.folder, m, told["preprocess"], use_engine) for m in told["models"]]
        self.emulate_pace, self.say = emulate_pace, say or to_stderr
        self.boot = binascii.hexlify(os.urandom(8)).decode("ascii")
        self.max_bytes = max(MAX_PING_BYTES, self.image_bytes)
        self.is_stopped, self.is_known, self.num_answered, self.num_dropped = False, False, 0, 0
        self.overslept_s = 0.0  # by the last image at an emulated pace

    def serve(self) -> int:
        """Serve until ``stop``, Ctrl-C or a refusal; returns the exit code."""
        zmq = load_zmq()
        context = zmq.Context()
        socket = self.connect(zmq, context)
        try:
            return self.loop(zmq, socket)
        finally:
            self.send(zmq, socket, Message(BYE, b""))
            socket.close(linger=200)
            context.term()

    def connect(self, zmq: Any, context: Any) -> Any:
        """Open the socket; ZeroMQ connects and reconnects by itself."""
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.MAXMSGSIZE, self.max_bytes + ENVELOPE_BYTES)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        socket.setsockopt(zmq.IMMEDIATE, 1)  # what is said to nobody is not kept for whoever comes
        if self.keys is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, self.keys["coordinator_public"].encode("ascii"))
            socket.setsockopt(zmq.CURVE_PUBLICKEY, self.keys["public"].encode("ascii"))
            socket.setsockopt(zmq.CURVE_SECRETKEY, self.keys["secret"].encode("ascii"))
        try:
            socket.connect(self.address)
        except zmq.ZMQError as error:
            socket.close(linger=0)
            raise ValueError(f"{self.address} is no address such as tcp://10.0.0.1:5577: {error}") from error
        return socket

    def loop(self, zmq: Any, socket: Any) -> int:
        """Send a hello at regular intervals, and answer each message; returns the exit code."""
        next_hello, next_word = 0.0, time.monotonic() + LONELY_S
        while not self.is_stopped:
            now = time.monotonic()
            if now >= next_hello:
                is_sent = self.send(zmq, socket, Message(HELLO, self.hello()))
                next_hello = now + (HELLO_S if is_sent else RETRY_S)
            if not self.is_known and now >= next_word:
                self.say(
                    f"{self.name}: no word from {self.address}; does it run, and are the keys those of its folder?"
                )
                next_word = now + 6 * LONELY_S
            if not socket.poll(int(1000 * min(STOP_S, max(0.0, next_hello - now))) + 1):
                continue
            try:
                message = unpack(socket.recv_multipart(), self.max_bytes)
            except ValueError as error:
                self.num_dropped += 1
                self.say(f"dropped: {error}")
                continue
            if message.kind == REFUSED:
                self.is_known = False
                self.say("the coordinator refuses this board: " + message.payload[:300].decode("utf-8", "replace"))
                return 1
            self.answer(zmq, socket, message)
        return 0

    def answer(self, zmq: Any, socket: Any, message: Message) -> None:
        """Answer one message."""
        if message.kind == WELCOME and not self.is_known:
            self.is_known = True
            self.say(f"{self.name}: taken in by the coordinator at {self.address}")
        elif message.kind == PING:
            payload = bytes(min(message.figure, MAX_PING_BYTES))
            self.send(zmq, socket, message._replace(kind=PONG, payload=payload))
        elif message.kind == IMAGE:
            for model in self.models:
                if message.figure >> model.part & 1:
                    self.send(zmq, socket, self.vector(model, message))
                    if not socket.poll(0):
                        self.overslept_s = 0.0  # an image that waits would have begun so much earlier; none does

    def vector(self, model: VectorModel, message: Message) -> Message:
        """Compute one vector; with an emulated pace, wait until the model's predicted time is over."""
        begin = time.perf_counter()
        back = message._replace(part=model.part)
        if len(message.payload) != self.image_bytes:
            text = f"an image has {len(message.payload)} bytes, wanted {self.sides[0]} x {self.sides[1]} x 3"
            return back._replace(kind=FAILED, payload=text.encode("utf-8"))
        picture = np.frombuffer(message.payload, np.uint8).reshape(self.sides[0], self.sides[1], 3)
        try:
            payload = model.compute(picture).tobytes()
        except (ValueError, OSError) as error:
            return back._replace(kind=FAILED, payload=first_line(error).encode("utf-8"))
        spent = time.perf_counter() - begin
        if self.emulate_pace:
            due = begin - self.overslept_s + model.pace_ms / 1000
            time.sleep(max(0.0, due - time.perf_counter()))
            self.overslept_s = max(0.0, time.perf_counter() - max(due, begin + spent))
            spent = time.perf_counter() - begin
        self.num_answered += 1
        return back._replace(kind=VECTOR, payload=payload, figure=int(1e6 * spent))

    def send(self, zmq: Any, socket: Any, message: Message) -> bool:
        """Send a message; return False if no coordinator is connected."""
        try:
            socket.send_multipart(pack(message), zmq.NOBLOCK)
        except zmq.Again:
            self.is_known = False
            return False
        return True

    def hello(self) -> bytes:
        """Make the hello, in JSON: name, models and runtime of the board."""
        models = [{"part": m.part, "name": m.name, "sha256": m.sha256, "vector_dim": m.dim} for m in self.models]
        runtime = self.models[0].model.runtime if self.models else "none"
        told = {"name": self.name, "boot": self.boot, "models": models, "runtime": runtime}
        return json.dumps(dict(told, is_paced=self.emulate_pace)).encode("utf-8")

    def stop(self) -> None:
        """Make ``serve`` return."""
        self.is_stopped = True


def read_board(path: Path) -> "dict[str, Any]":
    """Read board.json; raise ValueError if a value is missing or out of range."""
    told = read_object(path)
    if told.get("schema") != "nuwa.board/1":
        raise ValueError(f"{path.name} is {str(told.get('schema'))[:40]}, wanted nuwa.board/1")
    if not isinstance(told.get("name"), str) or not NAME.match(told["name"]):
        raise ValueError(f"{path.name} gives no name of letters, digits, - and _")
    if not isinstance(told.get("coordinator"), str) or len(told["coordinator"]) > 300:
        raise ValueError(f"{path.name} gives no address of the coordinator")
    models = told.get("models")
    if not isinstance(models, list) or len(models) > MAX_PARTS:
        raise ValueError(f"{path.name} gives no list of models")
    for model in models:
        check_model(path.name, model)
    if models:
        check_preprocess(path.name, told.get("preprocess"))
    return told


def check_model(where: str, model: Any) -> None:
    """Raise ValueError unless this describes a model."""
    if not isinstance(model, dict):
        raise ValueError(where + " describes a model by no object")
    for key, high in (("part", MAX_PARTS - 1), ("vector_dim", MAX_VECTOR)):
        if not is_number(model.get(key)) or model[key] != int(model[key]) or not 0 <= model[key] <= high:
            raise ValueError(f"{where} gives {key} as {str(model.get(key))[:40]}")
    if not is_number(model.get("pace_ms")) or not 0 <= model["pace_ms"] <= 60000:
        raise ValueError(f"{where} gives pace_ms as {str(model.get('pace_ms'))[:40]}")
    texts = [model.get(key) for key in ("name", "file", "sha256", "input", "output")]
    if not all(isinstance(text, str) and 0 < len(text) <= 255 for text in texts):
        raise ValueError(f"{where} lacks name, file, sha256, input or output of a model")
    if "/" in model["file"] or "\\" in model["file"] or "\0" in model["file"] or model["file"][0] == ".":
        raise ValueError(f"{where} names a model outside this folder: {model['file'][:40]}")
    if not HEX.match(model["sha256"]) or model["input"] not in INPUT_KINDS:
        raise ValueError(f"{where} gives a sha256 or an input that is none")


def sides_of(preprocess: "dict[str, Any]") -> "tuple[int, int]":
    """Return height and width of the pictures in pixels; one number stands for a square."""
    told = preprocess["img_size"]  # type: Any
    height, width = told if isinstance(told, list) else (told, told)
    return int(height), int(width)


def check_preprocess(where: str, told: Any) -> None:
    """Raise ValueError unless this says how a picture becomes the model's input."""
    size = told.get("img_size") if isinstance(told, dict) else None  # type: Any
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    if not all(is_number(side) and side == int(side) and 1 <= side <= MAX_SIDE for side in sides):
        raise ValueError(f"{where} gives img_size as {str(size)[:40]}")
    for key in ("mean", "std"):
        values = told.get(key)
        if not isinstance(values, list) or len(values) != 3 or not all(is_number(v) and 0 <= v <= 1 for v in values):
            raise ValueError(f"{where} gives no {key} of three channels")
    if not all(told["std"]):
        raise ValueError(where + " gives a std of zero")


def read_keys(path: Path) -> "dict[str, str] | None":
    """Read this board's keys; None where it has none."""
    if not path.exists():
        return None
    told = read_object(path)
    names = ("public", "secret", "coordinator_public")
    if not all(
        isinstance(told.get(name), str) and len(told[name]) == 40 and told[name].isprintable() for name in names
    ):
        raise ValueError(f"{path.name} lacks one of {', '.join(names)}, each 40 characters")
    return {name: told[name] for name in names}


def read_object(path: Path) -> "dict[str, Any]":
    """Read one of this folder's JSON files, of bounded size."""
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise ValueError(f"{path.name} has {size} bytes, at most {MAX_JSON_BYTES} are read")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(path.name + " is nested too deep") from error
    if not isinstance(values, dict):
        raise ValueError(path.name + " holds no object")
    return values


def is_number(value: Any) -> bool:
    """Whether a value is a number below 10^18 in size, and not a bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18


def hash_file(path: Path) -> str:
    """Hash a file: 64 hex digits of SHA-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(2**20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def load_beside(name: str) -> Any:
    """Import a module from this file's folder, whatever the working directory."""
    spec = importlib.util.spec_from_file_location(name, str(HERE / (name + ".py")))
    if spec is None or spec.loader is None:
        raise ValueError(f"{name}.py is not beside {Path(__file__).name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def first_line(error: Exception) -> str:
    """Return the first line of another program's error message, at most 300 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def to_stderr(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def nothing_said(text: str) -> None:
    """Drop a line: what ``--quiet`` does."""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Answer a coordinator's images with vectors.")
    parser.add_argument("--folder", default=str(HERE), help="where board.json lies (default: beside this file)")
    parser.add_argument("--coordinator", help="address, such as tcp://10.0.0.1:5577")
    parser.add_argument("--engine", action="store_true", help="run the TensorRT engines beside the models")
    parser.add_argument(
        "--emulate-pace", action="store_true", help="for trials: wait until a model's predicted time is over"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    args = parser.parse_args()
    say = nothing_said if args.quiet else to_stderr
    board = BoardServer(
        args.folder, coordinator=args.coordinator, use_engine=args.engine, emulate_pace=args.emulate_pace, say=say
    )
    signal.signal(signal.SIGTERM, lambda *_: board.stop())
    paced = ", at an emulated pace" if board.emulate_pace else ""
    say(f"{board.name}: {len(board.models)} models, looking for the coordinator at {board.address}{paced}")
    return board.serve()


def start() -> Any:
    """Run the program; write an error as one sentence and return the exit code."""
    try:
        return main()
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, KeyError) as error:
        to_stderr(f"error: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(start())
