"""A plain ViT as the tensors that its ONNX graph holds, after everything that can be folded is folded."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nuwa_search.core.arch import Activation, Arch
from nuwa_search.deploy.export.opsets import GELU_NODE_OPSET

FloatArray = npt.NDArray[np.float32]

DEFAULT_STREAM_SCALE = 0.25
"""Factor on the residual stream when no statistics are given.

FP16 squares overflow beyond 255, so a quarter allows values up to 1020, several times the largest
that large pretrained ViTs show ("Massive Activations in Large Language Models", arXiv 2402.17762, has
ViT figures up to 270), while 1e-6 · (1/4)² still is a number in FP16."""

_HALF_SQRT = 0.5**0.5
_QUICK_GELU = 1.702  # OpenAI CLIP's x · sigmoid(1.702 x)


@dataclass(frozen=True)
class FoldedRotary:
    """Tables of rotary positions, prefix tokens first; see ``nuwa_search.core.rotary.turns``.

    Args:
        cos: (N, qk_dim), or (H, N, qk_dim) where heads kept other pairs of channels.
        sin: Likewise, of the swapped halves, negative in the first.
    """

    cos: FloatArray
    sin: FloatArray

    @property
    def is_whole(self) -> bool:
        """Whether heads are whole, and so all turned alike."""
        return self.cos.ndim == 2


@dataclass(frozen=True)
class FoldedAttention:
    """Weights (out, in) of one attention branch; norm, softmax scale and value bias are folded in.

    The key bias is gone because softmax over keys does not see it, unless keys are turned by their places; the
    value bias sits in ``proj_bias`` because each row of attention sums to one.

    Args:
        q_weight: (H · qk_dim, C), scaled by 1/sqrt(qk_dim).
        q_bias: (H · qk_dim,); None where neither the norm nor the projection has a bias.
        k_weight: (H · qk_dim, C).
        v_weight: (H · v_dim, C).
        proj_weight: (C, H · v_dim).
        proj_bias: (C,).
        k_bias: (H · qk_dim,), only beside ``rotary``, and where queries have a bias.
        rotary: Tables, where positions are rotary.
    """

    q_weight: FloatArray
    q_bias: FloatArray | None
    k_weight: FloatArray
    v_weight: FloatArray
    proj_weight: FloatArray
    proj_bias: FloatArray
    k_bias: FloatArray | None = None
    rotary: FoldedRotary | None = None


@dataclass(frozen=True)
class FoldedMlp:
    """Weights (out, in) of one MLP branch; norm and the activation's constants are folded in."""

    fc1_weight: FloatArray
    fc1_bias: FloatArray
    fc2_weight: FloatArray
    fc2_bias: FloatArray


@dataclass(frozen=True)
class FoldedBlock:
    """One block; a branch that is gone is None."""

    attn: FoldedAttention | None
    mlp: FoldedMlp | None


@dataclass(frozen=True)
class FoldedViT:
    """All tensors of the graph.

    Args:
        patch_weight: (C, in_chans, patch, patch); its bias sits in ``pos_embed``.
        pos_embed: (num_patches, C).
        prefix_tokens: (num_prefix_tokens, C).
        pre_norm: Scale (C,) and shift (C,) or None of the norm before the first block; None without it.
        blocks: Blocks that are there.
        head_weight: (num_classes, head_in_features), the last norm folded in.
        head_bias: (num_classes,).
        stream_scale: Power of two that multiplies the residual stream, see ``DEFAULT_STREAM_SCALE``.
    """

    patch_weight: FloatArray
    pos_embed: FloatArray
    prefix_tokens: FloatArray
    pre_norm: tuple[FloatArray, FloatArray | None] | None
    blocks: tuple[FoldedBlock, ...]
    head_weight: FloatArray
    head_bias: FloatArray
    stream_scale: float


def is_stream_centred(arch: Arch) -> bool:
    """Whether the residual stream can be kept at mean zero over channels.

    Centring is linear, so it moves from the norms into whatever writes the stream, and layernorm
    becomes rmsnorm without changing the function ("SliceGPT", arXiv 2401.15024, section 3.1). It needs
    every reader of the stream to be a norm.
    """
    return arch.norm == "layernorm" and arch.final_norm != "none"


def has_q_bias(arch: Arch) -> bool:
    """Whether queries have a bias once the norm's shift is folded in; decided by shape, never by values."""
    return arch.qkv_bias or arch.norm == "layernorm"


def act_scales(act: Activation, *, opset: int) -> tuple[float, float]:
    """Give the factors on input and output of the activation that fc1 and fc2 take over."""
    has_node = opset >= GELU_NODE_OPSET
    match act:
        case "gelu":
            return (1.0, 1.0) if has_node else (_HALF_SQRT, _HALF_SQRT)
        case "gelu_tanh":
            return (1.0, 1.0) if has_node else (1.0, 0.5)
        case "quick_gelu":
            return _QUICK_GELU, 1 / _QUICK_GELU
        case "relu":
            return 1.0, 1.0
