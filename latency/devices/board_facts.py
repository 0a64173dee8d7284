"""What a board is: found once, when it is added or first used."""

import re
from dataclasses import dataclass

from nuwa_search.core.device import DeviceSpec, Precision
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.transport import Transport
from nuwa_search.deploy.tensorrt.export_opset import export_opset
from nuwa_search.deploy.tensorrt.refusals import check_spec
from nuwa_search.deploy.tensorrt.report import read_trtexec_version
from nuwa_search.deploy.tensorrt.trtexec import TRTEXEC_PATHS
from nuwa_search.deploy.tensorrt.version import TrtVersion
from nuwa_search.latency.devices.board_state import read_board_state

# Compute capability by the system-on-chip that the device tree names (NVIDIA's CUDA GPU list).
_CAPABILITIES = {"tegra210": "5.3", "tegra186": "6.2", "tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}

_TIMEOUT_S = 60.0  # trtexec starts CUDA before it prints anything: seconds on a Nano

# Prints the first trtexec that can be run: the given one, one on PATH, one where packages put it.
_FIND = 'for t in "$@"; do c=$(command -v "$t" 2>/dev/null) && { printf "%s\\n" "$c"; exit 0; }; done; exit 1'


@dataclass(frozen=True)
class BoardFacts:
    """What was found on a board.

    Args:
        trtexec: Its path there.
        version: TensorRT version it prints.
        compute_capability: By the chip; None for a chip not known here.
        memory_mb: Memory shared by CPU and GPU; None where it cannot be read.
        power_mode: As ``nvpmodel`` names it; None where there is none.
        board: As the device tree names it; empty where there is none.
    """

    trtexec: str
    version: TrtVersion
    compute_capability: str | None
    memory_mb: int | None
    power_mode: str | None
    board: str


def find_trtexec(transport: Transport, *, preferred: str | None = None) -> str:
    """Find `trtexec` on a board.

    Raises:
        OutsideError: If it is nowhere.
    """
    names = [*([preferred] if preferred else []), "trtexec", *TRTEXEC_PATHS]
    result = transport.run(["sh", "-c", _FIND, "sh", *names], timeout_s=_TIMEOUT_S)
    path = result.stdout.strip()
    if result.returncode or not path:
        raise OutsideError(
            f"no trtexec on {transport.address}: looked for " + ", ".join(names),
            hint="install it there: sudo apt-get install tensorrt (JetPack), or give --trtexec PATH",
        )
    return path


def read_version(transport: Transport, trtexec: str) -> TrtVersion:
    """Ask `trtexec` for its version; its help begins with the same header as every run.

    Raises:
        OutsideError: If it does not start.
    """
    result = transport.run([trtexec, "--help"], timeout_s=_TIMEOUT_S)
    version = read_trtexec_version(result.output)
    if version is None:
        raise OutsideError(
            f"{trtexec} on {transport.address} does not say its version: {result.output.strip()[:200]!r}",
            hint=f"run it there by hand: {trtexec} --help",
        )
    return version


def read_board_facts(transport: Transport, *, trtexec: str | None = None, sysroot: str = "") -> BoardFacts:
    """Find out what a board is.

    Raises:
        OutsideError: If it cannot be reached or has no working `trtexec`.
    """
    path = find_trtexec(transport, preferred=trtexec)
    version = read_version(transport, path)
    state = read_board_state(transport, sysroot=sysroot)
    total = re.search(r"MemTotal:\s*([0-9]{1,15})\b", _read_file(transport, f"{sysroot}/proc/meminfo"))
    return BoardFacts(
        trtexec=path,
        version=version,
        compute_capability=_CAPABILITIES.get(state.values.get("chip", "")),
        memory_mb=int(total[1]) // 1024 if total else None,
        power_mode=state.power_mode,
        board=state.values.get("board", ""),
    )


def spec_from_facts(name: str, facts: BoardFacts, *, address: str, precision: Precision, batch: int = 1) -> DeviceSpec:
    """Make the spec of a board that was just looked at.

    Args:
        name: Name that the user gives the device.
        facts: What was found on the board.
        address: SSH address, ``[user@]host[:port]``.
        precision: Precision of the engines.
        batch: Images per inference.

    Raises:
        NuwaError: If TensorRT there cannot serve the precision, with the reason.
    """
    if not name:
        raise NuwaError("a device needs a name", hint="nuwa device add NAME --ssh user@host")
    spec = DeviceSpec(
        name=name,
        kind="ssh",
        runtime="tensorrt",
        runtime_version=str(facts.version),
        precision=precision,
        batch=batch,
        power_mode=facts.power_mode,
        opset=export_opset(facts.version),
        compute_capability=facts.compute_capability,
        memory_mb=facts.memory_mb,
        options=(("ssh", address), ("trtexec", facts.trtexec)),
        note=facts.board,
    )
    check_spec(spec)
    return spec


def _read_file(transport: Transport, path: str) -> str:
    return transport.run(["cat", path], timeout_s=_TIMEOUT_S).stdout
