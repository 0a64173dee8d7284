"""Find and read labelled images: image folders, Parquet files, or a data set on the Hub."""

from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.demo_packages import DATA_PACKAGE, pinned_path
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.home import expanded
from nuwa_search.core.image_folder import read_image_folder
from nuwa_search.core.images import WHOLE, ImageSet
from nuwa_search.core.parquet_images import read_parquet, read_parquet_folder
from nuwa_search.core.source_name import DEMO_DATA


@dataclass(frozen=True)
class Dataset:
    """Labelled images by split.

    Args:
        splits: ``train``, ``val`` and ``test`` where the source has them under any of their usual names; a source
            without splits is ``{"all": …}``.
        notes: What was left out and why, in sentences for people.
    """

    splits: dict[str, ImageSet]
    notes: tuple[str, ...] = ()


def load_dataset(source: str | Path, *, label_column: str | None = None) -> Dataset:
    """Read all splits of a data set; images stay encoded.

    Args:
        source: An image folder (``split/class/file`` or ``class/file``), a Parquet file or a folder of
            them in the Hugging Face image layout, or a data-set name on the Hub. A name that starts
            with ``.``, ``/`` or ``~`` is a path and never looked up on the Hub. ``simulated-textiles`` is what
            the package ``conformal-clip-data`` holds.
        label_column: Label column of Parquet files; None tries ``label``, then ``fine_label``.

    Raises:
        NuwaError: If the source does not exist, holds no images, allows two readings, or a file is corrupt.
        OutsideError: If the Hub cannot be reached.
    """
    path = local_root(source)
    if path is None:
        if str(source).startswith((".", "/", "~")):
            raise NuwaError(f"no data at {source}", hint="--data takes an image folder, a Parquet file or folder")
        path = _from_hub(str(source))
    if path.is_file():
        return Dataset({WHOLE: read_parquet([path], label_column)})
    files = sorted(f for f in path.rglob("*.parquet") if not any(p.startswith(".") for p in f.relative_to(path).parts))
    splits, notes = read_parquet_folder(path, files, label_column) if files else read_image_folder(path)
    return Dataset(splits, notes)


def local_root(source: str | Path) -> Path | None:
    """Return the folder or file that a source means on this machine; None where there is none, as of the Hub's."""
    path = pinned_path(DATA_PACKAGE) if source == DEMO_DATA else expanded(source)
    return path if path.exists() else None


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = ["*.parquet", "**/*.parquet"]
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=patterns))
    except (HFValidationError, ValueError) as error:
        raise NuwaError(
            f"no data at {name!r}: neither a path nor a data set's name on the Hub",
            hint="start a path with ./ or /; a data set on the Hub is called OWNER/NAME",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise OutsideError(
            f"no path {name!r} here, and the Hub gave no data set of that name ({type(error).__name__})",
            hint="write ./NAME for a path; on the Hub, check the name and the network",
        ) from error
