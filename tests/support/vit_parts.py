"""Parts of a ViT by their types: torch's ``ModuleList`` hands out modules of no type that is known."""

from nuwa_search.core.vit import Attention, Block, Mlp, PlainViT


def block_of(model: PlainViT, index: int) -> Block:
    block = model.blocks[index]
    assert isinstance(block, Block)
    return block


def attention_of(model: PlainViT, index: int) -> Attention:
    attention = block_of(model, index).attn
    assert attention is not None
    return attention


def mlp_of(model: PlainViT, index: int) -> Mlp:
    mlp = block_of(model, index).mlp
    assert mlp is not None
    return mlp
