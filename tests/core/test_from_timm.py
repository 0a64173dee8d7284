from typing import Any

import pytest
import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.cost import count_params
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_timm import known_vit_names, plain_from_timm, require_vit_name
from nuwa_search.core.vit_at_size import vit_at_size

SMALL: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 4,
    "num_classes": 7,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "class token": {},
    "average pooling": {"global_pool": "avg"},
    "average pooling without class token": {"global_pool": "avg", "class_token": False},
    "no qkv bias": {"qkv_bias": False},
    "LayerScale": {"init_values": 0.1},
    "registers": {"reg_tokens": 3, "no_embed_class": True},
    "no position for class token": {"no_embed_class": True},
    "pre-norm": {"pre_norm": True},
    "no final norm": {"final_norm": False},
    "class token with fc_norm": {"fc_norm": True},
    "no projection bias": {"proj_bias": False},
    "quick GELU": {"act_layer": "quick_gelu"},
    "no positions": {"pos_embed": "none"},
}


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_module_equals_timm(family: str) -> None:
    model = randomise(VisionTransformer(**SMALL, **FAMILIES[family]))
    plain = plain_from_timm(model, name=family)
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), model(x), rtol=1e-5, atol=1e-4)
    assert count_params(plain.arch) == sum(p.numel() for p in plain.parameters())


def test_distilled_heads_become_one() -> None:
    model = randomise(VisionTransformerDistilled(**SMALL))
    plain = plain_from_timm(model, name="distilled")
    x = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), model(x), rtol=1e-5, atol=1e-4)


def test_published_shapes_are_read() -> None:
    model = timm.create_model("deit_small_patch16_224", pretrained=False)
    arch = plain_from_timm(model, name="deit_small_patch16_224").arch
    assert arch.blocks == (BlockSpec(6, 64, 64, 1536),) * 12
    assert (arch.embed_dim, arch.num_tokens, arch.num_classes) == (384, 197, 1000)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("resnet18", "ResNet"),
        ("swin_tiny_patch4_window7_224", "SwinTransformer"),
        ("eva02_tiny_patch14_224", "Eva with RotaryEmbeddingCat"),
        ("vit_small_plus_patch16_dinov3", "SwiGLU"),
        ("vit_tiny_r_s16_p8_224", "stem"),
    ],
)
def test_other_models_are_refused_by_name(name: str, reason: str) -> None:
    with pytest.raises(NuwaError, match=reason) as caught:
        plain_from_timm(timm.create_model(name, pretrained=False), name=name)
    assert "VisionTransformer" in caught.value.hint


@pytest.mark.parametrize(("size", "bias"), [("small", ""), ("base", "_qkvb"), ("large", "")])
def test_dinov3_of_two_blocks_equals_timm_at_two_image_sizes(size: str, bias: str) -> None:
    name, pool = f"vit_{size}_patch16_dinov3{bias}", "avg" if bias else "token"
    model = randomise(timm.create_model(name, depth=2, num_classes=7, img_size=64, global_pool=pool))
    plain = plain_from_timm(model, name=name)
    assert (plain.arch.rope_dim, plain.arch.num_prefix_tokens) == (64, 5)
    assert (plain.arch.global_pool, plain.arch.qkv_bias) == (pool, bool(bias))
    assert count_params(plain.arch) == sum(p.numel() for p in plain.parameters())
    for vit, side in ((plain, 64), (vit_at_size(plain, 96, name=name), 96)):  # timm's own takes any image size
        x = torch.randn(2, 3, side, side)
        with torch.no_grad():
            wanted = model(x)
            assert (vit(x) - wanted).norm() <= 1e-5 * wanted.norm()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("vit_7b_patch16_dinov3", "SwiGLU"), ("vit_base_patch16_rope_224", "RotaryEmbeddingCat"), ("resnet18", "resnet")],
)
def test_other_models_are_refused_before_their_weights_are_fetched(name: str, reason: str) -> None:
    with pytest.raises(NuwaError, match=reason) as caught:
        require_vit_name(name)
    assert name in caught.value.message


def test_known_names_hold_dinov3_without_gated_mlps() -> None:
    names = known_vit_names()
    assert {"vit_small_patch16_dinov3", "vit_large_patch16_dinov3_qkvb", "deit_tiny_patch16_224"} <= set(names)
    assert not {"vit_small_plus_patch16_dinov3", "vit_7b_patch16_dinov3"} & set(names)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"qk_norm": True}, "qk-norm"), ({"global_pool": "map"}, "pools")],
)
def test_variants_that_do_not_work_yet_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(NuwaError, match=reason):
        plain_from_timm(VisionTransformer(**(SMALL | options)), name="variant")
