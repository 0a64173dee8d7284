"""Bases in transformers' layout compute what transformers computes, and others are refused by name."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_transformers import vit_from_transformers
from nuwa_search.core.img_size import ImgSize, sides_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what transformers says while it is imported is not ours to mend
    import transformers

SMALL: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 7,
}
WIDE: dict[str, Any] = {"intermediate_size": 80}
LABELS = {k: f"label {k}" for k in range(5)}
KINDS: dict[str, tuple[transformers.PretrainedConfig, type[transformers.PreTrainedModel]]] = {
    "vit": (transformers.ViTConfig(**SMALL, **WIDE, id2label=LABELS), transformers.ViTForImageClassification),
    "vit without qkv bias": (
        transformers.ViTConfig(**SMALL, **WIDE, qkv_bias=False, id2label=LABELS),
        transformers.ViTForImageClassification,
    ),
    "deit": (transformers.DeiTConfig(**SMALL, **WIDE, id2label=LABELS), transformers.DeiTForImageClassification),
    "deit with its teacher": (
        transformers.DeiTConfig(**SMALL, **WIDE, id2label=LABELS),
        transformers.DeiTForImageClassificationWithTeacher,
    ),
    "dinov2": (
        transformers.Dinov2Config(**SMALL, mlp_ratio=2, id2label=LABELS, layerscale_value=0.3),
        transformers.Dinov2ForImageClassification,
    ),
    "dinov2 with registers": (
        transformers.Dinov2WithRegistersConfig(**SMALL, mlp_ratio=2, num_register_tokens=3, id2label=LABELS),
        transformers.Dinov2WithRegistersForImageClassification,
    ),
}


OBLONG: dict[str, Any] = SMALL | {"image_size": [28, 21]}
KINDS["vit of oblong images"] = (
    transformers.ViTConfig(**OBLONG, **WIDE, id2label=LABELS),
    transformers.ViTForImageClassification,
)


def random_model(kind: str) -> transformers.PreTrainedModel:
    config, build = KINDS[kind]
    torch.manual_seed(0)
    model = build(config)
    model.eval()
    with torch.no_grad():
        for value in model.parameters():  # zeros and ones would hide what is left out
            value.add_(0.1 * torch.randn_like(value))
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_old_names", [True, False])
def test_outputs_are_those_of_transformers(kind: str, has_old_names: bool, tmp_path: Path) -> None:
    model = random_model(kind)
    tensors = model.state_dict()
    if has_old_names:  # checkpoints keep the names of transformers 4
        from safetensors.torch import load_file

        model.save_pretrained(tmp_path)
        tensors = load_file(tmp_path / "model.safetensors")
    found = vit_from_transformers(model.config.to_dict(), tensors, name=kind)
    size: ImgSize = (28, 21) if "oblong" in kind else 28
    images = torch.randn(2, 3, *sides_of(size))
    with torch.inference_mode():
        wanted = model(images).logits
        got = found.model(images)
    assert (got - wanted).norm() / wanted.norm() < 1e-5
    assert found.has_head
    assert found.label_names == tuple(LABELS.values())
    assert found.img_size == found.model.arch.img_size == size


@pytest.mark.parametrize(
    ("config", "build"),
    [
        (transformers.Dinov2Config(**SMALL, mlp_ratio=2), transformers.Dinov2Model),
        (transformers.ViTConfig(**SMALL, **WIDE), transformers.ViTModel),
        (transformers.ViTMAEConfig(**SMALL, **WIDE), transformers.ViTMAEForPreTraining),
        (transformers.DINOv3ViTConfig(**SMALL, **WIDE, num_register_tokens=3), transformers.DINOv3ViTModel),
        (
            transformers.DINOv3ViTConfig(**SMALL, **WIDE, key_bias=True, rope_theta=30.0, layerscale_value=0.3),
            transformers.DINOv3ViTModel,
        ),
    ],
)
def test_without_a_classifier_its_features_are_those_of_transformers(
    config: transformers.PretrainedConfig, build: type[transformers.PreTrainedModel], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    torch.manual_seed(1)
    model = build(config).eval()
    model.save_pretrained(tmp_path)
    found = vit_from_transformers(config.to_dict(), load_file(tmp_path / "model.safetensors"), name="b")
    assert not found.has_head
    assert found.label_names == ()
    if build is transformers.ViTMAEForPreTraining:
        return  # its encoder drops patches at random: names and shapes are what can be held against it
    images = torch.randn(2, 3, 28, 28)
    with torch.inference_mode():
        wanted = model(images).last_hidden_state
        got = found.model.norm(found.model.forward_features(images))
    assert (got - wanted).norm() / wanted.norm() < 1e-5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "swin"}, "swin"),
        ({"image_size": 56}, "image_size"),
        ({"num_hidden_layers": 2}, "num_hidden_layers"),
        ({"hidden_act": "silu"}, "silu"),
        ({"num_attention_heads": 5}, "5 heads"),
        ({"num_attention_heads": True}, "num_attention_heads"),
        ({"id2label": {"0": "a"}}, "id2label"),
    ],
)
def test_a_config_that_does_not_describe_its_weights_is_refused(change: dict[str, object], said: str) -> None:
    model = random_model("vit")
    with pytest.raises(NuwaError, match=said):
        vit_from_transformers(model.config.to_dict() | change, model.state_dict(), name="b")


def test_dinov3_with_gated_mlps_is_refused_by_name() -> None:
    config = transformers.DINOv3ViTConfig(**SMALL, **WIDE, use_gated_mlp=True)
    with pytest.raises(NuwaError, match="gated"):
        vit_from_transformers(config.to_dict(), {}, name="b")


def test_a_missing_or_strange_tensor_is_named() -> None:
    model = random_model("vit")
    tensors = dict(model.state_dict())
    with pytest.raises(NuwaError, match="extra"):
        vit_from_transformers(model.config.to_dict(), tensors | {"extra.weight": torch.zeros(2)}, name="b")
    for key in [key for key in tensors if "1" in key and "norm" in key]:
        del tensors[key]
    with pytest.raises(NuwaError, match=r"blocks\.1\.norm1"):
        vit_from_transformers(model.config.to_dict(), tensors, name="b")
