"""A base on the Hugging Face Hub, fetched into its cache as a folder: what is read and checked there is a folder's."""

import contextlib
from pathlib import Path

from nuwa_search.core.base_folder import CONFIG
from nuwa_search.core.checkpoint_files import INDEX_SUFFIX, WEIGHT_FILES, files_of_index
from nuwa_search.core.documents import read_object
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.from_transformers import require_known_type
from nuwa_search.core.licence import CARD
from nuwa_search.core.transformers_folder import PREPROCESSOR, is_transformers_folder

HUB_PREFIX = "hf-hub:"
"""Before ``OWNER/NAME``, or ``OWNER/NAME@REVISION``, as timm writes it."""


def fetched_folder(name: str) -> Path:
    """Fetch config and weights of a base on the Hub; returns their folder in the cache.

    ``HF_HUB_OFFLINE`` is honoured: what is in the cache already is found there. All files are of the commit that the
    config is of. Of weights one kind is fetched, safetensors where there are any.

    Args:
        name: ``hf-hub:OWNER/NAME`` or ``hf-hub:OWNER/NAME@REVISION``.

    Raises:
        NuwaError: If that is no name, the config or an index of weights cannot be read, or the config is of a kind of
            transformers' that is not supported (then no weights were fetched).
        OutsideError: If the Hub cannot be reached and the cache does not hold it, or there is no such base.
    """
    model, _, revision = name.removeprefix(HUB_PREFIX).partition("@")
    config = _required(model, CONFIG, revision, name=name)
    commit = config.parent.name
    if is_transformers_folder(config.parent):
        require_known_type(read_object(config, what="config of a base", hint="fetch it again"), name=name)
        _required(model, PREPROCESSOR, commit, name=name)
    for file in WEIGHT_FILES:
        path = _fetched(model, file, commit)
        if path is None:
            continue
        shards = sorted(files_of_index(path)) if file.endswith(INDEX_SUFFIX) else []
        lost = next((shard for shard in shards if _fetched(model, shard, commit) is None), None)
        if lost is not None:
            raise _unfetched("weights", name, f"{file} lists {lost}, which is not there")
        with contextlib.suppress(OutsideError):  # the card is for the licence, and a base works without
            _fetched(model, CARD, commit)
        return config.parent
    raise _unfetched("weights", name, f"it holds none of {', '.join(WEIGHT_FILES)}")


def _required(model: str, file: str, revision: str, *, name: str) -> Path:
    path = _fetched(model, file, revision)
    if path is None:
        raise _unfetched(file, name, "it is neither on the Hub nor in the cache")
    return path


def _fetched(model: str, file: str, revision: str) -> Path | None:
    """Fetch one file into the cache; None where the Hub, or offline the cache, has none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        return Path(hf_hub_download(model, file, revision=revision or None))
    except EntryNotFoundError:
        return None
    except HFValidationError as error:
        raise NuwaError(
            f"{HUB_PREFIX}{model} names no model on the Hub", hint="a model there is called hf-hub:OWNER/NAME"
        ) from error
    except (OSError, ValueError) as error:
        raise _unfetched(file, f"{HUB_PREFIX}{model}", type(error).__name__) from error


def _unfetched(what: str, name: str, reason: str) -> OutsideError:
    return OutsideError(
        f"{what} of base {name} could not be fetched ({reason})",
        hint=f"check the name and the network, or give --base a local folder with {CONFIG} and model.safetensors",
    )
