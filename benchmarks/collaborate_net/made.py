"""A collaboration for the network's sake: four sub-models of quarters of a noisy picture, fused in closed form."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from nuwa_search.core.images import Preprocess
from nuwa_search.core.licence import Licence
from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.layout import Collaboration, Part, write_collaboration
from nuwa_search.deploy.collaborate.network import Network, assumed_network
from nuwa_search.deploy.collaborate.way_figures import ModeFigures

SIDE, DIM, NUM_CLASSES = 32, 192, 8
"""Pictures as large as CIFAR's (3072 bytes) and vectors as long as a ViT-Ti's (768 bytes)."""
PACES_MS = (24.0, 20.0, 28.0, 16.0)
"""Emulated latencies of the sub-models: boards that differ."""
BOARDS = tuple(f"nano-{place + 1}" for place in range(len(PACES_MS)))

Floats = npt.NDArray[np.float32]


def pictures(count: int, *, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Draw pictures (N, S, S, 3) of eight colours and their classes; each quarter has a tint that misleads."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, NUM_CLASSES, count)
    bright = np.stack([(classes >> bit) & 1 for bit in (2, 1, 0)], axis=1).astype(np.float64)
    quarters = 75 + 100 * bright[:, None, :] + rng.normal(0, 55, (count, len(BOARDS), 3))
    rows = np.repeat(quarters, SIDE // len(BOARDS), axis=1)[:, :, None, :]
    noisy = rows + rng.normal(0, 25, (count, SIDE, SIDE, 3))
    return noisy.clip(0, 255).astype(np.uint8), classes.astype(np.int64)


def weights_of(place: int) -> Floats:
    """Weights (3 S S, d) of a sub-model: the mean of each channel in its quarter, spread over its vector."""
    mean = np.zeros((3, SIDE, SIDE, 3))
    rows = slice(place * SIDE // len(BOARDS), (place + 1) * SIDE // len(BOARDS))
    for channel in range(3):
        mean[channel, rows, :, channel] = len(BOARDS) / SIDE**2
    return np.asarray(mean.reshape(-1, 3) @ np.random.default_rng(place).normal(size=(3, DIM)), np.float32)


def vectors_of(images: npt.NDArray[np.uint8]) -> list[Floats]:
    """Compute the vectors (N, d) of every sub-model."""
    flat = (images.astype(np.float32) / 255).transpose(0, 3, 1, 2).reshape(len(images), -1)
    return [np.asarray(flat @ weights_of(place), np.float32) for place in range(len(BOARDS))]


def fitted_fusion() -> Fusion:
    """Fit a hidden layer's outputs by ridge regression, with every set of boards that can be there."""
    images, classes = pictures(600, seed=1)
    vectors, targets = vectors_of(images), 12 * (np.eye(NUM_CLASSES)[classes] - 1 / NUM_CLASSES)
    width = len(BOARDS) * (DIM + 1)
    rng = np.random.default_rng(2)
    hidden = np.asarray(rng.normal(size=(width, 300)) / np.sqrt(DIM), np.float32)
    shift = np.asarray(rng.normal(size=300), np.float32)
    rows = []
    for there in range(1, 2 ** len(BOARDS)):
        mask = np.array([(there >> place) & 1 for place in range(len(BOARDS))], np.float32)
        parts = [vector * on for vector, on in zip(vectors, mask, strict=True)]
        rows.append(np.maximum(np.concatenate([*parts, np.tile(mask, (600, 1))], axis=1) @ hidden + shift, 0))
    weight, bias = _ridge(np.concatenate(rows), np.tile(targets, (len(rows), 1)))
    own = [_ridge(vector, targets) for vector in vectors]
    return Fusion((hidden, weight), (shift, bias), tuple(w for w, _ in own), tuple(b for _, b in own))


def _ridge(inputs: Floats, targets: npt.NDArray[np.float64]) -> tuple[Floats, Floats]:
    with_one = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1).astype(np.float64)
    gram = with_one.T @ with_one + 1e-3 * len(inputs) * np.eye(with_one.shape[1])
    solved = np.linalg.solve(gram, with_one.T @ targets)
    return np.asarray(solved[:-1], np.float32), np.asarray(solved[-1], np.float32)


def write_made(folder: Path, *, network: Network | None = None, predicted_ms: float = 100.0) -> Collaboration:
    """Write the folder; models that are there already stay as they are."""
    parts = tuple(_part(folder, place) for place in range(len(BOARDS)))
    num_bytes = float(len(BOARDS) * (3 * SIDE**2 + 4 * DIM))
    collaboration = Collaboration(
        labels=tuple(f"colour-{index}" for index in range(NUM_CLASSES)),
        parts=parts,
        modes=(ModeFigures("fuse", predicted_ms, predicted_ms, predicted_ms, num_bytes),),
        preprocess=Preprocess(img_size=SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        base="made for this benchmark",
        licence=Licence(),
        network=network or assumed_network(BOARDS),
        fusion_ms=0.0,
    )
    write_collaboration(folder, collaboration, fitted_fusion())
    return collaboration


def _part(folder: Path, place: int) -> Part:
    classes = _group(place, NUM_CLASSES // len(BOARDS))
    name = f"part-{place}"
    content = _graph(weights_of(place))
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.onnx").write_bytes(content)
    return Part(
        name=name,
        board=BOARDS[place],
        device="jetson-nano",
        classes=classes,
        vector_dim=DIM,
        model=f"{name}.onnx",
        model_sha256=hashlib.sha256(content).hexdigest(),
        precision="fp16",
        predicted_ms=PACES_MS[place],
        predicted_p95_ms=PACES_MS[place],
        provenance="emulated",
        input_kind="unit",
    )


def _group(place: int, size: int) -> tuple[int, ...]:
    return tuple(range(place * size, (place + 1) * size))


def _graph(weights: Floats) -> bytes:
    ends = {"images": [1, 3, SIDE, SIDE], "vector": [1, weights.shape[1]]}
    infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends.items()}
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["vector"]),
    ]
    graph = helper.make_graph(
        nodes, "quarter", [infos["images"]], [infos["vector"]], [numpy_helper.from_array(weights, "weights")]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())
