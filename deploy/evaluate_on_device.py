"""Accuracy of a bundle's compiled model on the device itself, image by image."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nuwa_search.core.cache import content_key
from nuwa_search.core.class_scores import Interval
from nuwa_search.core.device import DeviceSpec, Provenance, device_json
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.home import expanded
from nuwa_search.core.opens_device import OpensDevice
from nuwa_search.core.runtime import CompiledModel, KeepsEngines
from nuwa_search.core.tensors import split_tensors, turned_note
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.bundle import is_bundle
from nuwa_search.deploy.device_answers import DeviceAnswers
from nuwa_search.deploy.device_bundles import bundle_for
from nuwa_search.deploy.evaluate import Accuracy, EvaluateRequest, accuracy_of, pick
from nuwa_search.deploy.on_device import Say, check_runs_models, logits_on_device, predictions
from nuwa_search.deploy.runtimes.model_file import parse_model, read_model_bytes


@dataclass(frozen=True, kw_only=True)
class DeviceEvaluateAnswer(Accuracy):
    """How a bundle's engine did on the device itself: the `nuwa.evaluate/1` answer without its schema.

    Args:
        device: Its part of the answer.
        provenance: Always measured: an emulated device answers no image.
        top1_pytorch: Of the weights on the same images.
        top1_pytorch_interval: 95 %.
        agreement: Of the engine with the weights; its ``is_met`` is the verdict on the engine.
        num_kept: Answers that an interrupted run had left.
        notes: What of the data was left out, in sentences.
        seconds: Of the run.
    """

    device: Mapping[str, object]
    provenance: Provenance = "measured"
    top1_pytorch: float | None
    top1_pytorch_interval: Interval | None
    agreement: Agreement
    num_kept: int
    notes: tuple[str, ...]
    seconds: float


def evaluate_on_device(
    request: EvaluateRequest,
    *,
    spec: DeviceSpec,
    open_device: OpensDevice,
    num_images: int,
    seed: int,
    cache_dir: Path,
    say: Say,
) -> DeviceEvaluateAnswer:
    """Run the engine of a bundle on images, compare it with PyTorch and count what is right.

    A run that was interrupted goes on: logits are kept image by image, with the engine they are of.

    Args:
        request: The bundle and its images.
        spec: The device.
        open_device: Opens it.
        num_images: Images drawn from the split; fewer where it has fewer.
        seed: Of the draw.
        cache_dir: Where single answers are kept until all are there.
        say: Takes one line of progress.

    Raises:
        NuwaError: If the device is emulated, or the model is no exported bundle.
        OutsideError: If the device failed.
    """
    check_runs_models(spec)
    path = expanded(request.model)
    if is_bundle(path):
        request = dataclasses.replace(request, model=str(bundle_for(path, spec.name)))
    picked = pick(request)
    if picked.bundle is None or picked.bundle.onnx_path is None:
        raise NuwaError(
            f"{request.model} holds no exported model that {spec.name} could run",
            hint=f"nuwa export DIR --device {spec.name} writes one into a bundle",
        )
    content = read_model_bytes(picked.bundle.onnx_path)
    graph = parse_model(content, origin=str(picked.bundle.onnx_path))
    drawn = np.random.default_rng(seed).permutation(len(picked.images))[:num_images]
    tensors = split_tensors(picked.images.take(np.sort(drawn)), picked.preprocess)

    files: list[DeviceAnswers] = []

    def answers(compiled: CompiledModel) -> DeviceAnswers:
        key = content_key(spec.device_id, compiled.artifact_sha256)
        files.append(DeviceAnswers(cache_dir / "device-answers" / f"{key}.jsonl", compiled.artifact_sha256))
        return files[-1]

    begin = time.monotonic()
    with open_device(spec, seed=seed, keeps_engines=True) as device:
        given = logits_on_device(
            device,
            graph,
            model=picked.network,
            images=tensors.images,
            preprocess=picked.preprocess,
            answers=answers,
            say=say,
        )
        if isinstance(device, KeepsEngines):  # all answers are here: nothing stays on the board
            device.forget(graph)
    for file in files:
        file.clear()
    seconds = time.monotonic() - begin
    found, expected = predictions(given.found), torch.from_numpy(given.expected)
    wanted = torch.tensor(picked.outputs)[tensors.labels]
    if request.is_restricted:
        found, expected, wanted = found[:, list(picked.outputs)], expected[:, list(picked.outputs)], tensors.labels
    theirs = accuracy_of(expected, wanted, picked, is_restricted=request.is_restricted)
    return DeviceEvaluateAnswer(
        **vars(accuracy_of(found, wanted, picked, is_restricted=request.is_restricted)),
        device=device_json(spec),
        top1_pytorch=theirs.top1,
        top1_pytorch_interval=theirs.top1_interval,
        agreement=given.agreement,
        num_kept=given.num_kept,
        notes=(*picked.notes, *turned_note(tensors)),
        seconds=seconds,
    )
