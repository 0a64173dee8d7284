"""Export a model, check it, measure it on the device, and write the bundle."""

import dataclasses
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from PIL import Image
from torch import Tensor

from nuwa_search.core.arch import Arch
from nuwa_search.core.budget import Budget
from nuwa_search.core.device import PROTOCOL, Device, DeviceSpec, Measurement
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.core.even_choice import classes_in_turn
from nuwa_search.core.images import ImageSet, Preprocess
from nuwa_search.core.task import Task
from nuwa_search.core.tensors import SplitTensors, split_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.bundle import Bundle, is_bundle, read_bundle
from nuwa_search.deploy.bundle_facts import NO_FACTS, BundleFacts
from nuwa_search.deploy.certificate import Certificate, DeviceAccuracy
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.export.stream_scale import stream_scale_from_images
from nuwa_search.deploy.on_device import (
    NUM_IMAGES,
    accuracy_on_device,
    agreement_on_device,
    logits_on_device,
    require_agreement,
)
from nuwa_search.deploy.tensorrt.operators import check_operators
from nuwa_search.deploy.tensorrt.trtexec import TRTEXEC_PATHS, build_line, default_workspace_mb
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision
from nuwa_search.deploy.verify import verify_fp16, verify_onnx
from nuwa_search.deploy.write_bundle import BundleParts, write_bundle

VERIFY_MAPS = 8
"""The same where a net answers for every pixel: eight maps are 400 000 answers at 224 pixels a side."""
VERIFY_IMAGES = 64
"""Search images that exports are compared on; the FP16 check computes node by node and takes its time."""


MAX_STEM = 50
"""Characters of a class name in a file name: file systems take 255 bytes, UTF-8 up to four per character."""


@dataclass(frozen=True)
class Shipment:
    """What goes out.

    Args:
        model: Trained, in FP32.
        arch: Positional.
        subnet_id: Its id.
        task: Labels and sample images.
        preprocess: Of the base.
        facts: Accuracies with their split, base, data: for the certificate.
        lost: Files that tell of the test images that were lost (``lost_files``).
        compared: Pictures of test images beside what base and model answer, where pixels have classes.
    """

    model: PlainViT
    arch: Arch
    subnet_id: str
    task: Task
    preprocess: Preprocess
    facts: BundleFacts = NO_FACTS
    lost: Sequence[tuple[str, bytes]] = ()
    compared: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True)
class Proven:
    """An exported model with its proofs."""

    exported: onnx.ModelProto
    agreements: tuple[Agreement, ...]
    measurement: Measurement
    device_accuracy: DeviceAccuracy | None = None


def prove(shipment: Shipment, *, device: Device, search: SplitTensors) -> Proven:
    """Export for the device, compare with PyTorch on search images, and measure.

    What a board or GPU compiled is then run itself; on a board a few test images are counted, so that latency
    and accuracy are of one file.

    Raises:
        NoAnswerError: If the export, or what the device made of it, does not agree with the PyTorch model.
        NuwaError: If the device's runtime cannot take the graph.
    """
    spec, is_dense = device.spec, shipment.arch.is_dense
    images = classes_in_turn(search, VERIFY_MAPS if is_dense else VERIFY_IMAGES).images
    model = onnx_from_vit(
        shipment.model,
        GraphOptions(
            opset=spec.opset,
            precision=graph_precision(spec),
            batch=spec.batch,
            preprocess=shipment.preprocess,
            labels=shipment.task.class_names,
            metadata={"subnet_id": shipment.subnet_id, "arch_id": shipment.arch.arch_id},
        ),
        stream_scale=stream_scale_from_images(shipment.model, images, shipment.preprocess),
    )
    if spec.runtime == "tensorrt":
        check_operators(model, version=spec.runtime_version)
    agreements = compare_graph(shipment.model, model, spec, images=images, preprocess=shipment.preprocess)
    measurement = device.measure(model, protocol=PROTOCOL)
    if spec.kind != "ssh" or is_dense:
        others = agreement_on_device(device, model, model=shipment.model, images=images, preprocess=shipment.preprocess)
        require_agreement(others)
        return Proven(model, (*agreements, *others), measurement)
    drawn = np.random.default_rng(0).permutation(len(shipment.task.test))[:NUM_IMAGES]
    tested = split_tensors(shipment.task.test.take(np.sort(drawn)), shipment.preprocess)
    given = logits_on_device(device, model, model=shipment.model, images=tested.images, preprocess=shipment.preprocess)
    require_agreement((given.agreement,))
    accuracy = accuracy_on_device(given, tested.labels, split="test")
    return Proven(model, (*agreements, given.agreement), measurement, accuracy)


