"""Check a board and give, for each fault, the command that mends it."""

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.transport import ConnectionFailedError, Transport
from nuwa_search.deploy.tensorrt.trtexec import default_workspace_mb
from nuwa_search.deploy.tensorrt.version import TrtVersion, trt_version_from_text
from nuwa_search.latency.devices.board_facts import find_trtexec, read_version
from nuwa_search.latency.devices.board_state import BoardState, read_board_state
from nuwa_search.latency.devices.finding import Finding

_TIMEOUT_S = 30.0

# Room for a few ONNX files and engines of ViT-B size (344 MB in FP32) at a time.
_WANTED_DISK_MB = 2048

# What stays of 4 GB beside OS and a CUDA + cuBLAS + cuDNN context of up to 1.1 GB, for weights twice.
_WANTED_MEMORY_MB = 1100 + 512

_HOT_MILLIDEGREES = 85_000  # chosen: warn before a passively cooled board slows itself down


def examine_board(spec: DeviceSpec, transport: Transport, *, sysroot: str = "") -> list[Finding]:
    """Check everything; a board that cannot be reached ends the list.

    Args:
        spec: What the board is registered as.
        transport: The way there.
        sysroot: What stands before ``/sys``, ``/proc`` and ``/etc`` there.
    """
    try:
        transport.run(["true"], timeout_s=_TIMEOUT_S)
    except ConnectionFailedError as error:
        return [Finding("reachable", is_ok=False, found=error.message, mend=error.hint)]
    except NuwaError as error:
        return [
            Finding("reachable", is_ok=True, found=transport.address),
            Finding("trusted both ways", is_ok=False, found=error.message, mend=error.hint),
        ]
    findings = [
        Finding("reachable", is_ok=True, found=transport.address),
        Finding("trusted both ways", is_ok=True, found="host key known, our key accepted"),
    ]
    state = read_board_state(transport, sysroot=sysroot)
    release = state.values.get("l4t")
    findings.append(Finding("system", is_ok=True, found=release or "no L4T release file: not a Jetson"))
    findings += _tensorrt(spec, transport)
    findings += [_clocks(state), _power_mode(spec, state), _disk(transport), _memory(spec, state), _heat(state)]
    others = state.num_other_trtexec
    found = f"{others} other runs of trtexec" if others else "no other run of trtexec"
    findings.append(Finding("idle", is_ok=not others, found=found, mend="wait for them to end" if others else ""))
    return findings


def _tensorrt(spec: DeviceSpec, transport: Transport) -> list[Finding]:
    try:
        trtexec = find_trtexec(transport, preferred=dict(spec.options).get("trtexec"))
    except NuwaError as error:
        return [Finding("trtexec", is_ok=False, found=error.message, mend=error.hint)]
    found = Finding("trtexec", is_ok=True, found=trtexec)
    version: TrtVersion | None
    try:
        version = read_version(transport, trtexec)
    except NuwaError as error:
        packaged = _packaged_version(transport)
        note = f" (package libnvinfer: {packaged})" if packaged else ""
        return [found, Finding("TensorRT version", is_ok=False, found=error.message + note, mend=error.hint)]
    is_as_registered = not spec.runtime_version or (
        version.release == trt_version_from_text(spec.runtime_version).release
    )
    mend = "" if is_as_registered else f"nuwa device rm {spec.name}, then nuwa device add {spec.name}"
    registered = f", registered with {spec.runtime_version}" if not is_as_registered else ""
    return [found, Finding("TensorRT version", is_ok=is_as_registered, found=f"{version}{registered}", mend=mend)]


def _packaged_version(transport: Transport) -> str:
    result = transport.run(["dpkg-query", "-W", "-f", "${Version}\\n", "libnvinfer[0-9]*"], timeout_s=_TIMEOUT_S)
    return next((line for line in result.stdout.splitlines() if line.strip()), "")


def _clocks(state: BoardState) -> Finding:
    name = "clocks pinned"
    pinned = state.clocks_pinned
    if pinned is None:
        return Finding(name, is_ok=False, found="the board does not tell its GPU clock", mend="sudo jetson_clocks")
    low, high = (f"{int(state.values[key]) / 1e6:.0f} MHz" for key in ("gpu_min_hz", "gpu_max_hz"))
    if not pinned:
        return Finding(name, is_ok=False, found=f"GPU moves between {low} and {high}", mend="sudo jetson_clocks")
    return Finding(name, is_ok=True, found=f"GPU at {high}")


def _power_mode(spec: DeviceSpec, state: BoardState) -> Finding:
    mode = state.power_mode
    if spec.power_mode is None or mode == spec.power_mode:
        return Finding("power mode", is_ok=True, found=mode or "none")
    return Finding(
        "power mode",
        is_ok=False,
        found=f"{mode or 'unknown'}, registered for {spec.power_mode}",
        mend="sudo nvpmodel -m 0 (MAXN); nvpmodel -p --verbose lists the others",
    )


def _disk(transport: Transport) -> Finding:
    folder = transport.run(["sh", "-c", 'printf %s "${TMPDIR:-/tmp}"'], timeout_s=_TIMEOUT_S).stdout
    free_mb = transport.free_disk_mb(folder)
    is_ok = free_mb >= _WANTED_DISK_MB
    mend = "" if is_ok else "sudo apt-get clean; df -h shows where the rest went"
    return Finding("disk", is_ok=is_ok, found=f"{free_mb:.0f} MiB free in {folder}", mend=mend)


def _memory(spec: DeviceSpec, state: BoardState) -> Finding:
    free_mb = state.free_memory_mb
    if free_mb is None:
        return Finding("memory", is_ok=True, found="the board does not tell")
    wanted_mb = _WANTED_MEMORY_MB + default_workspace_mb(spec.memory_mb)
    is_ok = free_mb >= wanted_mb
    mend = "" if is_ok else "sudo systemctl isolate multi-user.target (stops the desktop), or add swap"
    return Finding("memory", is_ok=is_ok, found=f"{free_mb:.0f} MiB free, {wanted_mb} wanted", mend=mend)


def _heat(state: BoardState) -> Finding:
    readings = {key.removeprefix("temp_"): value for key, value in state.values.items() if key.startswith("temp_")}
    # The Nano's PMIC-Die zone is a placeholder that always says 100 °C.
    degrees = {zone: int(v) for zone, v in readings.items() if v.lstrip("-").isdigit() and "PMIC" not in zone}
    if not degrees:
        return Finding("temperature", is_ok=True, found="the board does not tell")
    zone, hottest = max(degrees.items(), key=lambda pair: pair[1])
    is_ok = hottest < _HOT_MILLIDEGREES
    return Finding(
        "temperature", is_ok, f"{hottest / 1000:.0f} °C at {zone}", "" if is_ok else "let it cool; add a fan"
    )
