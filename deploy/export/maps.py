"""The tail of a net that answers for patches: its logits scaled to the picture, and the class of each pixel."""

from onnx import TensorProto

from nuwa_search.core.arch import Arch
from nuwa_search.core.img_size import sides_of
from nuwa_search.deploy.export.writer import GraphWriter


def write_map(g: GraphWriter, answer: str, arch: Arch, *, batch: int) -> str:
    """Scale logits of patches (B · P, C) to those of pixels (B, C, H, W), linearly between the centres of patches.

    ``half_pixel`` is what torch calls ``align_corners=False``; TensorRT reads both words from 7.1 on, with sizes that
    are constants.

    Args:
        g: Writer of the graph.
        answer: Name of the tensor of patch logits (B · P, C).
        arch: Shape of the model: grid of patches, number of classes, image size.
        batch: B, images per inference.

    Returns:
        Name of the tensor (B, C, H, W).
    """
    by_image = g.reshape(answer, (batch, *arch.grid, arch.num_classes), "map.patches")
    channels = g.transpose(by_image, (0, 3, 1, 2), "map.channels")
    sizes = g.ints((batch, arch.num_classes, *sides_of(arch.img_size)))
    # regions of interest and scales are left out: sizes say it all
    return g.node(
        "Resize", [channels, "", "", sizes], "map.pixels", mode="linear", coordinate_transformation_mode="half_pixel"
    )


def write_labels(g: GraphWriter, pixels: str) -> str:
    """Write the likeliest class of each pixel: (B, H, W) of logits (B, C, H, W), as 32-bit integers.

    ONNX's ArgMax gives 64 bits, which engines have none of; the first of equals wins, as in torch.
    """
    labels = g.node("ArgMax", [pixels], "map.labels", axis=1, keepdims=0)
    return g.node("Cast", [labels], "map.labels.int32", to=TensorProto.INT32)
