"""Keeping everything reproduces the base; widths and rotations are exact where they must be."""

import dataclasses

import pytest
import torch
from torch import nn

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, BlockSpec
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.logits import normalise
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import Attention, PlainViT
from nuwa_search.search.derive.deriver import Deriver
from nuwa_search.search.derive.options import DeriveOptions
from nuwa_search.search.derive.rotation import narrow
from tests.support.derive_models import FAMILIES, PREPROCESS, make_model, make_split, with_block, with_blocks
from tests.support.vit_parts import attention_of, mlp_of

FAST = DeriveOptions(num_images=60, sensitivity_images=20)


@pytest.fixture(scope="module")
def split() -> SplitTensors:
    return make_split()


@pytest.fixture(scope="module", params=list(FAMILIES))
def deriver(request: pytest.FixtureRequest, split: SplitTensors) -> Deriver:
    return Deriver(make_model(request.param), split, PREPROCESS, options=FAST)


@pytest.fixture(scope="module")
def images(split: SplitTensors) -> torch.Tensor:
    return normalise(split.images[:8], PREPROCESS)


def gap(one: nn.Module, other: nn.Module, images: torch.Tensor) -> float:
    with torch.no_grad():
        return float((one(images) - other(images)).abs().max())


def test_keeping_everything_reproduces_the_base(deriver: Deriver, images: torch.Tensor) -> None:
    assert gap(deriver.derive(deriver.model.arch), deriver.model, images) < 1e-4


def test_rotation_at_full_width_is_exact(deriver: Deriver, images: torch.Tensor) -> None:
    arch = deriver.model.arch
    if arch.pre_norm:
        pytest.skip("a norm before the first block fixes the axes")
    rotated = dataclasses.replace(arch, norm="rmsnorm", qkv_bias=True)
    assert gap(deriver.derive(rotated), deriver.model, images) < 1e-4


def test_pre_norm_width_is_refused_by_name() -> None:
    with pytest.raises(NuwaError, match="norm before its first block"):
        narrow(make_model("pre_norm").arch, 16)


def test_every_dimension_cuts_to_the_shape_asked_for(deriver: Deriver, images: torch.Tensor) -> None:
    arch = deriver.model.arch
    arch = with_blocks(arch, num_heads=2, qk_dim=4, v_dim=5, mlp_width=24)
    arch = with_block(arch, 0, BlockSpec(0, 0, 0, 16))
    arch = with_block(arch, 1, BlockSpec(1, odd_width(arch), 8, 0))
    for wanted in [arch, with_block(arch, 2, EMPTY_BLOCK), with_block(arch, 0, EMPTY_BLOCK)]:
        if not wanted.pre_norm:
            wanted = narrow(wanted, 16)
        model = deriver.derive(wanted)
        assert model.arch == wanted.compact()
        assert model(images).shape == (8, 5)
        assert sum(p.numel() for p in model.parameters()) == count_params(wanted)


def odd_width(arch: Arch) -> int:
    """A width of queries that is no multiple of anything, unless channels turn in pairs."""
    return 2 if arch.rope_dim else 3


def test_macs_equal_a_hook_based_counter(deriver: Deriver, images: torch.Tensor) -> None:
    block = BlockSpec(2, odd_width(deriver.model.arch), 8, 0)
    arch = with_block(with_blocks(deriver.model.arch, qk_dim=4, v_dim=5, mlp_width=24), 1, block)
    for wanted in [deriver.model.arch, arch] + ([] if arch.pre_norm else [narrow(arch, 16)]):
        assert hooked_macs(deriver.derive(wanted), images[:1]) == count_macs(wanted)


def hooked_macs(model: PlainViT, image: torch.Tensor) -> int:
    """Count by hooks: linear and convolution layers by their outputs, attention by its shapes."""
    total = 0

    def on_linear(module: nn.Linear, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        total += output.numel() * module.in_features

    def on_conv(module: nn.Conv2d, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    def on_attention(module: Attention, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        tokens = inputs[0].shape[1]
        total += tokens * tokens * module.num_heads * (module.qk_dim + module.v_dim)

    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(on_linear)
        elif isinstance(module, nn.Conv2d):
            module.register_forward_hook(on_conv)
        elif hasattr(module, "qk_dim"):
            module.register_forward_hook(on_attention)
    with torch.no_grad():
        model(image)
    return total


def test_masked_equals_sliced(split: SplitTensors, images: torch.Tensor) -> None:
    """Without least squares, cutting MLP neurons and heads is the same as zeroing what they write."""
    base = make_model("avg")
    options = dataclasses.replace(FAST, least_squares=False, depth_correction=False, svd="none")
    deriver = Deriver(base, split, PREPROCESS, options=options)
    cut = deriver.derive(with_blocks(base.arch, num_heads=2, mlp_width=24))
    plan = deriver.prepare()
    for i in range(len(base.blocks)):
        with torch.no_grad():
            mlp_of(base, i).fc2.weight[:, plan.neurons[2 * i + 1].order[24:]] = 0
            gone = plan.attention[2 * i].heads[2]
            attention_of(base, i).proj.weight[:, gone * 8 : (gone + 1) * 8] = 0
    assert gap(cut, base, images) < 1e-5


def test_half_precision_base_derives_in_single(split: SplitTensors, images: torch.Tensor) -> None:
    base = make_model("token")
    half = make_model("token").half()
    deriver = Deriver(half, split, PREPROCESS, options=FAST)
    model = deriver.derive(base.arch)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert gap(model, half.float(), images) < 1e-4
    narrowed = deriver.derive(with_blocks(base.arch, qk_dim=4, v_dim=4, mlp_width=16))
    assert torch.isfinite(narrowed(images)).all()


def test_what_does_not_fit_is_named() -> None:
    base = make_model("token")
    deriver = Deriver(base, make_split(), PREPROCESS, options=FAST)
    with pytest.raises(NuwaError, match="block 1 of the arch has mlp_width 99, the base only 48"):
        deriver.derive(with_block(base.arch, 1, BlockSpec(3, 8, 8, 99)))
    with pytest.raises(NuwaError, match="2 block entries, the base 3"):
        deriver.derive(dataclasses.replace(base.arch, blocks=base.arch.blocks[:2]))
    with pytest.raises(NuwaError, match="num_classes 7, the base 5"):
        deriver.derive(dataclasses.replace(base.arch, num_classes=7))
    with pytest.raises(NuwaError, match="needs norm 'rmsnorm'"):
        deriver.derive(dataclasses.replace(base.arch, embed_dim=16))
