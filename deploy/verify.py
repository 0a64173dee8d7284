"""Compare an exported model with the PyTorch model it came from, on images."""

from dataclasses import replace

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import Preprocess
from nuwa_search.core.img_size import sides_of
from nuwa_search.core.logits import image_batches, normalise
from nuwa_search.core.runtime import FloatArray, Images, Runtime, Session
from nuwa_search.core.tasks.label_maps import upsampled
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.export.graph import InputKind
from nuwa_search.deploy.runtimes.batches import run_batches
from nuwa_search.deploy.runtimes.onnxruntime import OnnxRuntime
from nuwa_search.deploy.runtimes.torch_runtime import TorchRuntime

FP32_RELATIVE_ERROR = 1e-4
"""Largest logit error in FP32, relative to the largest logit (absolute where that is below 1): a few
hundred roundings, far above what reordered sums give and far below what a wrong weight does."""
FP32_ARGMAX = 1.0
PIXEL_ARGMAX = 0.999
"""The same of pixels, of which some always lie on a border between classes."""
FP16_ARGMAX = 0.99
FP16_TIE = 2.0**-7
"""Of the largest logit of all images compared: eight steps of FP16's grid, which roundings along a dozen blocks add up
to. Where the model itself tells two classes apart by less, either answer is right in FP16. An image's own logits are no
measure: its roundings are as large where they are small (default base cut to 30 ms, 64 images: 0.017 in the root mean
square, of largest logits of 2.7 to 5.1)."""
TIE: dict[Precision, float] = {"fp32": 2 * FP32_RELATIVE_ERROR, "fp16": FP16_TIE, "int8": 0.0}
"""Of the largest logit of all images; in FP32 both logits may be off by the error that is allowed."""
INT8_ARGMAX = 0.75
"""Least share of images with an unchanged prediction. INT8 is judged by its accuracy when it is made; this only
catches graphs that are broken, on as little as variants of five sample images of which one may lie on a border."""

ENGINE_COSINE: dict[Precision, float] = {"fp32": 0.999, "fp16": 0.99, "int8": 0.9}
"""Least cosine of an engine's logits with PyTorch's, for every image. Engines are compared on few images, so
predictions alone say little: a ViT whose FP16 LayerNorm overflowed on a board had 0.64, one that was well 0.9999."""


def compare_logits(found: FloatArray, expected: FloatArray, *, check: Precision, runtime: str) -> Agreement:
    """Compare logits (N, num_classes), maps (N, num_classes, H, W) or labels (N, H, W) with the PyTorch model's logits.

    Of labels the error of an answer is how much less the model's logit of it is than its largest, and the cosine of an
    image the share of its pixels that are alike, which is that of the maps with a 1 for each answer. Answers are alike
    where the model's logits of both are nearer than the precision can tell (``TIE``).

    Args:
        found: (N, num_classes), (N, num_classes, H, W) or (N, H, W), from the exported model.
        expected: (N, num_classes) or (N, num_classes, H, W), from the PyTorch model.
        check: Precision whose limits apply.
        runtime: Name and version of what ran the exported model.

    Raises:
        NuwaError: If there are no images, or the shapes differ.
    """
    if expected.ndim == 4 and found.shape == (len(expected), *expected.shape[2:]) and len(expected):
        return _compare_labels(found, expected, check=check, runtime=runtime)
    if found.shape != expected.shape or len(expected) == 0:
        raise NuwaError(f"nothing to compare: logits {found.shape} against {expected.shape}")
    is_finite = bool(np.isfinite(found).all())
    error = float(np.abs(found - expected).max()) if is_finite else float("inf")
    one, other = (values.reshape(len(values), -1) for values in (found, expected))
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny)
    return Agreement(
        check=check,
        runtime=runtime,
        num_images=len(expected),
        max_abs_error=error,
        error_limit=_error_limit(expected, check=check),
        min_cosine=float(cosines.min()) if is_finite else -1.0,
        argmax_agreement=float(_is_same(found.argmax(axis=1), expected, check=check).mean()),
        argmax_limit=_argmax_limit(check, is_pixels=expected.ndim == 4),
    )


