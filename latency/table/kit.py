"""A measuring kit for a board that cannot be reached: ONNX files and one script, carried there and back.

The script runs the board's own ``trtexec`` once per file and leaves what it prints beside the
files; ``import_kit`` reads that back. Nothing has to be installed on the board.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core import checked
from nuwa_search.core.arch import Arch, arch_from_dict, dict_from_arch
from nuwa_search.core.device import DeviceSpec, Measurement, MeasureProtocol
from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.tensorrt.results import read_run
from nuwa_search.deploy.tensorrt.trtexec import build_line, default_workspace_mb, measure_line, shell_line
from nuwa_search.latency.table.timer import Export

MANIFEST = "kit.json"
SCRIPT = "measure.sh"
_SCHEMA = "nuwa.kit/1"


@dataclass(frozen=True)
class KitFile:
    """One net of a kit: its shape, what it is for, and the name of its files without ending."""

    name: str
    arch: Arch
    role: str


def write_kit(
    folder: Path,
    nets: Sequence[tuple[Arch, str]],
    *,
    spec: DeviceSpec,
    protocol: MeasureProtocol,
    export: Export,
) -> list[KitFile]:
    """Write ONNX files, a manifest and the script that measures them.

    Args:
        folder: New or empty.
        nets: Nets with the role of each (``chain``, ``fit``, ``heldout``); doubles are written once.
        spec: The board; runtime version and precision decide the command lines.
        protocol: How to measure.
        export: Makes ONNX models that hold their weights.

    Raises:
        NuwaError: If the folder is not empty or the version of TensorRT is not known.
    """
    if folder.exists() and any(folder.iterdir()):
        raise NuwaError(f"the kit's folder {folder} is not empty", hint="name a new folder with --kit")
    folder.mkdir(parents=True, exist_ok=True)
    unique = {(arch.arch_id, role): arch for arch, role in nets}
    files = [KitFile(f"{role}-{arch_id}", arch, role) for (arch_id, role), arch in unique.items()]
    for file in files:
        (folder / f"{file.name}.onnx").write_bytes(export(file.arch).SerializeToString())
    manifest = {
        "schema": _SCHEMA,
        "device_id": spec.device_id,
        "protocol_id": protocol.protocol_id,
        "files": [{"name": f.name, "role": f.role, "arch": dict_from_arch(f.arch)} for f in files],
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
    script = folder / SCRIPT
    script.write_text(_script(files, spec=spec, protocol=protocol))
    script.chmod(0o755)
    return files


def _script(files: Sequence[KitFile], *, spec: DeviceSpec, protocol: MeasureProtocol) -> str:
    """Make the script: nets measured already are skipped, so it may be stopped and started again."""
    lines = [
        "#!/bin/sh",
        "# Measures every net of this kit with the board's own trtexec; start it again to go on.",
        'cd "$(dirname "$0")" || exit 1',
        "PATH=$PATH:/usr/src/tensorrt/bin",
        "command -v trtexec >/dev/null || { echo 'no trtexec: install TensorRT' >&2; exit 1; }",
        "one() {",
        '  [ -s "$1.times.json" ] && return',
        f'  {_line_for("build", spec, protocol)} > "$1.build.log" 2>&1 || {{ echo "$1: no engine, see $1.build.log"; '
        "return; }",
        f'  {_line_for("measure", spec, protocol)} > "$1.log" 2>&1 && mv "$1.times.tmp" "$1.times.json" '
        '|| echo "$1: not measured, see $1.log"',
        '  rm -f "$1.engine"',
        "}",
        *(f"one {shlex.quote(file.name)}" for file in files),
        "echo done",
    ]
    return "\n".join(lines) + "\n"


def _line_for(step: str, spec: DeviceSpec, protocol: MeasureProtocol) -> str:
    """Quote one command line of the script; ``NAME`` stands for the shell's ``$1``."""
    if step == "build":
        line = build_line(
            "NAME.onnx",
            "NAME.engine",
            version=spec.runtime_version,
            precision=spec.precision,
            workspace_mb=default_workspace_mb(spec.memory_mb),
            timing_cache="timing.cache",
        )
    else:
        line = measure_line(
            "NAME.engine", version=spec.runtime_version, protocol=protocol, export_times="NAME.times.tmp"
        )
    return shell_line(line).replace("NAME", '"$1"')


