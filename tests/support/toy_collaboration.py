"""A collaboration of four sub-models over images that are told apart by their colour; no training, no search."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from nuwa_search.core.images import Preprocess
from nuwa_search.core.licence import Licence
from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.layout import Collaboration, Part, write_collaboration
from nuwa_search.deploy.collaborate.network import Network, assumed_network
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.deploy.collaborate.way_figures import ModeFigures

HEIGHT, WIDTH, NUM_PARTS, DIM = 8, 10, 4, 6
LABELS = ("black", "blue", "green", "cyan", "red", "magenta", "yellow", "white")
"""Class c has channel i bright where bit i of c is set, counted from blue."""
BOARDS = tuple(f"nano-{i + 1}" for i in range(NUM_PARTS))
CLASSES = ((0, 1), (2, 3), (4, 5), (6, 7))


def toy_images(num_images: int, *, seed: int = 0) -> tuple[Floats, "np.typing.NDArray[np.int64]"]:
    """Draw noisy patches (N, H, W, 3) uint8 and their classes (N,)."""
    rng = np.random.default_rng(seed)
    classes = np.arange(num_images) % len(LABELS)
    bright = np.stack([(classes >> (2 - channel)) & 1 for channel in range(3)], axis=1)
    pixels = 60 + 110 * bright[:, None, None, :] + rng.integers(-50, 51, (num_images, HEIGHT, WIDTH, 3))
    return pixels.astype(np.uint8), classes


def model_weights(part: int) -> Floats:
    """Weights (3 H W, d) of one sub-model: means of the channels in its quarter, and a mix that is its own."""
    rng = np.random.default_rng(100 + part)
    mean = np.zeros((3, HEIGHT, WIDTH, 3), np.float32)
    rows = slice(part * HEIGHT // NUM_PARTS, (part + 1) * HEIGHT // NUM_PARTS)
    for channel in range(3):
        mean[channel, rows, :, channel] = NUM_PARTS / (HEIGHT * WIDTH)
    return np.asarray(mean.reshape(-1, 3) @ rng.normal(size=(3, DIM)), np.float32)


def write_model(path: Path, weights: Floats) -> str:
    """Write one sub-model, images (1, 3, H, W) in 0..1 to a vector (1, d), and return its SHA-256."""
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["images"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["vector"])],
        "toy",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, weights.shape[1]])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    content = model.SerializeToString()
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def toy_vectors(images: Floats) -> list[Floats]:
    """Compute what the sub-models answer to images (N, H, W, 3): per sub-model (N, d)."""
    flat = (images.astype(np.float32) / 255).transpose(0, 3, 1, 2).reshape(len(images), -1)
    return [np.asarray(flat @ model_weights(part), np.float32) for part in range(NUM_PARTS)]


@cache
def fitted_fusion(*, num_images: int = 400) -> Fusion:
    """Fit the fusion and the own heads by ridge regression, the fusion with every set of boards that can be there."""
    images, classes = toy_images(num_images, seed=1)
    vectors, targets = toy_vectors(images), 20 * (np.eye(len(LABELS))[classes] - 0.5)
    rows, wanted = [], []
    for present in range(1, 2**NUM_PARTS):
        mask = np.array([(present >> i) & 1 for i in range(NUM_PARTS)], np.float32)
        parts = [vector * on for vector, on in zip(vectors, mask, strict=True)]
        rows.append(np.concatenate([*parts, np.tile(mask, (num_images, 1))], axis=1))
        wanted.append(targets)
    rng = np.random.default_rng(2)
    width = NUM_PARTS * (DIM + 1)
    hidden = np.asarray(rng.normal(size=(width, 160)), np.float32)
    shift = np.asarray(rng.normal(size=160), np.float32)
    weight, bias = _ridge(np.maximum(np.concatenate(rows) @ hidden + shift, 0), np.concatenate(wanted))
    own = [_ridge(vector, targets) for vector in vectors]
    return Fusion((hidden, weight), (shift, bias), tuple(w for w, _ in own), tuple(b for _, b in own))


def _ridge(inputs: Floats, targets: "np.typing.NDArray[np.float64]") -> tuple[Floats, Floats]:
    with_one = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1).astype(np.float64)
    gram = with_one.T @ with_one + 1e-4 * len(inputs) * np.eye(with_one.shape[1])
    solved = np.linalg.solve(gram, with_one.T @ targets)
    return np.asarray(solved[:-1], np.float32), np.asarray(solved[-1], np.float32)


def write_toy_collaboration(
    folder: Path, *, compute_ms: float = 5.0, network: Network | None = None, needed: int = 2
) -> Collaboration:
    """Write the whole folder; every board is predicted to take ``compute_ms``."""
    parts = []
    for i, board in enumerate(BOARDS):
        (folder / "boards" / board).mkdir(parents=True)
        name = f"boards/{board}/model.onnx"
        sha256 = write_model(folder / name, model_weights(i))
        parts.append(
            Part(
                name=f"part-{i}",
                board=board,
                device="jetson-nano",
                classes=CLASSES[i],
                vector_dim=DIM,
                model=name,
                model_sha256=sha256,
                precision="fp16",
                predicted_ms=compute_ms,
                predicted_p95_ms=compute_ms,
                provenance="emulated",
                input_kind="unit",
            )
        )
    end, num_bytes = compute_ms + 1, float(NUM_PARTS * (3 * (HEIGHT * WIDTH) + 4 * DIM))
    collaboration = Collaboration(
        labels=LABELS,
        parts=tuple(parts),
        modes=(
            ModeFigures("fuse", end, end, end, num_bytes),
            ModeFigures("any", end, end, end, num_bytes, needed=needed),
            ModeFigures("route", end, 2 * end, end, num_bytes / 2, first=0, thresholds=(0.9,)),
        ),
        preprocess=Preprocess(img_size=(HEIGHT, WIDTH), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        base="toy",
        licence=Licence(),
        network=network or assumed_network(BOARDS),
        fusion_ms=0.05,
    )
    write_collaboration(folder, collaboration, fitted_fusion())
    return collaboration
