"""Base folders as timm and Hugging Face write them: what loads is the network that was saved, or nothing is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

from nuwa_search.core.base import load_base
from nuwa_search.core.errors import NuwaError

ARGS: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5}


def make_model(architecture: str = "vit_tiny_patch16_224", **changes: Any) -> Any:
    torch.manual_seed(0)
    model = timm.create_model(architecture, pretrained=False, **{**ARGS, **changes}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "base"
    save_for_hf(make_model(), path, safe_serialization=True)
    return path


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def error_against(model: Any, folder: Path) -> float:
    """Relative error of what loads against the model that was saved."""
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted, found = model(images), load_base(str(folder)).model(images)
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("safe", [False, True, "both"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"global_pool": "avg"},
        {"global_pool": "avg", "fc_norm": False},
        {"architecture": "vit_small_patch16_dinov3_qkvb", "global_pool": "token"},
    ],
)
def test_what_timm_saves_is_what_loads(tmp_path: Path, safe: bool | str, changes: dict[str, Any]) -> None:
    model = make_model(**changes)
    save_for_hf(model, tmp_path / "base", safe_serialization=safe)
    assert error_against(model, tmp_path / "base") < 1e-5


def test_the_default_of_timm_is_a_pickle(tmp_path: Path) -> None:
    model = make_model()
    save_for_hf(model, tmp_path / "base")
    assert sorted(p.name for p in (tmp_path / "base").iterdir()) == ["config.json", "pytorch_model.bin"]
    assert error_against(model, tmp_path / "base") < 1e-5


@pytest.mark.parametrize("ending", [".safetensors", ".bin"])
def test_sharded_weights_load(tmp_path: Path, folder: Path, ending: str) -> None:
    model = make_model()
    write_shards(folder, model.state_dict(), ending)
    assert error_against(model, folder) < 1e-5


def write_shards(folder: Path, tensors: dict[str, torch.Tensor], ending: str) -> None:
    (folder / "model.safetensors").unlink()
    stem = "model" if ending == ".safetensors" else "pytorch_model"
    names = sorted(tensors)
    places = {name: f"{stem}-0000{1 + k % 2}-of-00002{ending}" for k, name in enumerate(names)}
    for file in set(places.values()):
        part = {name: tensors[name] for name in names if places[name] == file}
        save_file(part, folder / file) if ending == ".safetensors" else torch.save(part, folder / file)
    (folder / f"{stem}{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def test_a_missing_shard_is_named(folder: Path) -> None:
    write_shards(folder, make_model().state_dict(), ".safetensors")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(NuwaError, match=r"lists model-00002-of-00002\.safetensors") as caught:
        load_base(str(folder))
    assert "model-00002-of-00002.safetensors" in caught.value.hint


def test_a_shard_outside_the_folder_is_refused(folder: Path) -> None:
    tensors = make_model().state_dict()
    save_file(tensors, folder.parent / "outside.safetensors")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": dict.fromkeys(tensors, "../outside.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(NuwaError, match="plain file name"):
        load_base(str(folder))


@pytest.mark.parametrize("wrap", [lambda t: {"state_dict": t}, lambda t: {f"module.{k}": v for k, v in t.items()}])
def test_wrapped_weights_load_as_timm_reads_them(folder: Path, wrap: Callable[[Any], Any]) -> None:
    model = make_model()
    (folder / "model.safetensors").unlink()
    torch.save(wrap(model.state_dict()), folder / "pytorch_model.bin")
    assert error_against(model, folder) < 1e-5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["model_args"].update(img_size=96), "pos_embed"),
        (lambda c: c["model_args"].update(patch_size=4), "patch_embed|pos_embed"),
        (lambda c: c["model_args"].update(img_size=16, patch_size=4), "patch_embed"),
        (lambda c: c["model_args"].update(num_classes=7), "head"),
        (lambda c: c["model_args"].update(in_chans=1), "patch_embed"),
        (lambda c: c["model_args"].update(depth=3), "blocks.2"),
        (lambda c: c["model_args"].update(embed_dim=3 * 2**18), "does not describe"),
        (lambda c: c["model_args"].update(embed_dim=10**12), "embed_dim"),
        (lambda c: c.update(global_pool="avg"), "global_pool"),
        (lambda c: c.update(architecture="resnet18"), "resnet"),
        (lambda c: c.update(architecture="vit_tini_patch16_224"), "architecture"),
    ],
)
def test_a_config_that_does_not_describe_the_weights_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    edit(folder, change)
    with pytest.raises(NuwaError, match=said):
        load_base(str(folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("global_pool"),
        lambda c: c["model_args"].update(num_heads=6),
        lambda c: c["model_args"].update(act_layer="relu"),
        lambda c: (c.update(global_pool="token"), c["model_args"].pop("global_pool")),
    ],
)
def test_what_timm_reads_of_a_config_is_obeyed(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The same weights fit several networks; the one that ``model_args`` names is timm's, and it is ours."""
    save_for_hf(make_model(global_pool="avg", fc_norm=False), tmp_path / "base", safe_serialization=True)
    edit(tmp_path / "base", change)
    reference = timm.create_model(f"local-dir:{tmp_path / 'base'}", pretrained=True).eval()
    assert error_against(reference, tmp_path / "base") < 1e-5


def test_a_headless_checkpoint_gets_no_random_head(folder: Path) -> None:
    tensors = {name: value for name, value in make_model().state_dict().items() if not name.startswith("head.")}
    save_file(tensors, folder / "model.safetensors")
    edit(folder, lambda c: c["pretrained_cfg"].update(num_classes=0))
    with pytest.raises(NuwaError, match=r"head\.weight"):
        load_base(str(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float, ending: str) -> None:
    tensors = make_model().state_dict()
    tensors["blocks.1.mlp.fc1.weight"][3, 4] = value
    (folder / "model.safetensors").unlink()
    if ending == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors")
    with pytest.raises(NuwaError, match=r"blocks\.1\.mlp\.fc1\.weight holds 1 values that are no finite"):
        load_base(str(folder))


class Opaque:
    """Anything that is no tensor."""


@pytest.mark.parametrize("content", [{"w": Opaque()}, [1, 2], {"w": 3}, {}])
def test_a_pickle_of_other_things_is_refused(folder: Path, content: object) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(NuwaError, match=r"pytorch_model\.bin hold"):
        load_base(str(folder))


def test_a_pickle_of_an_old_format_is_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(make_model().state_dict(), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(NuwaError, match="cannot be read") as caught:
        load_base(str(folder))
    assert "torch.save" in caught.value.hint


def test_what_is_missing_is_what_is_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    with pytest.raises(NuwaError, match=r"holds no weights: found config\.json, weights\.safetensors") as caught:
        load_base(str(folder))
    assert "model.safetensors" in caught.value.hint
    (folder / "weights.safetensors").rename(folder / "model.safetensors")
    (folder / "config.json").unlink()
    with pytest.raises(NuwaError, match=r"config\.json is missing"):
        load_base(str(folder))
    with pytest.raises(NuwaError, match="there is no such folder"):
        load_base(f"{folder}-other")
