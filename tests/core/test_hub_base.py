"""A base on the Hub is read as a folder is: the same checks, the same net."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import safe_open

from nuwa_search.core.base import load_base
from nuwa_search.core.errors import NuwaError, OutsideError
from tests.support.toy_base import write_toy_base


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that plays the Hub's toy/base, with the toy base in it."""
    folder, cache = write_toy_base(tmp_path / "hub"), tmp_path / "cache"

    def download(name: str, file: str, *, revision: str | None = None) -> str:
        if name != "toy/base" or revision not in (None, cache.name) or not (folder / file).exists():
            raise LocalEntryNotFoundError(file)
        cache.mkdir(exist_ok=True)
        return str(shutil.copy(folder / file, cache / file))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return folder


def test_it_is_the_base_that_the_folder_is(hub: Path) -> None:
    found, wanted = load_base("hf-hub:toy/base"), load_base(str(hub))
    assert (found.base_id, found.label_names, found.preprocess) == (
        wanted.base_id,
        wanted.label_names,
        wanted.preprocess,
    )


def test_shards_are_fetched_with_their_index(hub: Path) -> None:
    wanted = load_base(str(hub)).base_id
    shard = (hub / "model.safetensors").rename(hub / "model-00001-of-00001.safetensors")
    with safe_open(shard, framework="pt") as file:
        index = {"weight_map": dict.fromkeys(file.keys(), shard.name)}
    (hub / "model.safetensors.index.json").write_text(json.dumps(index))
    assert load_base("hf-hub:toy/base").base_id == wanted
    shard.unlink()
    shutil.rmtree(hub.with_name("cache"))
    with pytest.raises(OutsideError, match=r"lists model-00001-of-00001\.safetensors, which is not there"):
        load_base("hf-hub:toy/base")


@pytest.mark.parametrize("place", ["global_pool", "img_size"])
def test_a_config_that_describes_another_net_is_refused(hub: Path, place: str) -> None:
    """timm reads no top-level ``global_pool``, and makes positions fit another size, without a word."""
    config = json.loads((hub / "config.json").read_text())
    if place == "global_pool":
        config["global_pool"] = "token"
    else:
        config["model_args"]["img_size"] = 32
    (hub / "config.json").write_text(json.dumps(config))
    with pytest.raises(NuwaError, match="global_pool" if place == "global_pool" else "does not describe"):
        load_base("hf-hub:toy/base")


def test_what_is_not_there_is_named(hub: Path) -> None:
    with pytest.raises(OutsideError, match=r"config\.json of base hf-hub:other/base could not be fetched"):
        load_base("hf-hub:other/base")
    (hub / "model.safetensors").unlink()
    with pytest.raises(OutsideError, match=r"holds none of model\.safetensors"):
        load_base("hf-hub:toy/base")
