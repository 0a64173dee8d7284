"""Bases in transformers' layout: ViT, DeiT, MAE, DINOv2 (with or without registers) and DINOv3, by name and shape.

Only the files are read (config.json, weights, preprocessor_config.json); transformers itself is not needed.
Sources: configuration and modelling files of transformers 5.24 for each of these model types.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nuwa_search.core import checked
from nuwa_search.core.arch import Activation, GlobalPool
from nuwa_search.core.class_names import MAX_INDEX_DIGITS
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.from_roles import VitFacts, plain_from_roles
from nuwa_search.core.img_size import ImgSize, checked_img_size
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.vit_names import roles_from_names

MAX_SIZE = 2**20
"""Of a whole number in a config: the sizes of a net are far smaller."""
MAX_LABEL = 1000
"""Characters of a label; the longest of ImageNet's comma lists has 130."""
_EPS = {
    "vit": 1e-12,
    "deit": 1e-12,
    "vit_mae": 1e-12,
    "dinov2": 1e-6,
    "dinov2_with_registers": 1e-6,
    "dinov3_vit": 1e-5,
}
"""``layer_norm_eps`` of each supported ``model_type`` where its config leaves it out."""
_ACTS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
}
_OTHER_PARTS = ("decoder.", "decoder_")
"""MAE's decoder, which its pretraining alone uses."""


@dataclass(frozen=True)
class TransformersVit:
    """A base read from transformers' files.

    Args:
        model: At the size of its stored positions.
        has_head: Whether it had a classifier.
        label_names: One per output, from ``id2label``; empty without a head.
        img_size: Of the images it was made for, in pixels.
    """

    model: PlainViT
    has_head: bool
    label_names: tuple[str, ...]
    img_size: ImgSize


def is_transformers_config(config: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is transformers' and not timm's."""
    return "model_type" in config and "architecture" not in config


def require_known_type(config: Mapping[str, Any], *, name: str) -> str:
    """Return the ``model_type`` of a config.

    Raises:
        NuwaError: If it is none of the supported ones.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in _EPS:
        raise _refuse(name, f"it is a {kind!r}")
    return kind


def vit_from_transformers(config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, name: str) -> TransformersVit:
    """Build the plain ViT that a transformers config and its tensors describe.

    Args:
        config: Of ``config.json``.
        tensors: By name, as saved.
        name: What to call the base in messages.

    Raises:
        NuwaError: If the model type is none of the supported ones, or the tensors contradict the config.
    """
    kind = require_known_type(config, name=name)
    if config.get("use_swiglu_ffn") or config.get("use_gated_mlp"):
        raise _refuse(name, "its MLPs are gated (SwiGLU)")
    act = config.get("hidden_act", "gelu")
    if not isinstance(act, str) or act not in _ACTS:
        raise _refuse(name, f"its activation is {act!r}")
    kept = {key: value for key, value in tensors.items() if not _is_other(key)}
    roles, strange = roles_from_names(kept)
    if strange:
        raise _refuse(name, f"it has a tensor {strange[0]!r} that no plain ViT has")
    if kind != "deit" and "dist" in roles:
        raise _refuse(name, "it has a distillation token")
    img_size = _image_size(config, name)
    facts = VitFacts(
        _whole(config, "num_attention_heads", name),
        _eps(config, kind, name),
        _ACTS[act],
        _pool(kind),
        _temperature(config, name) if kind == "dinov3_vit" else 0.0,
        img_size,
    )
    model = plain_from_roles(roles, facts, name=name)
    _compare(config, model, name)
    has_head = "head.weight" in roles
    labels = _labels(config, model.arch.num_classes, name) if has_head else ()
    return TransformersVit(model, has_head, labels, img_size)


def _refuse(name: str, reason: str) -> NuwaError:
    return NuwaError(
        f"base {name!r} is not supported: {reason}",
        hint=f"supported in transformers' layout: {', '.join(_EPS)}",
    )


def _is_other(key: str) -> bool:
    return key.startswith(_OTHER_PARTS) or ".decoder." in key


def _temperature(config: Mapping[str, Any], name: str) -> float:
    """Read the temperature of rotary positions; transformers 5 nests it."""
    nested = config.get("rope_parameters")
    value = nested.get("rope_theta") if isinstance(nested, Mapping) else config.get("rope_theta", 100.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 < value <= MAX_SIZE:
        raise _refuse(name, f"its config gives rope_theta as {value!r}")
    return float(value)


def _pool(kind: str) -> GlobalPool:
    return "token_avg" if kind.startswith("dinov2") else "token"


def _whole(config: Mapping[str, Any], key: str, name: str) -> int:
    value = config.get(key)
    if isinstance(value, list | tuple) and value and all(side == value[0] for side in value):
        value = value[0]
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIZE:
        raise _refuse(name, f"its config gives {key} as {value!r}, wanted one whole number")
    return value


def _image_size(config: Mapping[str, Any], name: str) -> ImgSize:
    try:
        return checked_img_size(config.get("image_size"), high=MAX_SIZE)
    except NuwaError as error:
        raise _refuse(name, f"its config gives image_size as {config.get('image_size')!r}") from error


def _eps(config: Mapping[str, Any], kind: str, name: str) -> float:
    value = config.get("layer_norm_eps", _EPS[kind])
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise _refuse(name, f"its config gives layer_norm_eps as {value!r}")
    return float(value)


def _compare(config: Mapping[str, Any], model: PlainViT, name: str) -> None:
    """Hold the config against what the tensors say.

    Raises:
        NuwaError: If they differ.
    """
    arch = model.arch
    found: dict[str, ImgSize] = {
        "hidden_size": arch.embed_dim,
        "num_hidden_layers": arch.depth,
        "patch_size": arch.patch_size,
        "num_channels": arch.in_chans,
    }
    if config["model_type"] in ("vit", "deit", "vit_mae"):  # DINOv2 resamples its positions to any image
        found["image_size"] = arch.img_size
    if config.get("intermediate_size") is not None and not config["model_type"].startswith("dinov2"):
        found["intermediate_size"] = arch.blocks[0].mlp_width
    for key, value in found.items():
        if key not in config:
            continue
        if (_image_size(config, name) if key == "image_size" else _whole(config, key, name)) != value:
            raise NuwaError(
                f"base {name!r}: config.json says {key} {config[key]}, its weights {value}",
                hint="config.json must be the one saved with these weights",
            )


def _labels(config: Mapping[str, Any], count: int, name: str) -> tuple[str, ...]:
    given = config.get("id2label")
    if not isinstance(given, Mapping):
        return tuple(f"class_{k}" for k in range(count))
    try:
        labels = {_index(key): checked.text(value, "a label", max_length=MAX_LABEL) for key, value in given.items()}
    except (ValueError, NuwaError) as error:
        raise _refuse(name, f"its id2label numbers no labels: {error}") from error
    if set(labels) != set(range(count)):
        raise NuwaError(
            f"base {name!r} has {count} outputs, but id2label names {len(labels)} others",
            hint="id2label needs one name for each output, numbered from 0",
        )
    return tuple(labels[k] for k in range(count))


def _index(key: object) -> int:
    """Read the number of an output, which JSON writes as text."""
    if isinstance(key, bool) or not isinstance(key, int | str) or len(str(key)) > MAX_INDEX_DIGITS:
        raise ValueError(f"{checked.shown(key)} is no whole number")
    return int(key)
