"""What a command names: an ONNX file, a bundle, an arch file or id, or a base."""

import hashlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import onnx

from nuwa_search.core.arch import Arch, arch_from_dict
from nuwa_search.core.base import load_base
from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.documents import read_json
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.home import expanded
from nuwa_search.core.onnx_file import load_weights_beside
from nuwa_search.core.source_name import DEMO_BASE
from nuwa_search.deploy.bundle import is_bundle, read_bundle
from nuwa_search.deploy.device_bundles import bundle_for
from nuwa_search.deploy.export.from_arch import onnx_from_arch
from nuwa_search.deploy.file_hashes import hash_file
from nuwa_search.deploy.runtimes.model_file import parse_model, read_model_bytes
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.store.store import Store

ARCH_ID_LENGTH = 16
_NAMES_OF_MODELS = "name an ONNX file, a bundle, an arch JSON file, an arch id that `nuwa query` shows, or a base"
_ARCH_FILES = "an arch is a bundle's arch.json, or an answer of nuwa search --json"
_FILE_TYPES = (".onnx", ".json", ".safetensors", ".pt", ".pth", ".engine", ".toml")


def arch_from_text(text: str, store: Store) -> Arch:
    """Read an arch: a JSON file, a bundle, an arch id of the database, or a base.

    Raises:
        NuwaError: If it is none of these.
    """
    path = expanded(text)
    if path.is_dir() and is_bundle(path):
        return read_bundle(path).arch
    if path.suffix == ".onnx" and path.is_file():
        raise NuwaError(
            f"{text} is an ONNX graph, and an arch is wanted", hint=f"nuwa measure {shlex.quote(text)} times any graph"
        )
    if path.is_file():
        return arch_from_file(path)
    if is_arch_id(text):
        return store.load_arch(text)
    if _is_meant_as_path(text) and not path.exists():
        raise NuwaError(f"there is no file or folder at {text}", hint=_NAMES_OF_MODELS)
    return _base_arch(text, path)


def is_arch_id(text: str) -> bool:
    """Whether a text looks like an id, and no file or folder is called that."""
    return len(text) == ARCH_ID_LENGTH and all(c in "0123456789abcdef" for c in text) and not expanded(text).exists()


def _base_arch(text: str, path: Path) -> Arch:
    try:
        return load_base(text).arch
    except OutsideError:
        raise
    except NuwaError as error:
        if path.is_dir() and not (path / "config.json").exists():
            raise NuwaError(
                f"the folder {text} holds neither a bundle (arch.json) nor a base (config.json)", hint=_NAMES_OF_MODELS
            ) from error
        if path.exists() or text == DEMO_BASE:
            raise
        near = f"{error.hint}; " if error.hint.startswith("did you mean") else ""
        raise NuwaError(
            f"{error.message}, and no file or folder is called that", hint=f"{near}{_NAMES_OF_MODELS}"
        ) from error


def _is_meant_as_path(text: str) -> bool:
    """Tell a path that leads nowhere from a model's name, which has no slash and ends in no file type."""
    if text.startswith((".", "/", "~")):
        return True
    return Path(text).suffix in _FILE_TYPES or (os.sep in text and not text.startswith("hf-hub:"))


def arch_from_file(path: Path) -> Arch:
    """Read an arch from JSON: a bundle's arch.json, or an answer of `nuwa search --json`.

    Raises:
        NuwaError: If the file holds no arch.
    """
    values = read_json(path, what="arch file", hint=_ARCH_FILES)
    if isinstance(values, dict) and isinstance(values.get("subnet"), dict):
        values = values["subnet"].get("arch")
    if not isinstance(values, dict):
        raise NuwaError(f"{path} holds no arch", hint=_ARCH_FILES)
    return arch_from_dict(values)


def onnx_from_text(text: str, store: Store, spec: DeviceSpec) -> onnx.ModelProto:
    """Read or make the ONNX model that a command names, as ``spec`` takes it.

    Raises:
        NuwaError: If it is no ONNX file, bundle, arch or base.
    """
    path = expanded(text)
    if path.suffix == ".onnx":
        if not path.is_file():
            raise NuwaError(f"there is no ONNX file at {text}", hint=_NAMES_OF_MODELS)
        model = parse_model(read_model_bytes(path), origin=str(path))
        if spec.kind != "emulated":  # which needs shapes only
            load_weights_beside(model, path)
        return model
    if path.is_dir() and is_bundle(path):
        exported = read_bundle(bundle_for(path, spec.name)).onnx_path
        if exported is not None:
            return parse_model(read_model_bytes(exported), origin=str(exported))
    return onnx_from_arch(
        arch_from_text(text, store), opset=spec.opset, precision=graph_precision(spec), batch=spec.batch
    )


@dataclass(frozen=True)
class MeasuredSource:
    """What a measured graph is of, for the database.

    Args:
        onnx_hash: SHA-256 of the graph as it was named or made, before its batch was fixed.
        arch: Shape of the net, where it is one of ours.
        subnet_id: The recorded subnet that the bundle holds; None for anything else.
    """

    onnx_hash: str
    arch: Arch | None
    subnet_id: str | None


def measured_source(text: str, graph: onnx.ModelProto, store: Store, *, spec: DeviceSpec) -> MeasuredSource:
    """Return what net the graph from ``onnx_from_text(text, store, spec)`` is of.

    Args:
        text: What the command names: an ONNX file, a bundle, an arch file or id, or a base.
        graph: The graph that was read or made from it.
        store: Database of archs and subnets.
        spec: The device; a bundle may hold a graph for each.
    """
    path = expanded(text)
    if path.suffix == ".onnx":
        return MeasuredSource(hash_file(path), None, None)
    if path.is_dir() and is_bundle(path):
        bundle = read_bundle(bundle_for(path, spec.name))
        known = bundle.subnet_id if bundle.subnet_id and store.has_subnet(bundle.subnet_id) else None
        onnx_hash = hash_file(bundle.onnx_path) if bundle.onnx_path else _hash_graph(graph)
        return MeasuredSource(onnx_hash, bundle.arch, known)
    return MeasuredSource(_hash_graph(graph), arch_from_text(text, store), None)


def _hash_graph(graph: onnx.ModelProto) -> str:
    return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()


def fix_free_batch(model: onnx.ModelProto, batch: int) -> list[str]:
    """Set the batch of inputs that leave it open, as trtexec does; other open sizes stay as they are.

    Args:
        model: Changed in place.
        batch: Images per inference.

    Returns:
        Names of the inputs that were open.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    found, symbols = [], set()
    for value in model.graph.input:
        sizes = value.type.tensor_type.shape.dim
        if value.name in weights or len(sizes) < 2 or sizes[0].HasField("dim_value"):
            continue
        symbols.add(sizes[0].dim_param)
        sizes[0].dim_value = batch
        found.append(value.name)
    for value in (*model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.HasField("dim_param") and size.dim_param in symbols:
                size.dim_value = batch
    return found
