"""What one row of a latency table is about: a block in its context, or the ends of the net.

A row never depends on weights, and two archs that hold the same block in the same context share
its row.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

from nuwa_search.core import checked
from nuwa_search.core.arch import MAX_WIDTH, Activation, Arch, BlockSpec, FinalNorm, GlobalPool, NormKind
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.identity import hashed_values, later_defaults
from nuwa_search.core.img_size import MAX_SIDE, ImgSize, grid_of, img_size_of, sides_of, size_words
from nuwa_search.core.records import record_from_dict

# alone: a chain of the block and nothing else; busy: the same block behind enough other work that
# the device, not the program that feeds it, sets the pace.
Company = Literal["alone", "busy"]
_WIDTHS = ("num_heads", "qk_dim", "v_dim", "mlp_width")
_MAX_SIZE = MAX_SIDE**2 + MAX_SIDE  # tokens of the largest image with patches of one pixel


@dataclass(frozen=True, order=True)
class BlockContext:
    """What a block's latency depends on besides its own widths.

    Args:
        embed_dim: Width C of the residual stream (B, N, C).
        num_tokens: Its length N.
        norm: Kind of the norms.
        act: Activation of the MLP.
        qkv_bias: Whether query, key and value have biases.
        rope_dim: Width of a whole head whose queries and keys are turned by their places; 0 for none.
    """

    embed_dim: int
    num_tokens: int
    norm: NormKind
    act: Activation
    qkv_bias: bool
    rope_dim: int = 0


_LATER_FIELDS = later_defaults(BlockContext, original=frozenset({"embed_dim", "num_tokens", "norm", "act", "qkv_bias"}))


@dataclass(frozen=True, order=True)
class BlockKey:
    """A block with one branch (or two) in a context, and the company it was measured in."""

    block: BlockSpec
    context: BlockContext
    company: Company = "alone"

    @property
    def kind(self) -> Literal["attn", "mlp", "block"]:
        """Which branches there are."""
        if self.block.has_attn and self.block.has_mlp:
            return "block"
        return "attn" if self.block.has_attn else "mlp"


@dataclass(frozen=True, order=True)
class StemKey:
    """A net without blocks: patch embedding, position and prefix tokens, final norm, pooling, head.

    ``img_size`` is the image's height in pixels, and ``img_width`` its width where that is another; 0 of a square.
    """

    embed_dim: int
    num_classes: int
    img_size: int
    patch_size: int
    in_chans: int
    num_prefix_tokens: int
    global_pool: GlobalPool
    norm: NormKind
    pre_norm: bool
    final_norm: FinalNorm
    img_width: int = 0

    @property
    def image(self) -> ImgSize:
        """Size of the image in pixels."""
        return img_size_of(self.img_size, self.img_width or self.img_size)

    @property
    def num_patches(self) -> int:
        rows, columns = grid_of(self.image, self.patch_size)
        return rows * columns

    @property
    def kind(self) -> Literal["stem"]:
        """Always ``stem``."""
        return "stem"


UnitKey = BlockKey | StemKey
_LATER_OF_STEMS = later_defaults(StemKey, original=frozenset(StemKey.__dataclass_fields__) - {"img_width"})


def context_of(arch: Arch) -> BlockContext:
    """Read the context that all blocks of ``arch`` share."""
    return BlockContext(arch.embed_dim, arch.num_tokens, arch.norm, arch.act, arch.qkv_bias, arch.rope_dim)


def stem_of(arch: Arch) -> StemKey:
    """Read the key of the ends of ``arch``."""
    height, width = sides_of(arch.img_size)
    return StemKey(
        embed_dim=arch.embed_dim,
        num_classes=arch.num_classes,
        img_size=height,
        img_width=0 if width == height else width,
        patch_size=arch.patch_size,
        in_chans=arch.in_chans,
        num_prefix_tokens=arch.num_prefix_tokens,
        global_pool=arch.global_pool,
        norm=arch.norm,
        pre_norm=arch.pre_norm,
        final_norm=arch.final_norm,
    )


def attn_part(block: BlockSpec) -> BlockSpec:
    """Keep the attention branch only; empty where there is none."""
    return BlockSpec(block.num_heads, block.qk_dim, block.v_dim, 0)


def mlp_part(block: BlockSpec) -> BlockSpec:
    """Keep the MLP branch only; empty where there is none."""
    return BlockSpec(0, 0, 0, block.mlp_width)


def dict_from_key(key: UnitKey) -> dict[str, Any]:
    """Flatten a key to plain JSON values; ``kind`` comes first, and what came later is left out at its default."""
    if isinstance(key, StemKey):
        return {"kind": "stem", **hashed_values(asdict(key), _LATER_OF_STEMS)}
    context = hashed_values(asdict(key.context), _LATER_FIELDS)  # rows of before are found by what they wrote
    return {"kind": key.kind, "company": key.company, **asdict(key.block), **context}


def key_from_dict(values: object) -> UnitKey:
    """Read a key back from ``dict_from_key``'s form.

    Raises:
        NuwaError: If a field is missing, unknown, of another type or out of range.
    """
    rest = dict(checked.mapping(values, "the key"))
    try:
        kind = checked.one_of(rest.pop("kind", None), "kind", ("stem", "attn", "mlp", "block"))
        if kind == "stem":
            stem = record_from_dict(StemKey, rest, where="stem")
            _check_stem(stem)
            return stem
        company = checked.one_of(rest.pop("company", None), "company", get_args(Company))
        widths = [checked.integer(rest.pop(name, None), name, low=0) for name in _WIDTHS]
        context = record_from_dict(BlockContext, rest, where="block")
        for name in ("embed_dim", "num_tokens"):
            checked.integer(getattr(context, name), name, low=1, high=_MAX_SIZE)
        checked.integer(context.rope_dim, "rope_dim", low=0, high=MAX_WIDTH)
        return BlockKey(BlockSpec(*widths), context, cast(Company, company))
    except NuwaError as error:
        raise NuwaError(f"not a row of a latency table: {error.message}") from error


def _check_stem(stem: StemKey) -> None:
    """Build the net that the stem is of: it knows which sizes go together."""
    if stem.img_width == stem.img_size:
        raise NuwaError(f"img_width {stem.img_width} is that of a square, which has none")
    values = {name: value for name, value in asdict(stem).items() if name != "img_width"}
    Arch(blocks=(), **values | {"img_size": [stem.img_size, stem.img_width or stem.img_size]})


def label_of(key: UnitKey) -> str:
    """Name a row for people, such as ``attn 3 heads x qk 16 x v 32 at width 192, 65 tokens, layernorm``."""
    if isinstance(key, StemKey):
        return f"stem of width {key.embed_dim} with {key.num_classes} classes at {size_words(key.image)} px, {key.norm}"
    block, context = key.block, key.context
    parts = []
    if block.has_attn:
        parts.append(f"attn {block.num_heads} heads x qk {block.qk_dim} x v {block.v_dim}")
    if block.has_mlp:
        parts.append(f"mlp {block.mlp_width}")
    place = f"width {context.embed_dim}, {context.num_tokens} tokens, {context.norm}"
    if context.rope_dim and block.has_attn:
        place += f", rotary {context.rope_dim}"
    return f"{' + '.join(parts)} at {place}" + (", busy" if key.company == "busy" else "")
