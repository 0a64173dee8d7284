"""The fusion of the boards' vectors, and the heads with which a board answers alone: plain NumPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.collaborate.npz import Floats, read_npz, write_npz

_HINT = "nuwa decompose writes fusion.npz; copy the folder again"


@dataclass(frozen=True)
class Fusion:
    """From the vectors of N sub-models to logits over C classes.

    The input of the fuse head is ``z = [m_1 v_1, …, m_N v_N, m_1, …, m_N]`` (D + N numbers): the vectors one after the
    other, zeros for those that are missing, then the presence mask ``m`` of ones and zeros. It is linear,
    ``z @ weights[0] + biases[0]``, or has one hidden layer, ``relu(z @ weights[0] + biases[0]) @ weights[1] +
    biases[1]``. DeViT (arXiv 2309.05015, section 4.4) maps the concatenation linearly to the teacher's width; the mask
    is ours, for boards that are missing.

    Args:
        weights: One or two, (D + N, C), or (D + N, H) and (H, C), FP32.
        biases: As many, (C,), or (H,) and (C,).
        own_weights: Per sub-model (d_i, C): what it would answer alone, over all classes.
        own_biases: Per sub-model (C,).
    """

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    own_weights: tuple[Floats, ...]
    own_biases: tuple[Floats, ...]

    @property
    def num_models(self) -> int:
        return len(self.own_weights)

    @property
    def vector_dims(self) -> tuple[int, ...]:
        """Length of each sub-model's vector."""
        return tuple(len(weight) for weight in self.own_weights)

    @property
    def num_classes(self) -> int:
        return len(self.biases[-1])

    def fuse(self, vectors: Sequence[Floats | None]) -> Floats:
        """Fuse the vectors (d_i,) of one image, None where one is missing, to logits (C,)."""
        logits: Floats = self.fuse_all([None if v is None else v[None] for v in vectors])[0]
        return logits

    def fuse_all(self, vectors: Sequence[Floats | None], *, present: npt.NDArray[np.bool_] | None = None) -> Floats:
        """Fuse the vectors of B images, or the scores of B patches.

        Args:
            vectors: Per sub-model (B, d_i), or None where it is missing from all images.
            present: (B, N) which of them are there; None for all that are given.

        Returns:
            Logits (B, C).
        """
        num_images = next((len(v) for v in vectors if v is not None), 1)
        mask = np.repeat(np.array([[v is not None for v in vectors]]), num_images, axis=0)
        if present is not None:
            mask &= present
        parts = [
            np.zeros((num_images, dim), np.float32) if v is None else np.where(mask[:, [i]], v, np.float32(0))
            for i, (v, dim) in enumerate(zip(vectors, self.vector_dims, strict=True))
        ]
        logits = np.concatenate([*parts, mask.astype(np.float32)], axis=1) @ self.weights[0] + self.biases[0]
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            logits = np.maximum(logits, 0) @ weight + bias
        return np.asarray(logits, np.float32)

    def alone(self, model: int, vector: Floats) -> Floats:
        """Answer from one vector (d_i,) or (B, d_i): logits (C,) or (B, C)."""
        return np.asarray(vector @ self.own_weights[model] + self.own_biases[model], np.float32)


def with_gate(fusion: Fusion, weight: Floats, bias: Floats) -> Fusion:
    """Add a sub-model that knows all classes: its logits are added where it is there, and nothing where it is not.

    Sums of logits are products of probabilities, as of independent opinions. They pass the hidden layer as pairs of
    opposite signs.

    Args:
        fusion: With one hidden layer.
        weight: (d, C) of the sub-model's own head.
        bias: (C,) of it.

    Raises:
        NuwaError: If the fusion is linear.
    """
    if len(fusion.weights) != 2:
        raise NuwaError("a fusion without a hidden layer takes no further sub-model", hint=_HINT)
    (first, last), (num_vector, num_mask) = fusion.weights, (sum(fusion.vector_dims), fusion.num_models)
    pair = np.concatenate([weight, -weight], axis=1)
    none = np.zeros((len(first), pair.shape[1]), np.float32)
    rows = np.concatenate([first, none], axis=1)
    added = [np.concatenate([np.zeros((len(one), first.shape[1]), np.float32), one], axis=1) for one in
             (pair, np.concatenate([bias, -bias])[None])]  # fmt: skip
    eye = np.eye(fusion.num_classes, dtype=np.float32)
    hidden_bias = np.concatenate([fusion.biases[0], np.zeros(pair.shape[1], np.float32)])
    return Fusion(
        weights=(
            np.concatenate([rows[:num_vector], added[0], rows[num_vector : num_vector + num_mask], added[1]]),
            np.concatenate([last, eye, -eye]),
        ),
        biases=(hidden_bias, fusion.biases[1]),
        own_weights=(*fusion.own_weights, weight),
        own_biases=(*fusion.own_biases, bias),
    )


def write_fusion(path: Path, fusion: Fusion) -> None:
    """Write the parameters as plain arrays."""
    arrays = {f"weight_{i}": array for i, array in enumerate(fusion.weights)}
    arrays |= {f"bias_{i}": array for i, array in enumerate(fusion.biases)}
    arrays |= {f"own_weight_{i}": array for i, array in enumerate(fusion.own_weights)}
    arrays |= {f"own_bias_{i}": array for i, array in enumerate(fusion.own_biases)}
    write_npz(path, arrays)


def read_fusion(path: Path, *, vector_dims: Sequence[int], num_classes: int) -> Fusion:
    """Read the parameters, each of the shape that the collaboration tells.

    Raises:
        NuwaError: If the file is missing or damaged, or an array is missing, unknown or of another shape.
    """
    arrays = read_npz(path, what="fusion", hint=_HINT)
    width = sum(vector_dims) + len(vector_dims)
    hidden = len(arrays["bias_0"]) if "weight_1" in arrays and "bias_0" in arrays else None
    layers = [(width, num_classes)] if hidden is None else [(width, hidden), (hidden, num_classes)]
    wanted: dict[str, tuple[int, ...]] = {}
    for i, (rows, columns) in enumerate(layers):
        wanted |= {f"weight_{i}": (rows, columns), f"bias_{i}": (columns,)}
    for i, dim in enumerate(vector_dims):
        wanted |= {f"own_weight_{i}": (dim, num_classes), f"own_bias_{i}": (num_classes,)}
    _check_shapes(path, arrays, wanted)

    def several(name: str, count: int) -> tuple[Floats, ...]:
        return tuple(arrays[f"{name}_{i}"] for i in range(count))

    return Fusion(
        weights=several("weight", len(layers)),
        biases=several("bias", len(layers)),
        own_weights=several("own_weight", len(vector_dims)),
        own_biases=several("own_bias", len(vector_dims)),
    )


def _check_shapes(path: Path, arrays: Mapping[str, Floats], wanted: Mapping[str, tuple[int, ...]]) -> None:
    if arrays.keys() != wanted.keys():
        odd = sorted(arrays.keys() ^ wanted.keys())[0]
        raise NuwaError(f"fusion {path} {'lacks' if odd in wanted else 'holds an unknown'} array {odd!r}", hint=_HINT)
    for name, shape in wanted.items():
        if arrays[name].shape != shape:
            raise NuwaError(
                f"array {name!r} in fusion {path} is {arrays[name].shape}, the collaboration says {shape}", hint=_HINT
            )
