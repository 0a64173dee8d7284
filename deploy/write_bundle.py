"""Write a bundle so that it is whole or not there."""

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import onnx
from safetensors import SafetensorError

from nuwa_search.core.arch import Arch, dict_from_arch
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.images import Preprocess
from nuwa_search.core.onnx_file import parse_onnx
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.weights import save_weights
from nuwa_search.deploy import bundle as names
from nuwa_search.deploy.bundle import Bundle, is_bundle, read_bundle
from nuwa_search.deploy.bundle_facts import NO_FACTS, BundleFacts, dict_from_facts
from nuwa_search.deploy.bundle_readme import readme_text
from nuwa_search.deploy.certificate import Certificate, dict_from_certificate, with_files
from nuwa_search.deploy.compared_names import COMPARED
from nuwa_search.deploy.field.field_model import FieldModel
from nuwa_search.deploy.field.write_field import write_field
from nuwa_search.deploy.file_hashes import CERTIFICATE, hash_folder
from nuwa_search.deploy.lost_names import LOST
from nuwa_search.deploy.tensorrt.engine_info import info_path
from nuwa_search.deploy.tensorrt.trtexec import TRTEXEC_PATHS, shell_line
from nuwa_search.deploy.verify import input_kind_of

_ASSETS_DIR = Path(__file__).parent / "assets"
_EXECUTABLE = 0o755


@dataclass(frozen=True)
class BundleParts:
    """What goes into a bundle; only the first four are needed.

    Args:
        model: The subnet.
        arch: As it was searched; entries of blocks that are gone may be there.
        labels: One name per output.
        preprocess: How images are made.
        exported: The ONNX model; None before the export.
        certificate: What was proven, without ``files``; None before the export.
        engine: An engine built here; the file that describes it comes along. None where none can be built.
        build_line: Arguments that build the engine on the device, with paths relative to the bundle.
        int8: An INT8 graph that nobody could measure here, to be tried on the device, and the arguments that
            build its engine there; None for none.
        samples: Encoded images with file names, to try the bundle on.
        lost: Files with their names: which test images the base has right and this model wrong, small.
        compared: Files with their names: test images with truth, base and this model side by side, small.
        facts: What is known about the model; kept in a file of its own until a certificate takes it over, so
            that a step which makes the certificate out of date does not lose it.
    """

    model: PlainViT
    arch: Arch
    labels: tuple[str, ...]
    preprocess: Preprocess
    exported: onnx.ModelProto | bytes | None = None
    certificate: Certificate | None = None
    engine: Path | None = None
    build_line: Sequence[str] | None = None
    int8: tuple[onnx.ModelProto | bytes, Sequence[str]] | None = None
    samples: Sequence[tuple[str, bytes]] = ()
    lost: Sequence[tuple[str, bytes]] = ()
    compared: Sequence[tuple[str, bytes]] = ()
    facts: BundleFacts = NO_FACTS


def parts_from_bundle(bundle: Bundle) -> BundleParts:
    """Read everything back that ``write_bundle`` was given, so that a step can change a part and write again.

    Raises:
        NuwaError: If weights are missing, damaged or of another arch.
    """
    return BundleParts(
        model=bundle.load_model(),
        arch=bundle.arch,
        labels=bundle.labels,
        preprocess=bundle.preprocess,
        exported=bundle.onnx_path.read_bytes() if bundle.onnx_path else None,
        certificate=bundle.certificate,
        engine=bundle.engine_path,
        build_line=_line_of(bundle.build_path) if bundle.build_path else None,
        int8=_int8_of(bundle),
        samples=_files_in(bundle.dir / names.SAMPLES),
        lost=_files_in(bundle.dir / LOST),
        compared=_files_in(bundle.dir / COMPARED),
        facts=bundle.facts,
    )


def _files_in(folder: Path) -> tuple[tuple[str, bytes], ...]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return tuple((path.name, path.read_bytes()) for path in found if path.is_file())


def _line_of(script: Path) -> list[str]:
    return shlex.split(script.read_text(encoding="utf-8").splitlines()[-1])


def _int8_of(bundle: Bundle) -> tuple[bytes, list[str]] | None:
    graph, script = bundle.dir / names.INT8_ONNX, bundle.dir / names.INT8_BUILD
    return (graph.read_bytes(), _line_of(script)) if graph.is_file() and script.is_file() else None