@dataclass(frozen=True)
class KitResults:
    """What came back with a kit.

    Args:
        models: Measured nets; the role of each is in the measurement's state.
        missing: What is not there, or not whole, and why; one line for each net.
    """

    models: tuple[tuple[Arch, Measurement], ...]
    missing: tuple[str, ...]


def import_kit(folder: Path, *, spec: DeviceSpec, protocol: MeasureProtocol) -> KitResults:
    """Read what ``trtexec`` left in a kit's folder.

    A net whose output is missing, cut or of another version is named in ``missing``, never guessed.

    Raises:
        NuwaError: If the folder holds no kit, one for another device or protocol, or no measured net.
    """
    files = read_manifest(folder, spec=spec, protocol=protocol)
    models: list[tuple[Arch, Measurement]] = []
    missing: list[str] = []
    for file in files:
        times, log = folder / f"{file.name}.times.json", folder / f"{file.name}.log"
        if not (times.exists() and log.exists()):
            missing.append(f"{file.name}: not measured")
            continue
        try:
            run = read_run(
                _run_file(log),
                times=_run_file(times),
                protocol=protocol,
                version=spec.runtime_version,
            )
        except NuwaError as error:
            missing.append(f"{file.name}: {error.message}")
            continue
        measurement = Measurement(
            device=spec,
            protocol=protocol,
            provenance="measured",
            latency_ms=run.latency_ms,
            samples=run.samples,
            state={"role": file.role, "kit": file.name},
            warnings=run.warnings,
        )
        models.append((file.arch, measurement))
    if not models:
        raise NuwaError(
            f"the kit in {folder} was not measured yet", hint=f"copy it to the board and run ./{SCRIPT} there"
        )
    return KitResults(tuple(models), tuple(missing))


def _run_file(path: Path) -> Path:
    """Refuse a file of a run that is none or leads elsewhere; it is read as a stream, whatever its size.

    Raises:
        NuwaError: If it is no plain file of the kit's folder.
    """
    if path.is_symlink() or not path.is_file():
        raise NuwaError(f"{path.name} is no plain file")
    return path


def read_manifest(folder: Path, *, spec: DeviceSpec, protocol: MeasureProtocol) -> list[KitFile]:
    """List the nets of a kit.

    Raises:
        NuwaError: If the folder holds no kit, or one for another device or protocol.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise NuwaError(f"no measuring kit in {folder}", hint="write one with nuwa profile DEVICE --kit DIR")
    values = read_object(path, what="measuring kit")
    if values.get("schema") != _SCHEMA:
        raise NuwaError(f"{path} is not a measuring kit: schema {checked.shown(values.get('schema'))}")
    if values.get("device_id") != spec.device_id:
        raise NuwaError(
            f"the kit in {folder} was written for device {checked.shown(values.get('device_id'))}, not for {spec.name}",
            hint="import it for the device it was written for",
        )
    if values.get("protocol_id") != protocol.protocol_id:
        raise NuwaError(f"the kit in {folder} was written for another measuring protocol", hint="write a new kit")
    try:
        return [_kit_file(entry) for entry in checked.items(values.get("files"), "files")]
    except NuwaError as error:
        raise NuwaError(f"{path} is damaged: {error.message}", hint="write a new kit") from error


def _kit_file(values: object) -> KitFile:
    found = checked.mapping(values, "a net")
    return KitFile(
        name=checked.file_name(found.get("name"), "the name of a net"),
        arch=arch_from_dict(found.get("arch")),
        role=checked.text(found.get("role"), "the role of a net"),
    )
