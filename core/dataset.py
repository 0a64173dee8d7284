"""Find and read images with labels or masks: folders, Parquet files, or a data set on the Hub."""

from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.demo_packages import DATA_PACKAGE, pinned_path
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.home import expanded
from nuwa_search.core.image_folder import read_image_folder
from nuwa_search.core.images import WHOLE, ImageSet
from nuwa_search.core.parquet_images import read_parquet, read_parquet_folder
from nuwa_search.core.source_name import DEMO_DATA
from nuwa_search.core.suggest import unknown_name
from nuwa_search.core.tasks.class_file import CLASS_FILE, find_class_file
from nuwa_search.core.tasks.kind import TaskChoice
from nuwa_search.core.tasks.mask_folder import is_mask_folder, read_mask_folder
from nuwa_search.core.tasks.mask_parquet import has_masks, read_mask_parquet


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


def load_dataset(source: str | Path, *, label_column: str | None = None, task: TaskChoice = "auto") -> Dataset:
    """Read all splits of a data set; images stay encoded.

    Args:
        source: An image folder (``split/class/file`` or ``class/file``), a Parquet file or a folder of
            them in the Hugging Face image layout, or a data-set name on the Hub. A name that starts
            with ``.``, ``/`` or ``~`` is a path and never looked up on the Hub. ``simulated-textiles`` is what
            the package ``conformal-clip-data`` holds.
        label_column: Label column of Parquet files; None tries ``label``, then ``fine_label``. With masks the column
            of them; None tries ``mask``, then ``annotation``.
        task: Whether images have classes or pixels have: ``auto`` takes masks where ``images`` stands beside ``masks``
            in a folder or below it, and where a Parquet file has a column of masks and none of labels.

    Raises:
        NuwaError: If the source does not exist, holds no images, allows two readings, or a file is corrupt.
        OutsideError: If the Hub cannot be reached.
    """
    path = local_root(source)
    if path is None:
        if str(source).startswith((".", "/", "~")):
            raise NuwaError(f"no data at {source}", hint="--data takes an image folder, a Parquet file or folder")
        path = _from_hub(str(source))
    is_masked = _reads_masks(path, label_column, task)
    if path.is_file():
        return Dataset({WHOLE: (read_mask_parquet if is_masked else read_parquet)([path], label_column)})
    files = parquet_files(path)
    if files:
        reader = read_mask_parquet if is_masked else None
        return Dataset(*read_parquet_folder(path, files, label_column, reader=reader))
    return Dataset(*(read_mask_folder if is_masked else read_image_folder)(path))


def _has_masks(folder: Path, task: TaskChoice) -> bool:
    """Whether a folder is to be read as images with masks.

    Raises:
        NuwaError: If masks were asked for and there are none, or nothing says whether two folders called images and
            masks are that or two classes.
    """
    is_laid_out = is_mask_folder(folder)
    if task == "segmentation" and not is_laid_out:
        raise NuwaError(
            f"{folder} holds no images beside masks", hint="put them into SPLIT/images and SPLIT/masks, such as train"
        )
    if task == "auto" and is_laid_out and find_class_file(folder) is None:
        raise NuwaError(
            f"{folder} can be read in two ways: as images with masks, whose {CLASS_FILE} is missing, or as classes "
            "called images and masks",
            hint=f"write {folder / CLASS_FILE}, one name a line from id 0 on, or say --task classification",
        )
    return task != "classification" and is_laid_out


def has_masks_at(source: str | Path, *, label_column: str | None = None, task: TaskChoice = "auto") -> bool:
    """Whether ``load_dataset`` would read masks; nothing is read but the layout, and nothing fetched.

    Raises:
        NuwaError: As ``load_dataset``, where the layout allows two readings.
    """
    path = local_root(source)
    return path is not None and _reads_masks(path, label_column, task)


def _reads_masks(path: Path, label_column: str | None, task: TaskChoice) -> bool:
    files = [path] if path.is_file() else parquet_files(path)
    if not files:
        return _has_masks(path, task)
    return task == "segmentation" or (task == "auto" and label_column is None and has_masks(files[0]))


def parquet_files(folder: Path) -> list[Path]:
    """List the Parquet files below a folder, without what is hidden."""
    found = folder.rglob("*.parquet")
    return sorted(f for f in found if not any(p.startswith(".") for p in f.relative_to(folder).parts))


def local_root(source: str | Path) -> Path | None:
    """Return the folder or file that a source means on this machine; None where there is none, as of the Hub's."""
    path = pinned_path(DATA_PACKAGE) if source == DEMO_DATA else expanded(source)
    return path if path.exists() else None


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = ["*.parquet", "**/*.parquet", CLASS_FILE]
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


def pick_split(splits: dict[str, ImageSet], wanted: str | None) -> tuple[str, ImageSet]:
    """Choose the split to evaluate: the only one, the named one, or ``test``.

    Raises:
        NuwaError: If there is no such split.
    """
    if wanted is None and len(splits) == 1:
        name = next(iter(splits))
    else:
        name = wanted or ("test" if "test" in splits else "val")
    if name not in splits:
        raise unknown_name("split", name, splits)
    return name, splits[name]