def write_bundle(folder: Path, parts: BundleParts, *, replace: bool = False) -> Bundle:
    """Write all files next to ``folder`` and move them into place at once.

    Args:
        folder: Where the bundle goes; parent folders are made.
        parts: What goes in.
        replace: Whether a bundle that is there may be replaced. Files in it that no bundle writes are kept.

    Raises:
        NuwaError: If parts do not fit each other, or something is there that may not be replaced.
        OutsideError: If the disk is full or cannot be written; nothing is left behind then.
    """
    _check_parts(parts)
    _check_target(folder, replace=replace)
    with _outside_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        try:
            fresh.chmod(_EXECUTABLE)  # mkdtemp makes it private
            _write_files(fresh, parts)
            _move_into_place(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return read_bundle(folder)


def _check_parts(parts: BundleParts) -> None:
    if parts.model.arch != parts.arch.compact():
        raise NuwaError(f"model {parts.model.arch.arch_id} is not of arch {parts.arch.arch_id}")
    if len(parts.labels) != parts.arch.num_classes:
        raise NuwaError(f"{len(parts.labels)} labels do not fit {parts.arch.num_classes} classes")
    if any("\n" in label or "\r" in label for label in parts.labels):
        raise NuwaError("a class name holds a line break", hint="rename the class; labels.txt has one name a line")
    if parts.certificate is not None and parts.certificate.arch_id != parts.arch.arch_id:
        raise NuwaError(f"the certificate is of arch {parts.certificate.arch_id}, not of {parts.arch.arch_id}")
    if parts.certificate is not None and parts.exported is None:
        raise NuwaError("a certificate needs the exported model it is about")
    for name, _ in (*parts.samples, *parts.lost, *parts.compared):
        if Path(name).name != name or name.startswith("."):
            raise NuwaError(f"{name!r} is not a plain file name")


def _check_target(folder: Path, *, replace: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_bundle(folder):
        raise NuwaError(f"{folder} exists and is not a bundle", hint="choose another folder with -o")
    if not replace:
        raise NuwaError(f"a bundle is at {folder} already", hint="choose another folder with -o")


@contextmanager
def _outside_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutsideError(
            f"bundle {folder} could not be written: {error.strerror or error}",
            hint="free disk space or choose another folder with -o",
        ) from error
    except SafetensorError as error:
        raise OutsideError(f"bundle {folder} could not be written: {error}", hint="free disk space") from error


def _write_files(folder: Path, parts: BundleParts) -> None:
    _write_json(folder / names.ARCH, dict_from_arch(parts.arch))
    _write_json(folder / names.PREPROCESS, asdict(parts.preprocess))
    (folder / names.LABELS).write_text("".join(f"{label}\n" for label in parts.labels), encoding="utf-8")
    save_weights(parts.model, folder / names.WEIGHTS)
    for name, asset in names.programs_of(parts.arch).items():
        shutil.copyfile(_ASSETS_DIR / asset, folder / name)
    if parts.exported is not None:
        (folder / names.ONNX).write_bytes(_bytes_of(parts.exported))
    if parts.exported is not None and not parts.arch.is_dense:  # what is written for the field classifies
        field = _field_model(parts)
        write_field(folder, field)
        if field.build_line and (folder / names.DEEPSTREAM).is_dir():  # its graph is another: it has its own engine
            _write_script(folder / names.DEEPSTREAM / names.BUILD, field.build_line)
    if parts.engine is not None:
        shutil.copyfile(parts.engine, folder / names.ENGINE)
        if info_path(parts.engine).exists():
            shutil.copyfile(info_path(parts.engine), folder / names.ENGINE_INFO)
    if parts.build_line is not None:
        _write_script(folder / names.BUILD, parts.build_line)
    if parts.int8 is not None:
        graph, line = parts.int8
        (folder / names.INT8_ONNX).write_bytes(_bytes_of(graph))
        _write_script(folder / names.INT8_BUILD, line)
    if parts.facts != NO_FACTS and parts.certificate is None:
        _write_json(folder / names.FACTS, dict_from_facts(parts.facts))
    for below, files in ((names.SAMPLES, parts.samples), (LOST, parts.lost), (COMPARED, parts.compared)):
        if files:
            (folder / below).mkdir()
        for name, data in files:
            (folder / below / name).write_bytes(data)
    present = {p.name for p in folder.iterdir()}
    readme = readme_text(parts.arch, parts.labels, parts.certificate, present=present, facts=parts.facts)
    (folder / names.README).write_text(readme, encoding="utf-8")
    if parts.certificate is not None:
        created = datetime.now(UTC).isoformat(timespec="seconds")
        certificate = with_files(parts.certificate, hash_folder(folder), created=created)
        _write_json(folder / CERTIFICATE, dict_from_certificate(certificate))


def _field_model(parts: BundleParts) -> FieldModel:
    exported = parts.exported
    graph = parse_onnx(exported, origin=names.ONNX) if isinstance(exported, bytes) else exported
    if graph is None:
        raise NuwaError("a bundle without an exported model has nothing for the field")
    certificate = parts.certificate
    return FieldModel(
        graph=graph,
        labels=parts.labels,
        preprocess=parts.preprocess,
        input_kind=input_kind_of(graph),
        precision=certificate.device.precision if certificate else "fp32",
        none_below=(certificate.facts if certificate else parts.facts).none_below,
        build_line=tuple(parts.build_line) if parts.build_line else None,
    )


def _bytes_of(model: onnx.ModelProto | bytes) -> bytes:
    return model if isinstance(model, bytes) else model.SerializeToString()


def _write_script(path: Path, line: Sequence[str]) -> None:
    path.write_text(build_script(line), encoding="utf-8")
    path.chmod(_EXECUTABLE)


def build_script(line: Sequence[str]) -> str:
    """Write the shell script that builds the engine: run on the device, from any folder."""
    folders = ":".join(str(Path(path).parent) for path in TRTEXEC_PATHS)
    return "\n".join(
        [
            "#!/bin/sh",
            "# Builds the engine on the device itself: engines do not carry over between boards or versions.",
            "set -eu",
            'cd "$(dirname "$0")"',
            f'PATH="$PATH:{folders}"  # TensorRT puts trtexec on no default path',
            shell_line(line),
            "",
        ]
    )


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _move_into_place(fresh: Path, folder: Path) -> None:
    """Swap the new folder in; the user's own files of the old one follow."""
    for path in fresh.rglob("*"):
        if path.is_file():
            _flush(path)
    if not folder.exists():
        fresh.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old-", dir=folder.parent))
    folder.rename(old / folder.name)
    try:
        fresh.rename(folder)
    except OSError:
        (old / folder.name).rename(folder)
        old.rmdir()
        raise
    for path in (old / folder.name).iterdir():
        if path.name not in names.OWN_NAMES:
            path.rename(folder / path.name)
    shutil.rmtree(old)


def _flush(path: Path) -> None:
    """Make sure that a file's bytes are on the disk before its name is."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