def _error_limit(expected: FloatArray, *, check: Precision) -> float | None:
    """Return the largest error of a logit that is allowed; None where only predictions count."""
    return FP32_RELATIVE_ERROR * max(1.0, float(np.abs(expected).max())) if check == "fp32" else None


def _argmax_limit(check: Precision, *, is_pixels: bool) -> float:
    return {"fp32": PIXEL_ARGMAX if is_pixels else FP32_ARGMAX, "fp16": FP16_ARGMAX, "int8": INT8_ARGMAX}[check]


def _is_same(labels: NDArray[np.int64], expected: FloatArray, *, check: Precision) -> NDArray[np.bool_]:
    """Return where answers are the model's own, or so near to it that the precision cannot tell them apart: (N, …).

    Args:
        labels: (N, …) indices of classes.
        expected: (N, C, …) logits of the model.
        check: Precision of the answers.
    """
    said = np.take_along_axis(expected, labels[:, None], axis=1)[:, 0]
    return np.asarray(expected.max(axis=1) - said <= TIE[check] * np.abs(expected).max())


def _compare_labels(found: FloatArray, expected: FloatArray, *, check: Precision, runtime: str) -> Agreement:
    labels = found.astype(np.int64)
    is_known = bool(((labels >= 0) & (labels < expected.shape[1])).all())
    same = np.zeros(labels.shape, dtype=np.bool_)
    error = float("inf")
    if is_known:
        same = _is_same(labels, expected, check=check)
        said = np.take_along_axis(expected, labels[:, None], axis=1)[:, 0]
        error = float((expected.max(axis=1) - said).max())
    return Agreement(
        check=check,
        runtime=runtime,
        num_images=len(expected),
        max_abs_error=error,
        error_limit=_error_limit(expected, check=check),
        min_cosine=float(same.reshape(len(same), -1).mean(axis=1).min()),
        argmax_agreement=float(same.mean()),
        argmax_limit=_argmax_limit(check, is_pixels=True),
    )


def compare_engine(
    found: FloatArray, expected: FloatArray, *, check: Precision, runtime: str, artifact_sha256: str
) -> Agreement:
    """Compare logits (N, num_classes) that a compiled model gave on its device with those of the PyTorch model.

    Of a few dozen images one may lie on a border and change its prediction; that every image's logits point
    the same way is asked beside it.

    Args:
        found: From the compiled model, of a shape that ``compare_logits`` takes.
        expected: (N, num_classes) or (N, num_classes, H, W), from the PyTorch model.
        check: Precision whose limits apply.
        runtime: Name and version of what ran the compiled model.
        artifact_sha256: SHA-256 of the compiled model.

    Raises:
        NuwaError: If there are no images, or the shapes differ.
    """
    plain = compare_logits(found, expected, check=check, runtime=runtime)
    one_off = 1 - 1 / len(expected)
    limit = plain.argmax_limit if check == "fp32" else min(plain.argmax_limit, one_off)
    return replace(plain, argmax_limit=limit, cosine_limit=ENGINE_COSINE[check], artifact_sha256=artifact_sha256)


def verify_onnx(
    model: PlainViT,
    exported: onnx.ModelProto | bytes,
    images: Tensor,
    preprocess: Preprocess,
    *,
    runtime: Runtime | None = None,
    check: Precision = "fp32",
) -> Agreement:
    """Compare an exported model with ``model`` on decoded images.

    Args:
        model: In FP32 and evaluation mode.
        exported: From ``onnx_from_vit``, or quantised.
        images: (N, in_chans, H, W) uint8.
        preprocess: Of the model.
        runtime: What runs the exported model; ONNX Runtime by default.
        check: Which limits apply.

    Raises:
        NuwaError: If the runtime cannot take the model.
    """
    chosen = runtime or OnnxRuntime()
    session = chosen.load(exported if isinstance(exported, bytes) else exported.SerializeToString())
    named = f"{chosen.name} {chosen.version}"
    kind = input_kind_of(exported)
    return verify_session(
        model,
        session,
        images,
        preprocess,
        input_kind=kind,
        check=check,
        runtime=named,
        is_of_patches=gives_patches(exported),
    )


