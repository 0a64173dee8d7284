"""Readers of bases and of weights in all their files."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save as safetensors_bytes
from torch import nn

from nuwa_search.core.base import load_base
from nuwa_search.core.base_folder import facts_of_folder, read_held_out
from nuwa_search.core.cache import Cache
from nuwa_search.core.checkpoint_files import read_checkpoint
from nuwa_search.core.weights import read_tensors
from nuwa_search.deploy.train.base_train import read_planned_steps
from nuwa_search.deploy.train.checkpoint import load_checkpoint, save_checkpoint
from nuwa_search.deploy.train.outcome import ScoredWeights
from nuwa_search.deploy.train.recipe import Recipe
from nuwa_search.deploy.train.run_state import RunState
from nuwa_search.deploy.train.score import SplitScore
from tests.support.fuzzing.mutations import mutated_bytes, mutated_json, mutated_safetensors
from tests.support.fuzzing.reader import Reader
from tests.support.toy_base import write_toy_base

TENSORS = {"w": torch.ones(3, 4), "b": torch.zeros(4)}


def base_readers(folder: Path) -> list[Reader]:
    """Read a base in timm's hub format, and what its training left."""
    base = write_toy_base(folder / "base")
    (base / "search_split.json").write_text(json.dumps({"hashes": ["0" * 16, "f" * 16]}))
    run = folder / "run"
    model = nn.Linear(2, 2)
    state = RunState(model, Recipe(steps=5))
    state.record(ScoredWeights(0, "model", SplitScore(0.5, None, 0.25)), model)
    save_checkpoint(run, state.capture())
    plan = run / "plan.json"
    plan.write_text(json.dumps({"steps": 40}))

    def resumed() -> None:
        found = load_checkpoint(run)
        assert found is not None
        state.restore(found)

    def load() -> object:
        return load_base(str(base))

    tensors = next(run.glob("*.safetensors"))
    return [
        Reader("base: config.json", base / "config.json", mutated_json, load),
        Reader("base: config.json, listed", base / "config.json", mutated_json, lambda: facts_of_folder(base)),
        Reader("base: search_split.json", base / "search_split.json", mutated_json, lambda: read_held_out(base)),
        Reader("base: weights", base / "model.safetensors", mutated_safetensors, load),
        Reader("training: state", run / "state.json", mutated_json, resumed),
        Reader("training: tensors", tensors, mutated_safetensors, resumed),
        Reader("training: plan", plan, mutated_json, lambda: read_planned_steps(plan)),
    ]


def transformers_readers(folder: Path) -> list[Reader]:
    """Read a base in transformers' layout, written by hand: transformers itself need not be there."""
    config = {
        **{"model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"image_size": 8, "patch_size": 4, "num_channels": 3, "intermediate_size": 24, "hidden_act": "gelu"},
        "id2label": {"0": "a", "1": "b", "2": "c"},
    }
    told = {
        **{"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 3, "do_resize": True},
        "size": {"height": 8, "width": 8},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    (folder / "model.safetensors").write_bytes(safetensors_bytes(_transformers_tensors()))

    def load() -> object:
        return load_base(str(folder))

    return [
        Reader("transformers: config.json", folder / "config.json", mutated_json, load),
        Reader("transformers: preprocessor_config.json", folder / "preprocessor_config.json", mutated_json, load),
        Reader("transformers: weights", folder / "model.safetensors", mutated_safetensors, load),
    ]


def _transformers_tensors() -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "vit.embeddings.cls_token": (1, 1, 16),
        "vit.embeddings.position_embeddings": (1, 5, 16),
        "vit.embeddings.patch_embeddings.projection.weight": (16, 3, 4, 4),
        "vit.embeddings.patch_embeddings.projection.bias": (16,),
        "vit.layernorm.weight": (16,),
        "vit.layernorm.bias": (16,),
        "classifier.weight": (3, 16),
        "classifier.bias": (3,),
    }
    linears = {
        **{f"attention.attention.{name}": (16, 16) for name in ("query", "key", "value")},
        **{"attention.output.dense": (16, 16), "intermediate.dense": (24, 16), "output.dense": (16, 24)},
    }
    for name, shape in linears.items():
        shapes |= {f"vit.encoder.layer.0.{name}.weight": shape, f"vit.encoder.layer.0.{name}.bias": shape[:1]}
    for name in ("layernorm_before", "layernorm_after"):
        shapes |= {f"vit.encoder.layer.0.{name}.{kind}": (16,) for kind in ("weight", "bias")}
    rng = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}


def weight_readers(folder: Path) -> list[Reader]:
    """Read weights by themselves, in every file that they come in, and the cache's."""
    names = ("pytorch_model.bin", "model.safetensors.index.json", "model-1.safetensors", "plain.safetensors")
    pickled, index, shard, plain = (folder / name for name in names)
    pickled.write_bytes(_saved(TENSORS))
    index.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(TENSORS, shard.name)}))
    for path in (shard, plain):
        path.write_bytes(safetensors_bytes(TENSORS))
    cache = Cache(folder / "cache")
    cache.save("stage", "key", TENSORS)
    return [
        Reader("weights: safetensors", plain, mutated_safetensors, lambda: read_tensors(plain)),
        Reader("weights: pickle", pickled, mutated_bytes, lambda: read_checkpoint(pickled)),
        Reader("weights: index", index, mutated_json, lambda: read_checkpoint(index)),
        Reader("weights: shard", shard, mutated_safetensors, lambda: read_checkpoint(index)),
        Reader("cache entry", cache.path("stage", "key"), mutated_safetensors, lambda: cache.load("stage", "key")),
    ]


def _saved(tensors: Mapping[str, torch.Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(tensors), buffer)
    return buffer.getvalue()
