"""The architecture of a plain ViT as a value: what a search proposes and a module is built from."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

from nuwa_search.core import checked
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.identity import hashed_values, later_defaults
from nuwa_search.core.img_size import (
    MAX_SIDE,
    ImgSize,
    checked_img_size,
    grid_of,
    is_cut_by,
    json_from_img_size,
    size_words,
)
from nuwa_search.core.records import record_from_dict

GlobalPool = Literal["token", "avg", "dist", "token_avg", "patches"]
NormKind = Literal["layernorm", "rmsnorm"]
FinalNorm = Literal["before_pool", "after_pool", "none"]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu"]

MAX_WIDTH = 2**20
"""Of any one dimension; the widest published ViT, of 22 billion weights (arXiv 2302.05442), has an MLP of 24,576."""
MAX_BLOCKS = 1000
"""Of one net; the deepest published ViTs have below 100."""

_HINT = "an arch file is as a bundle's arch.json or an answer of nuwa search --json has it"


@dataclass(frozen=True, order=True)
class BlockSpec:
    """One transformer block; a width of 0 removes its branch.

    Args:
        num_heads: Attention heads; 0 removes the attention branch.
        qk_dim: Width of query and key per head.
        v_dim: Width of value per head.
        mlp_width: Hidden neurons of the MLP; 0 removes the MLP branch.
    """

    num_heads: int
    qk_dim: int
    v_dim: int
    mlp_width: int

    def __post_init__(self) -> None:
        widths = (self.num_heads, self.qk_dim, self.v_dim)
        if min(*widths, self.mlp_width) < 0 or (min(widths) == 0) != (max(widths) == 0):
            raise NuwaError(
                f"a block needs widths >= 0, and heads, qk_dim, v_dim all zero or none, found {self}",
                hint="write 0 for num_heads, qk_dim and v_dim to drop the attention branch",
            )
        if max(*widths, self.mlp_width) > MAX_WIDTH:
            raise NuwaError(f"a block's widths are at most {MAX_WIDTH}, found {self}", hint=_HINT)

    @property
    def has_attn(self) -> bool:
        return self.num_heads > 0

    @property
    def has_mlp(self) -> bool:
        return self.mlp_width > 0

    @property
    def is_empty(self) -> bool:
        """Whether the block is gone."""
        return not (self.has_attn or self.has_mlp)

    def fits_in(self, other: "BlockSpec") -> bool:
        """Whether every width is at most that of ``other``."""
        return (
            self.num_heads <= other.num_heads
            and self.qk_dim <= other.qk_dim
            and self.v_dim <= other.v_dim
            and self.mlp_width <= other.mlp_width
        )


EMPTY_BLOCK = BlockSpec(0, 0, 0, 0)


@dataclass(frozen=True)
class Arch:
    """Shape of a whole ViT, in timm's names for the dimensions.

    ``blocks`` may hold empty entries: in an arch cut from a base they mark the base's blocks that
    are gone, so position ``i`` always speaks of the base's block ``i``. ``arch_id`` ignores them:
    it means shape only.

    Args:
        blocks: One spec per block, first to last.
        embed_dim: Width C of the residual stream (B, N, C).
        num_classes: Outputs of the head.
        img_size: Side of the square input image in pixels; (height, width) of an image that is none.
        patch_size: Side of a square patch in pixels; divides the image's sides.
        in_chans: Input channels.
        num_prefix_tokens: Class, distillation and register tokens before the patch tokens.
        global_pool: ``token`` reads the first token, ``avg`` the mean over patch tokens, ``dist`` the
            first two tokens through one head over their concatenation (distilled DeiT), ``token_avg`` the first
            token beside the mean over patch tokens (DINOv2's classifier), ``patches`` each patch token by itself,
            for a class per pixel.
        qkv_bias: Whether query, key and value have biases.
        norm: Kind of all norms; cutting ``embed_dim`` by rotation turns layernorm into rmsnorm.
        norm_eps: Epsilon of all norms inside the blocks.
        pre_norm: Whether a norm stands before the first block (CLIP style).
        final_norm: Where the last norm stands, relative to pooling.
        act: Activation of the MLPs.
        rope_dim: Width of query and key per head that rotary positions were made for (``nuwa_search.core.rotary``),
            a multiple of 4; 0 has none. Heads narrower than that keep some of its pairs of channels.
        rope_temperature: Of the rotary positions.
    """

    blocks: tuple[BlockSpec, ...]
    embed_dim: int
    num_classes: int
    img_size: ImgSize
    patch_size: int
    in_chans: int = 3
    num_prefix_tokens: int = 1
    global_pool: GlobalPool = "token"
    qkv_bias: bool = True
    norm: NormKind = "layernorm"
    norm_eps: float = 1e-6
    pre_norm: bool = False
    final_norm: FinalNorm = "before_pool"
    act: Activation = "gelu"
    rope_dim: int = 0
    rope_temperature: float = 100.0

    def __post_init__(self) -> None:
        for name in ("embed_dim", "num_classes", "patch_size", "in_chans"):
            found, high = getattr(self, name), MAX_SIDE if name == "patch_size" else MAX_WIDTH
            if not 1 <= found <= high:
                raise NuwaError(f"arch needs {name} from 1 to {high}, found {found}", hint=_HINT)
        if not 0 <= self.num_prefix_tokens <= MAX_SIDE:
            raise NuwaError(f"arch needs num_prefix_tokens from 0 to {MAX_SIDE}, found {self.num_prefix_tokens}")
        object.__setattr__(self, "img_size", checked_img_size(self.img_size, "arch: img_size"))  # a square is no pair
        if not is_cut_by(self.img_size, self.patch_size):
            raise NuwaError(
                f"arch needs patch_size to divide img_size, found {self.patch_size} and {size_words(self.img_size)}",
                hint=_HINT,
            )
        needed = {"token": 1, "dist": 2, "avg": 0, "token_avg": 1, "patches": 0}.get(self.global_pool)
        if needed is None or self.num_prefix_tokens < needed:
            raise NuwaError(
                f"pooling {self.global_pool!r} cannot work with {self.num_prefix_tokens} prefix tokens", hint=_HINT
            )
        if self.global_pool == "token_avg" and self.final_norm == "after_pool":
            raise NuwaError("pooling 'token_avg' cannot work with a norm after pooling", hint=_HINT)
        checked.finite(self.norm_eps, "arch: norm_eps", above=0, high=1)
        choices = {"norm": NormKind, "final_norm": FinalNorm, "act": Activation}
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                raise NuwaError(f"arch needs {name} among {get_args(kind)}, found {getattr(self, name)!r}", hint=_HINT)
        self._check_rope()

    def _check_rope(self) -> None:
        checked.finite(self.rope_temperature, "arch: rope_temperature", above=1, high=1e6)
        if self.rope_dim % 4 or not 0 <= self.rope_dim <= MAX_WIDTH:
            raise NuwaError(f"arch needs rope_dim to be a multiple of 4 from 0, found {self.rope_dim}", hint=_HINT)
        for block in self.blocks if self.rope_dim else ():
            if block.qk_dim % 2 or block.qk_dim > self.rope_dim:
                raise NuwaError(
                    f"rotary positions turn pairs of channels: an even qk_dim up to {self.rope_dim} was wanted, "
                    f"found {block.qk_dim}",
                    hint=_HINT,
                )

    @property
    def depth(self) -> int:
        """Blocks that are there, whole or with one branch."""
        return sum(not block.is_empty for block in self.blocks)

    @property
    def num_patches(self) -> int:
        rows, columns = self.grid
        return rows * columns

    @property
    def is_dense(self) -> bool:
        """Whether the head answers for every patch, and not for the image."""
        return self.global_pool == "patches"

    @property
    def grid(self) -> tuple[int, int]:
        """Patches one below the other, and side by side."""
        return grid_of(self.img_size, self.patch_size)

    @property
    def num_tokens(self) -> int:
        """Length N of the residual stream (B, N, C)."""
        return self.num_patches + self.num_prefix_tokens

    @property
    def head_in_features(self) -> int:
        return self.embed_dim * (2 if self.global_pool in ("dist", "token_avg") else 1)

    @property
    def pooled_tokens(self) -> tuple[int, int]:
        """Which tokens pooling reads: the first, and one past the last."""
        if self.global_pool in ("avg", "patches"):
            return self.num_prefix_tokens, self.num_tokens
        if self.global_pool == "token_avg":
            return 0, self.num_tokens
        return 0, 2 if self.global_pool == "dist" else 1

    @property
    def trim_at(self) -> int | None:
        """Index of the last block that attends: behind its attention only the pooled tokens matter.

        None where pooling reads the patches, or no block attends.
        """
        if self.pooled_tokens[1] == self.num_tokens:
            return None
        return max((i for i, block in enumerate(self.blocks) if block.has_attn), default=None)

    def compact(self) -> "Arch":
        """Return the same shape without the entries of blocks that are gone."""
        return dataclasses.replace(self, blocks=tuple(b for b in self.blocks if not b.is_empty))

    @cached_property
    def arch_id(self) -> str:
        """Identify the shape: 16 hex digits of the SHA-256 of its canonical JSON."""
        text = json.dumps(hashed_from_arch(self.compact()), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def fits_in(self, base: "Arch") -> bool:
        """Whether ``derive`` can cut this arch out of ``base``: same positions, no width grown."""
        return (
            len(self.blocks) == len(base.blocks)
            and self.embed_dim <= base.embed_dim
            and all(mine.fits_in(theirs) for mine, theirs in zip(self.blocks, base.blocks, strict=True))
        )


_ARCH_FIELDS = tuple(field.name for field in dataclasses.fields(Arch))
_BLOCK_FIELDS = tuple(field.name for field in dataclasses.fields(BlockSpec))
# Hashed whatever their value, as ids were first given; fields that come later only where they are not at their default.
_FIRST_FIELDS = frozenset(
    {
        *("blocks", "embed_dim", "num_classes", "img_size", "patch_size", "in_chans", "num_prefix_tokens"),
        *("global_pool", "qkv_bias", "norm", "norm_eps", "pre_norm", "final_norm", "act"),
    }
)
_LATER_FIELDS = later_defaults(Arch, original=_FIRST_FIELDS)
_LATER_OF_BLOCKS = later_defaults(BlockSpec, original=frozenset({"num_heads", "qk_dim", "v_dim", "mlp_width"}))


def dict_from_arch(arch: Arch) -> dict[str, Any]:
    """Turn an arch into plain JSON values; later fields are left out where they are at their default, as in ids."""
    # by hand: `asdict` copies deeply and takes twenty times as long, and a profile asks ten thousand times
    values = hashed_values({name: getattr(arch, name) for name in _ARCH_FIELDS}, _LATER_FIELDS)
    blocks = [{name: getattr(b, name) for name in _BLOCK_FIELDS} for b in arch.blocks]
    return values | {"blocks": blocks, "img_size": json_from_img_size(arch.img_size)}


def hashed_from_arch(arch: Arch) -> dict[str, Any]:
    """Turn an arch into the plain JSON values that ids hash."""
    values = dict_from_arch(arch)
    return values | {"blocks": [hashed_values(block, _LATER_OF_BLOCKS) for block in values["blocks"]]}


def arch_from_dict(values: object) -> Arch:
    """Read an arch back from ``dict_from_arch``'s form.

    Raises:
        NuwaError: If a field is missing, unknown, of another type or out of range.
    """
    try:
        checked.items(checked.mapping(values, "arch").get("blocks", ()), "arch: blocks", max_items=MAX_BLOCKS)
        return record_from_dict(Arch, values, where="arch")
    except NuwaError as error:
        raise NuwaError(f"not an arch: {error.message}", hint=error.hint or _HINT) from error
