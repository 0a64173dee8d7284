"""Build the engine of a bundle on this machine, or return the command that builds it on the board."""

import dataclasses
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import onnx

from nuwa_search.core.device import DeviceSpec, Precision
from nuwa_search.core.emulator import device_label, without_emulator
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.core.json_fields import JsonFields
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.bundle import Bundle, read_bundle
from nuwa_search.deploy.certificate import Certificate
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.export.stream_scale import stream_scale_from_images
from nuwa_search.deploy.tensorrt.trtexec import TRTEXEC_PATHS, build_line, default_workspace_mb
from nuwa_search.deploy.verify import input_kind_of
from nuwa_search.deploy.verify_bundle import check_images
from nuwa_search.deploy.verify_engine import verify_engine
from nuwa_search.deploy.write_bundle import BundleParts, parts_from_bundle, write_bundle

TYPED_OPSET = 17
"""Of graphs for the Python builder: TensorRT 10, the oldest it takes, reads it, LayerNormalization included."""


@dataclass(frozen=True)
class BuildRequest:
    """What a build is asked for.

    Args:
        spec: The device.
        workspace_mb: Builder workspace in MiB; None chooses an eighth of the device's memory.
        timing_cache: File that keeps kernel timings between builds; None for none.
    """

    spec: DeviceSpec
    workspace_mb: int | None = None
    timing_cache: str | None = None

    @property
    def chosen_workspace_mb(self) -> int:
        """The workspace in MiB."""
        return self.workspace_mb or default_workspace_mb(self.spec.memory_mb)


@dataclass(frozen=True)
class EngineAgreement:
    """How an engine compares with the weights: share of equal predictions, and the largest error of a logit."""

    argmax: float
    max_abs_error: float


@dataclass(frozen=True, kw_only=True)
class BuildAnswer(JsonFields):
    """Result of a build: the `nuwa.build/1` answer without its schema.

    Args:
        dir: The bundle.
        engine: What was built; None where it can be built on the device only.
        build: Script that builds it there; None where it was built here.
        line: Its command.
        tensorrt: Version that built it; None, like the fields below, where nothing was built here.
        gpu: The GPU that the engine runs on; it runs on no other kind.
        precision: Precision of the engine.
        agreement: With the weights.
    """

    LEFT_OUT: ClassVar = ("tensorrt", "gpu", "precision", "agreement")

    dir: Path
    engine: Path | None
    build: Path | None
    line: str | None
    tensorrt: str | None = None
    gpu: str | None = None
    precision: Precision | None = None
    agreement: EngineAgreement | None = None


def build_engine_in(folder: Path, request: BuildRequest) -> BuildAnswer:
    """Build an engine for this machine's GPU with TensorRT's Python API, or answer with the board's build line.

    Raises:
        NuwaError: If the bundle was exported for another device, or the device has no engines.
        NoAnswerError: If the engine does not agree with the weights.
    """
    bundle = read_bundle(folder)
    if request.spec.kind == "cuda":
        return _built_here(bundle, request)
    certificate = _exported_for(bundle, request.spec)
    if certificate.device.runtime != "tensorrt":
        raise NuwaError(
            f"device {request.spec.name} runs {certificate.device.runtime}: there is no engine to build",
            hint="the bundle runs as it is: " + shlex.join(["python", str(folder / "run.py"), str(folder / "samples")]),
        )
    line = build_line(
        "model.onnx",
        "model.engine",
        version=certificate.device.runtime_version,
        precision=certificate.device.precision,
        workspace_mb=request.chosen_workspace_mb,
        timing_cache=request.timing_cache,
        trtexec=TRTEXEC_PATHS[0],
    )
    parts = parts_from_bundle(bundle)
    if list(parts.build_line or ()) != line:
        bundle = write_bundle(folder, dataclasses.replace(parts, build_line=line), replace=True)
    return BuildAnswer(dir=folder, engine=None, build=bundle.build_path, line=" ".join(line))


def _built_here(bundle: Bundle, request: BuildRequest) -> BuildAnswer:
    """Build, compare the engine with the weights, and put it into the bundle."""
    from nuwa_search.deploy.tensorrt.builder import build_engine

    parts = parts_from_bundle(bundle)
    images = check_images(bundle)
    precision = _certified_precision(bundle) or request.spec.precision
    input_kind = input_kind_of(bundle.onnx_path.read_bytes()) if bundle.onnx_path else "normalised"
    with tempfile.TemporaryDirectory() as temporary:
        graph_path, engine = Path(temporary, "model.onnx"), Path(temporary, "model.engine")
        graph = onnx_from_vit(
            parts.model,
            GraphOptions(
                opset=TYPED_OPSET,
                precision=precision,
                batch=request.spec.batch,
                input_kind=input_kind,
                preprocess=parts.preprocess,
                labels=parts.labels,
            ),
            stream_scale=stream_scale_from_images(parts.model, images, parts.preprocess),
        )
        onnx.save(graph, graph_path)
        cache = expanded(request.timing_cache) if request.timing_cache else None
        info = build_engine(
            graph_path,
            engine,
            precision=precision,
            workspace_mb=request.chosen_workspace_mb,
            timing_cache_path=cache,
        )
        agreement = verify_engine(
            engine, parts.model, images, parts.preprocess, batch=request.spec.batch, input_kind=input_kind
        )
        if not agreement.is_met:
            raise NoAnswerError(
                "the engine does not agree with the weights: same prediction on "
                f"{100 * agreement.argmax_agreement:.1f} % of {agreement.num_images} images",
                hint="nuwa verify DIR tells whether the ONNX graph agrees; try --workspace-mb or another TensorRT",
            )
        written = write_bundle(bundle.dir, _with_engine(bundle, parts, engine, agreement), replace=True)
    return BuildAnswer(
        dir=bundle.dir,
        engine=written.engine_path,
        build=None,
        line=None,
        tensorrt=info.tensorrt_version,
        gpu=info.device_name,
        precision=precision,
        agreement=EngineAgreement(agreement.argmax_agreement, agreement.max_abs_error),
    )


def _with_engine(bundle: Bundle, parts: BundleParts, engine: Path, agreement: Agreement) -> BundleParts:
    certificate = bundle.certificate
    if certificate is not None:
        certificate = dataclasses.replace(certificate, agreements=(*certificate.agreements, agreement))
    return dataclasses.replace(parts, engine=engine, certificate=certificate)


def _certified_precision(bundle: Bundle) -> Precision | None:
    certificate = bundle.certificate
    return certificate.device.precision if certificate and certificate.device.kind == "cuda" else None


def _exported_for(bundle: Bundle, spec: DeviceSpec) -> Certificate:
    certificate = bundle.certificate
    same = None if certificate is None else dataclasses.replace(certificate.device, precision=spec.precision)
    if certificate is None or same is None or without_emulator(same) != without_emulator(spec):
        found = device_label(certificate.device) if certificate else "no device"
        raise NuwaError(
            f"bundle {bundle.dir} was exported for {found}, not for {spec.name}",
            hint=f"nuwa export {shlex.quote(str(bundle.dir))} --device {spec.name}",
        )
    return certificate
