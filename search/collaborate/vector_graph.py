"""A sub-model as its board runs it: the ONNX graph from an image to its answer, which other boards' are fused with.

Where images have classes that is one vector, its class token or mean of patches; where pixels have classes scores of
every patch, which a board sends in far fewer bytes than its features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch

from nuwa_search.core.arch import Arch
from nuwa_search.core.device import PROTOCOL, Device, DeviceSpec, Measurement
from nuwa_search.core.heads import with_head
from nuwa_search.core.images import Preprocess
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.export.folded import DEFAULT_STREAM_SCALE
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.export.stream_scale import stream_scale_from_images
from nuwa_search.deploy.file_hashes import hash_file
from nuwa_search.deploy.ship import VERIFY_IMAGES, VERIFY_MAPS, compare_graph
from nuwa_search.deploy.tensorrt.operators import check_operators
from nuwa_search.deploy.tensorrt.typed_precision import graph_precision


def vector_model(member: PlainViT) -> PlainViT:
    """Return the sub-model with the identity for a head: its answer is what its head would read.

    The head is a product of one row; the nets of the search, whose latency was held against the budget, have one too.
    One that answers for patches stays as it is.
    """
    if member.arch.is_dense:
        return member
    width = member.arch.head_in_features
    return with_head(member, torch.eye(width), torch.zeros(width))


def answer_values(arch: Arch) -> int:
    """Count the numbers of one answer: of the vector, or the classes of all patches."""
    return arch.num_patches * arch.num_classes if arch.is_dense else arch.head_in_features


def answer_graph(
    member: PlainViT, spec: DeviceSpec, *, stream_scale: float = DEFAULT_STREAM_SCALE, batch: int | None = None
) -> onnx.ModelProto:
    """Export a sub-model so that it gives its answer.

    Args:
        member: With the head of the whole task.
        spec: Device that the graph is for.
        stream_scale: Of the residual stream, as of ``onnx_from_vit``.
        batch: Images of an inference; None for the device's.
    """
    options = GraphOptions(
        opset=spec.opset,
        precision=graph_precision(spec),
        batch=spec.batch if batch is None else batch,
        output_kind="patch_logits" if member.arch.is_dense else "logits",
    )
    return onnx_from_vit(vector_model(member), options, stream_scale=stream_scale)


@dataclass(frozen=True)
class VectorGraph:
    """A sub-model's graph for one device, measured there."""

    graph: onnx.ModelProto
    measurement: Measurement


def vector_graph(member: PlainViT, device: Device, *, search: SplitTensors, preprocess: Preprocess) -> VectorGraph:
    """Export a sub-model for a device, compare it with its weights, and measure it.

    Args:
        member: Sub-model, with any head.
        device: Open device that the graph is for.
        search: Search split; a few of its images are compared and set the scale of the residual stream.
        preprocess: Preprocessing that the sub-model was made for.

    Raises:
        NoAnswerError: If the graph does not agree with the weights.
        NuwaError: If the device's runtime cannot take it.
    """
    spec, model = device.spec, vector_model(member)
    count = VERIFY_MAPS if member.arch.is_dense else VERIFY_IMAGES
    images = search.images[:: max(1, len(search) // count)][:count]
    graph = answer_graph(member, spec, stream_scale=stream_scale_from_images(model, images, preprocess), batch=1)
    if spec.runtime == "tensorrt":
        check_operators(graph, version=spec.runtime_version)
    compare_graph(model, graph, spec, images=images, preprocess=preprocess)
    return VectorGraph(graph, device.measure(graph, protocol=PROTOCOL))


def write_graph(graph: onnx.ModelProto, path: Path) -> str:
    """Write a graph and return the SHA-256 of its file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(graph.SerializeToString())
    return hash_file(path)


def distinct_specs(specs: Sequence[DeviceSpec]) -> tuple[DeviceSpec, ...]:
    """List each device once, by what it is."""
    return tuple({spec.device_id: spec for spec in specs}.values())
