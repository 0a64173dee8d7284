"""What the TensorRT of a board fuses."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FusionRules:
    """What the TensorRT of a board fuses beyond what all of them do.

    Args:
        attention: Whether attention is one kernel; TensorRT has none that computes in FP32.
        norms: Whether a layer normalisation is one kernel.
        conv_activations: Whether a convolution takes in any pointwise chain that reads nothing else.
        reformats: Whether convolutions keep channels packed in a way that products cannot read.
    """

    attention: bool = False
    norms: bool = False
    conv_activations: bool = False
    reformats: bool = False


PLAIN_RULES = FusionRules()
"""What every release fuses, and no more."""
