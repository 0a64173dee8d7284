"""What a command names: an ONNX file, a bundle, an arch file or id, or a base."""

import json
from pathlib import Path

import onnx

from deploy.bundle import is_bundle, read_bundle
from deploy.export.from_arch import onnx_from_arch
from deploy.runtimes.model_file import parse_model, read_model_bytes
from deploy.tensorrt.typed_precision import graph_precision
from nuwa.arch import Arch, arch_from_dict
from nuwa.base import load_base
from nuwa.device import DeviceSpec
from nuwa.errors import NuwaError
from nuwa.store.store import Store

ARCH_ID_LENGTH = 16


def arch_from_text(text: str, store: Store) -> Arch:
    """Read an arch: a JSON file, a bundle, an arch id of the database, or a base.

    Raises:
        NuwaError: If it is none of these.
    """
    path = Path(text).expanduser()
    if path.is_dir() and is_bundle(path):
        return read_bundle(path).arch
    if path.is_file():
        return arch_from_file(path)
    if len(text) == ARCH_ID_LENGTH and all(c in "0123456789abcdef" for c in text):
        return store.load_arch(text)
    if text.startswith((".", "/", "~")) and not (path / "config.json").exists():
        raise NuwaError(f"no arch at {text}", hint="name an arch id, an arch JSON file, a bundle or a base")
    return load_base(text).arch


def arch_from_file(path: Path) -> Arch:
    """Read an arch from JSON: a bundle's arch.json, or an answer of `nuwa search --json`.

    Raises:
        NuwaError: If the file holds no arch.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise NuwaError(f"{path} cannot be read as JSON: {error}") from error
    if isinstance(values, dict) and isinstance(values.get("subnet"), dict):
        values = values["subnet"].get("arch")
    if not isinstance(values, dict):
        raise NuwaError(f"{path} holds no arch")
    return arch_from_dict(values)


def onnx_from_text(text: str, store: Store, spec: DeviceSpec) -> onnx.ModelProto:
    """Read or make the ONNX model that a command names, as ``spec`` takes it.

    Raises:
        NuwaError: If it is no ONNX file, bundle, arch or base.
    """
    path = Path(text).expanduser()
    if path.suffix == ".onnx":
        return parse_model(read_model_bytes(path), origin=str(path))
    if path.is_dir() and is_bundle(path):
        exported = read_bundle(path).onnx_path
        if exported is not None:
            return parse_model(read_model_bytes(exported), origin=str(exported))
    return onnx_from_arch(
        arch_from_text(text, store), opset=spec.opset, precision=graph_precision(spec), batch=spec.batch
    )
