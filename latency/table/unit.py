"""What one row of a latency table is about: a block in its context, or the ends of the net.

A row never depends on weights, and two archs that hold the same block in the same context share
its row.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

from nuwa_search.core.arch import Activation, Arch, BlockSpec, FinalNorm, GlobalPool, NormKind
from nuwa_search.core.errors import NuwaError

# alone: a chain of the block and nothing else; busy: the same block behind enough other work that
# the device, not the program that feeds it, sets the pace.
Company = Literal["alone", "busy"]


@dataclass(frozen=True, order=True)
class BlockContext:
    """What a block's latency depends on besides its own widths.

    Args:
        embed_dim: Width C of the residual stream (B, N, C).
        num_tokens: Its length N.
        norm: Kind of the norms.
        act: Activation of the MLP.
        qkv_bias: Whether query, key and value have biases.
    """

    embed_dim: int
    num_tokens: int
    norm: NormKind
    act: Activation
    qkv_bias: bool


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
    """A net without blocks: patch embedding, position and prefix tokens, final norm, pooling, head."""

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

    @property
    def kind(self) -> Literal["stem"]:
        """Always ``stem``."""
        return "stem"


UnitKey = BlockKey | StemKey


def context_of(arch: Arch) -> BlockContext:
    """Read the context that all blocks of ``arch`` share."""
    return BlockContext(arch.embed_dim, arch.num_tokens, arch.norm, arch.act, arch.qkv_bias)


def stem_of(arch: Arch) -> StemKey:
    """Read the key of the ends of ``arch``."""
    return StemKey(
        embed_dim=arch.embed_dim,
        num_classes=arch.num_classes,
        img_size=arch.img_size,
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
    """Flatten a key to plain JSON values; ``kind`` comes first."""
    if isinstance(key, StemKey):
        return {"kind": "stem", **asdict(key)}
    return {"kind": key.kind, "company": key.company, **asdict(key.block), **asdict(key.context)}


def key_from_dict(values: dict[str, Any]) -> UnitKey:
    """Read a key back from ``dict_from_key``'s form.

    Raises:
        NuwaError: If a field is missing or unknown.
    """
    rest = {name: value for name, value in values.items() if name != "kind"}
    try:
        if values["kind"] == "stem":
            return StemKey(**rest)
        company = rest.pop("company")
        if company not in get_args(Company):
            raise NuwaError(f"not a row of a latency table: unknown company {company!r}")
        widths = [int(rest.pop(name)) for name in ("num_heads", "qk_dim", "v_dim", "mlp_width")]
        return BlockKey(BlockSpec(*widths), BlockContext(**rest), cast(Company, company))
    except (KeyError, TypeError) as error:
        raise NuwaError(f"not a row of a latency table: {error} in {values}") from error


def label_of(key: UnitKey) -> str:
    """Name a row for people, such as ``attn 3 heads x qk 16 x v 32 at width 192, 65 tokens, layernorm``."""
    if isinstance(key, StemKey):
        return f"stem of width {key.embed_dim} with {key.num_classes} classes at {key.img_size} px, {key.norm}"
    block, context = key.block, key.context
    parts = []
    if block.has_attn:
        parts.append(f"attn {block.num_heads} heads x qk {block.qk_dim} x v {block.v_dim}")
    if block.has_mlp:
        parts.append(f"mlp {block.mlp_width}")
    place = f"width {context.embed_dim}, {context.num_tokens} tokens, {context.norm}"
    return f"{' + '.join(parts)} at {place}" + (", busy" if key.company == "busy" else "")
