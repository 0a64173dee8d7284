from typing import Any

import pytest
import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from nuwa_search.core.arch import BlockSpec
from nuwa_search.core.cost import count_params
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_timm import plain_from_timm

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
        ("eva02_tiny_patch14_224", "Eva"),
        ("vit_tiny_r_s16_p8_224", "stem"),
    ],
)
def test_other_models_are_refused_by_name(name: str, reason: str) -> None:
    with pytest.raises(NuwaError, match=reason) as caught:
        plain_from_timm(timm.create_model(name, pretrained=False), name=name)
    assert "VisionTransformer" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"qk_norm": True}, "qk-norm"), ({"global_pool": "map"}, "pools")],
)
def test_variants_that_do_not_work_yet_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(NuwaError, match=reason):
        plain_from_timm(VisionTransformer(**(SMALL | options)), name="variant")
