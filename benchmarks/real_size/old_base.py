"""What ``prepare`` wrote, opened with the modules of an old build: base with its head, and images."""

import dataclasses
import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

Arch, BlockSpec = (getattr(import_module("nuwa.arch"), name) for name in ("Arch", "BlockSpec"))
PlainViT = import_module("nuwa.vit").PlainViT
Preprocess = import_module("nuwa.images").Preprocess
SplitTensors = import_module("nuwa.tensors").SplitTensors


@dataclass(frozen=True)
class Opened:
    """Values of that build's classes.

    Args:
        model: The base with the task's head.
        splits: ``train``, ``search`` and ``test``, decoded.
        preprocess: Of the base.
        about: What else ``prepare`` said.
    """

    model: Any
    splits: dict[str, Any]
    preprocess: Any
    about: dict[str, Any]


def opened(place: Path) -> Opened:
    """Read the folder that ``prepare`` filled."""
    about = json.loads((place / "arch.json").read_text())
    known = {field.name for field in dataclasses.fields(Arch)}
    blocks = tuple(BlockSpec(**block) for block in about["arch"].pop("blocks"))
    arch = Arch(blocks=blocks, **{name: value for name, value in about["arch"].items() if name in known})
    model = PlainViT(arch)
    tensors = torch.load(place / "tensors.pt", weights_only=True)
    model.load_state_dict(tensors["model"])
    splits = {name: SplitTensors(*tensors[name]) for name in ("train", "search", "test")}
    named = {k: tuple(v) if isinstance(v, list) else v for k, v in about["preprocess"].items()}
    fields = {field.name for field in dataclasses.fields(Preprocess)}
    preprocess = Preprocess(**{k: v for k, v in named.items() if k in fields})
    return Opened(model.eval(), splits, preprocess, about)
