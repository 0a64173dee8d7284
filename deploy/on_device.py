"""The compiled model itself on its device: its logits, beside those of the PyTorch model it came from."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor

from nuwa_search.core.device import Device, DeviceSpec
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.core.images import Preprocess
from nuwa_search.core.logits import logits_of
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.core.runtime import CompiledModel, FloatArray, RunsModels
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.certificate import DeviceAccuracy
from nuwa_search.deploy.device_answers import DeviceAnswers
from nuwa_search.deploy.verify import compare_engine, exported_logits, input_kind_of, network_input

Say = Callable[[str], None]

NUM_IMAGES = 32
"""Images for which a compiled model is asked by default: a board takes seconds for each."""
NUM_COMPARED = 8
"""Images on which a board's engine is compared where no accuracy is wanted."""
_SAY_EVERY_S = 10.0  # a run off a terminal is never silent for more than 15


@dataclass(frozen=True)
class DeviceLogits:
    """What a compiled model gave.

    Args:
        found: Its logits (N, num_classes); NaN where it gave no number.
        expected: Those of the PyTorch model on the same images.
        agreement: How far they are apart.
        num_kept: Images whose logits an earlier run had left.
    """

    found: FloatArray
    expected: FloatArray
    agreement: Agreement
    num_kept: int


def check_runs_models(spec: DeviceSpec) -> None:
    """Refuse a device that has no engine, before anything is opened.

    Raises:
        NuwaError: If it is emulated.
    """
    if spec.kind == "emulated":
        raise NuwaError(
            f"{spec.name} is emulated: it has a model of latencies and no engine, so nothing runs on it that could be "
            "right or wrong",
            hint="name a board (nuwa device add NAME --ssh user@host) or --device host; without --device the weights "
            "are evaluated here",
        )


def runner_of(device: Device) -> RunsModels:
    """Return the device as one that runs models.

    Raises:
        NuwaError: If it cannot.
    """
    check_runs_models(device.spec)
    if not isinstance(device, RunsModels):
        raise NuwaError(f"device {device.spec.name} times models and gives no outputs", hint="use --device host")
    return device


def logits_on_device(
    device: Device,
    graph: onnx.ModelProto,
    *,
    model: PlainViT,
    images: Tensor,
    preprocess: Preprocess,
    answers: Callable[[CompiledModel], DeviceAnswers] | None = None,
    say: Say = lambda _: None,
) -> DeviceLogits:
    """Run the compiled graph on its device and compare it with the PyTorch model.

    Args:
        device: Opened; its engine of ``graph``, if it has one from measuring, is the one that runs.
        graph: What is compiled.
        model: In FP32 and evaluation mode.
        images: (N, in_chans, H, W) uint8.
        preprocess: Of the model.
        answers: Makes the file that keeps single answers; None keeps none.
        say: Takes one line of progress.

    Raises:
        NuwaError: If the device runs no models, or cannot take this one.
        OutsideError: If the device failed.
    """
    runner, spec = runner_of(device), device.spec
    if spec.kind == "ssh":
        say(
            f"{spec.name}: builds the engine if it is not there (2 to 11 minutes are usual on a Nano), then runs "
            f"trtexec {-(-len(images) // spec.batch)} times, some seconds each; the first run tells how many"
        )
    compiled = runner.compiled(graph)
    inputs = network_input(images, preprocess, input_kind=input_kind_of(graph))
    kept = answers(compiled) if answers else None
    num_kept = kept.load() if kept else 0
    if num_kept:
        say(f"{num_kept} answers of this very engine are there from before")
    found = _run(compiled, inputs, kept=kept, say=say)
    expected: FloatArray = exported_logits(logits_of(model, images, preprocess), model.arch).numpy()
    runtime = f"{compiled.runtime} on {spec.name}"
    agreement = compare_engine(
        found, expected, check=spec.precision, runtime=runtime, artifact_sha256=compiled.artifact_sha256
    )
    return DeviceLogits(found, expected, agreement, num_kept)


def _run(compiled: CompiledModel, inputs: np.ndarray, *, kept: DeviceAnswers | None, say: Say) -> FloatArray:
    """Run all network inputs (N, ...) that are not known yet, a batch at a time: (N, num_classes)."""
    found: list[FloatArray | None] = [kept.get(image) if kept else None for image in inputs]
    missing = [i for i, logits in enumerate(found) if logits is None]
    batch = compiled.input_shape[0]
    begin = said = time.monotonic()
    for start in range(0, len(missing), batch):
        part = missing[start : start + batch]
        filled = part + part[:1] * (batch - len(part))
        logits = compiled.run(np.ascontiguousarray(inputs[filled]))
        for index, row in zip(part, logits, strict=False):  # the rest are copies that fill up the batch
            found[index] = row
            if kept:
                kept.put(inputs[index], row)
        now, done = time.monotonic(), start + len(part)
        left_s = (now - begin) / done * (len(missing) - done)
        if (start == 0 and left_s >= 1) or now - said >= _SAY_EVERY_S:
            said = now
            say(f"{done} of {len(missing)} images, {(now - begin) / done:.1f} s each: about {left_s:.0f} s left")
    return np.stack([logits for logits in found if logits is not None])


def agreement_on_device(
    device: Device, graph: onnx.ModelProto, *, model: PlainViT, images: Tensor, preprocess: Preprocess
) -> tuple[Agreement, ...]:
    """Compare what a board or GPU built with the PyTorch model; empty for devices whose graph is compared here anyway.

    A board, which takes seconds for an image, is asked for the first few alone.

    Args:
        device: Opened.
        graph: The graph that it compiles.
        model: The PyTorch model, in FP32 and evaluation mode.
        images: (N, in_chans, H, W) uint8; a board gets the first ``NUM_COMPARED``.
        preprocess: Of the model.

    Raises:
        OutsideError: If the device failed.
    """
    if device.spec.kind not in ("ssh", "cuda", "openvino"):
        return ()
    few = images[:NUM_COMPARED] if device.spec.kind == "ssh" else images
    return (logits_on_device(device, graph, model=model, images=few, preprocess=preprocess).agreement,)


def accuracy_on_device(given: DeviceLogits, labels: Tensor, *, split: str) -> DeviceAccuracy:
    """Count what a compiled model got right of images with these labels (N,)."""
    num_hits = int((predictions(given.found).argmax(dim=1) == labels).sum())
    return DeviceAccuracy(
        num_hits / len(labels),
        wilson_interval(num_hits, len(labels)),
        len(labels),
        split,
        given.agreement.artifact_sha256,
    )


def require_agreement(agreements: Sequence[Agreement]) -> None:
    """Refuse a model that its device computes otherwise than PyTorch.

    Raises:
        NoAnswerError: If one does not agree.
    """
    for agreement in agreements:
        if not agreement.is_met:
            raise NoAnswerError(
                f"{agreement.runtime} does not agree with PyTorch in {agreement.check}: same prediction on "
                f"{100 * agreement.argmax_agreement:.1f} % of {agreement.num_images} images, least cosine "
                f"{agreement.min_cosine:.3f}",
                hint="register the device with --precision fp32 to see whether FP16 overflows, and report the arch",
            )


def predictions(logits: FloatArray) -> Tensor:
    """Return logits (N, num_classes) as a tensor, with NaN replaced so that it is never the largest."""
    return torch.from_numpy(np.nan_to_num(logits, nan=-np.inf, posinf=np.inf, neginf=-np.inf))