def compare_graph(
    model: PlainViT, graph: onnx.ModelProto, spec: DeviceSpec, *, images: Tensor, preprocess: Preprocess
) -> tuple[Agreement, ...]:
    """Compare a graph with its weights: on ONNX Runtime, and for FP16 devices with every tensor in FP16.

    Args:
        model: The weights.
        graph: Exported for ``spec``.
        spec: The device.
        images: (N, in_chans, H, W) uint8.
        preprocess: Of the model.

    Raises:
        NoAnswerError: If they do not agree.
    """
    is_typed = graph_precision(spec) == "fp16"
    agreements = [verify_onnx(model, graph, images, preprocess, check="fp16" if is_typed else "fp32")]
    if spec.precision == "fp16":
        agreements.append(verify_fp16(model, graph, images, preprocess))
    for agreement in agreements:
        if not agreement.is_met:
            raise NoAnswerError(
                f"the exported model does not agree with PyTorch in {agreement.check}: argmax "
                f"{100 * agreement.argmax_agreement:.1f} %, largest error {agreement.max_abs_error:.2g}",
                hint="a new search with --no-deploy ships the weights alone; please report the arch",
            )
    return tuple(agreements)


def write(folder: Path, shipment: Shipment, proven: Proven, *, spec: DeviceSpec, budget: Budget) -> Bundle:
    """Write the bundle with its certificate; a bundle of an earlier run of this study is replaced.

    Args:
        folder: Where the bundle goes.
        shipment: Model, task and facts.
        proven: Exported graph with its measurement and comparisons.
        spec: The device.
        budget: Limits that the measurement is held to; its room for noise is left out of the certificate.
    """
    certificate = Certificate(
        arch_id=shipment.arch.arch_id,
        device=spec,
        measurement=proven.measurement,
        budget=budget.without_room,
        agreements=proven.agreements,
        opset=spec.opset,
        subnet_id=shipment.subnet_id,
        facts=shipment.facts,
        device_accuracy=proven.device_accuracy,
    )
    parts = BundleParts(
        model=shipment.model,
        arch=shipment.arch,
        labels=shipment.task.class_names,
        preprocess=shipment.preprocess,
        exported=proven.exported,
        certificate=certificate,
        build_line=engine_line(spec),
        samples=sample_images(shipment.task.test),
        lost=shipment.lost,
        compared=shipment.compared,
    )
    return write_bundle(folder, parts, replace=True)


def write_unexported(folder: Path, shipment: Shipment) -> Bundle:
    """Write a bundle without an export or certificate, for `nuwa export` to go on from."""
    parts = BundleParts(
        model=shipment.model,
        arch=shipment.arch,
        labels=shipment.task.class_names,
        preprocess=shipment.preprocess,
        samples=sample_images(shipment.task.test),
        lost=shipment.lost,
        compared=shipment.compared,
        facts=dataclasses.replace(shipment.facts, subnet_id=shipment.subnet_id),
    )
    return write_bundle(folder, parts, replace=True)


def check_bundle_dir(folder: Path, *, study: str) -> None:
    """Refuse a folder that cannot become this study's bundle, before hours are spent on it.

    Raises:
        NuwaError: If something else, or another study's bundle, is there.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        nearest = next(parent for parent in folder.absolute().parents if parent.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            raise NuwaError(f"{folder} cannot be made: {nearest} takes no folder", hint="choose another one with -o")
        return
    if not folder.is_dir() or not is_bundle(folder):
        raise NuwaError(f"{folder} exists and is not a bundle", hint="choose another folder with -o")
    owner = read_bundle(folder).facts.study
    if owner != study:
        raise NuwaError(
            f"{folder} holds the bundle of study {owner or 'unknown'}", hint="choose another folder with -o"
        )


def engine_line(spec: DeviceSpec) -> list[str] | None:
    """Make the line that builds the engine on the device, in the bundle's folder; None without TensorRT."""
    if spec.runtime != "tensorrt":
        return None
    return build_line(
        "model.onnx",
        "model.engine",
        version=spec.runtime_version,
        precision=spec.precision,
        workspace_mb=default_workspace_mb(spec.memory_mb),
        trtexec=TRTEXEC_PATHS[0],
    )


def sample_images(images: ImageSet, *, at_most: int = 5) -> list[tuple[str, bytes]]:
    """Take the first image of each class to try the bundle on, named for its class."""
    found: dict[int, tuple[str, bytes]] = {}
    for item, label in zip(images.encoded, images.labels, strict=True):
        if int(label) in found or len(found) == at_most:
            continue
        data = item if isinstance(item, bytes) else item.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            suffix = "jpeg" if image.format == "MPO" else (image.format or "png").casefold()
        found[int(label)] = (f"{_file_stem(int(label), images.label_names)}.{suffix}", data)
    return list(found.values())


def _file_stem(label: int, names: Sequence[str]) -> str:
    """Make a file name of a class name, with the class's index where two classes would get the same."""
    stems = ["".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:MAX_STEM] for name in names]
    is_unique = len({stem.casefold() for stem in stems}) == len(stems)  # some file systems do not tell case apart
    return stems[label] if is_unique else f"{stems[label]}-{label}"
