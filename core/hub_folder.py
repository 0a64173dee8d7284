"""Models on the Hub in transformers' layout: the files of one, in the Hugging Face cache."""

from pathlib import Path

from nuwa_search.core.checkpoint_files import WEIGHT_FILES
from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.from_transformers import is_transformers_config, require_known_type

HUB_PREFIX = "hf-hub:"
"""Before ``OWNER/NAME``, or ``OWNER/NAME@REVISION``, as timm writes it."""
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"


def transformers_snapshot(repo: str) -> Path | None:
    """Fetch a model's config, preprocessing and weights where its config is transformers'; None where it is timm's.

    ``HF_HUB_OFFLINE`` is honoured: what is in the cache is found without the network. Of weights one kind is fetched,
    safetensors where there are any.

    Args:
        repo: ``OWNER/NAME``, with ``@REVISION`` behind it where one is meant.

    Raises:
        NuwaError: If that is no name of a model, or it is of a kind that is not supported; nothing large was fetched.
        OutsideError: If the Hub cannot be reached and the cache does not hold it, or there is no such model.
    """
    config_path = _fetched(repo, CONFIG)
    config = read_object(config_path, what="config of a base", hint="fetch it again")
    if not is_transformers_config(config):
        return None
    require_known_type(config, name=f"{HUB_PREFIX}{repo}")
    pinned = f"{repo.partition('@')[0]}@{config_path.parent.name}"  # what follows is of the same commit
    for name in (PREPROCESSOR, *_weights_of(pinned)):
        _fetched(pinned, name)
    return config_path.parent


def _weights_of(repo: str) -> list[str]:
    """Name the files that hold the weights: one file, or an index and its shards."""
    missing: OutsideError | None = None
    for name in WEIGHT_FILES:
        try:
            path = _fetched(repo, name)
        except OutsideError as error:
            missing = error
            continue
        if path.suffix != ".json":
            return [name]
        index = read_object(path, what="index of weights", hint="fetch it again").get("weight_map")
        shards = sorted(set(index.values())) if isinstance(index, dict) else []
        if not all(isinstance(shard, str) and "/" not in shard for shard in shards):
            raise NuwaError(f"the index of weights of {HUB_PREFIX}{repo} names no files", hint="fetch it again")
        return [name, *shards]
    raise missing or OutsideError(f"{HUB_PREFIX}{repo} has no weights")


def _fetched(repo: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    model, _, revision = repo.partition("@")
    try:
        return Path(hf_hub_download(model, name, revision=revision or None))
    except (HFValidationError, ValueError) as error:
        raise NuwaError(
            f"{HUB_PREFIX}{repo} names no model on the Hub", hint="a model there is called hf-hub:OWNER/NAME"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise OutsideError(
            f"{name} of base {HUB_PREFIX}{repo} could not be fetched ({type(error).__name__})",
            hint="check name and network, or give --base a local folder with config.json and weights",
        ) from error