def verify_session(
    model: PlainViT,
    session: Session,
    images: Tensor,
    preprocess: Preprocess,
    *,
    input_kind: InputKind,
    check: Precision,
    runtime: str,
    is_of_patches: bool = False,
) -> Agreement:
    """Compare a model that is loaded already, such as an engine, with ``model`` on decoded images.

    Args:
        model: In FP32 and evaluation mode.
        session: The loaded model.
        images: (N, in_chans, H, W) uint8.
        preprocess: Of the model.
        input_kind: What the session takes: ``normalised``, ``unit`` or ``uint8``.
        check: Precision whose limits apply.
        runtime: Name and version of what runs the session.
        is_of_patches: Whether it gives scores (N, P, C) of patches, before they are scaled to pixels.
    """
    with torch.inference_mode():
        given = torch.cat([model(normalise(part, preprocess)) for part in image_batches(images, 64)]).float()
        expected = exported_logits(given, model.arch).numpy()
    found = logits_of_session(session, images, preprocess, input_kind=input_kind)
    if is_of_patches:
        expected = given.numpy()  # of patches, before they are scaled
        found = found.transpose(0, 2, 1).reshape(expected.shape)
    return compare_logits(found, expected, check=check, runtime=runtime)


def exported_logits(logits: Tensor, arch: Arch) -> Tensor:
    """Return what an exported graph gives where the model gives ``logits``: of patches those of the pixels."""
    return upsampled(logits, sides_of(arch.img_size)) if arch.is_dense else logits


def verify_fp16(
    model: PlainViT, exported: onnx.ModelProto | bytes, images: Tensor, preprocess: Preprocess
) -> Agreement:
    """Compare with every intermediate of the exported graph rounded to FP16, as a board would hold it.

    An FP32 graph is checked for what a builder told to use FP16 makes of it. See ``TorchRuntime`` for
    what is rounded.

    Args:
        model: In FP32 and evaluation mode.
        exported: From ``onnx_from_vit``.
        images: (N, in_chans, H, W) uint8.
        preprocess: Of the model.
    """
    runtime = TorchRuntime(rounding=torch.float16)
    return verify_onnx(model, exported, images, preprocess, runtime=runtime, check="fp16")


def input_kind_of(exported: onnx.ModelProto | bytes) -> InputKind:
    """Read from the metadata what the model takes; models without it take normalised images."""
    found = _entry(exported, "nuwa.input") or "normalised"
    kinds: dict[str, InputKind] = {"normalised": "normalised", "unit": "unit", "uint8": "uint8"}
    if found not in kinds:
        raise NuwaError(f"the ONNX model says its input is {found!r}, known: {', '.join(kinds)}")
    return kinds[found]


def gives_patches(exported: onnx.ModelProto | bytes) -> bool:
    """Read from the metadata whether the model gives scores of patches, before they are scaled to pixels."""
    return _entry(exported, "nuwa.output") == "patch_logits"


def _entry(exported: onnx.ModelProto | bytes, key: str) -> str | None:
    model = onnx.load_model_from_string(exported) if isinstance(exported, bytes) else exported
    return next((p.value for p in model.metadata_props if p.key == key), None)


def logits_of_session(session: Session, images: Tensor, preprocess: Preprocess, *, input_kind: InputKind) -> FloatArray:
    """Run images through a session, whatever its batch: (N, num_classes).

    Args:
        session: The loaded model.
        images: (N, in_chans, H, W) uint8.
        preprocess: Of the model.
        input_kind: What the session takes: ``normalised``, ``unit`` or ``uint8``.
    """
    return run_batches(session, network_input(images, preprocess, input_kind=input_kind))


def network_input(images: Tensor, preprocess: Preprocess, *, input_kind: InputKind) -> Images:
    """Turn (N, in_chans, H, W) uint8 images into what an exported model takes."""
    if input_kind == "normalised":
        return normalise(images, preprocess).numpy()
    return images.numpy() if input_kind == "uint8" else images.numpy().astype(np.float32) / np.float32(255)
