"""Bundles: folders that hold a subnet, its exports, the proof and what it takes to run it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nuwa_search.core.arch import Arch, arch_from_dict
from nuwa_search.core.documents import read_object, read_text
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import Preprocess
from nuwa_search.core.pipeline import FIRST_PIPELINE
from nuwa_search.core.records import record_from_dict
from nuwa_search.deploy.bundle_facts import NO_FACTS, BundleFacts, facts_from_dict
from nuwa_search.deploy.certificate import Certificate, certificate_from_dict
from nuwa_search.deploy.compared_names import COMPARED
from nuwa_search.deploy.file_hashes import CERTIFICATE
from nuwa_search.deploy.lost_names import LOST

if TYPE_CHECKING:
    from nuwa_search.core.vit import PlainViT

ARCH = "arch.json"
WEIGHTS = "model.safetensors"
ONNX = "model.onnx"
ENGINE = "model.engine"
ENGINE_INFO = "model.engine.json"
BUILD = "build.sh"
INT8_ONNX = "model.int8.onnx"
INT8_BUILD = "build_int8.sh"
LABELS = "labels.txt"
PREPROCESS = "preprocess.json"
FACTS = "facts.json"
README = "README.md"
PROGRAMS = ("classifier.py", "run.py", "camera.py", "run_engine.py")
"""Copied from ``deploy/assets``; without an exported model they say which command makes it."""
DEEPSTREAM = "deepstream"
TRITON = "triton"
ROS2 = "ros2"
CPP = "cpp"
PIXEL_PROGRAMS = {
    "classifier.py": "classifier.py",
    "segmenter.py": "segmenter.py",
    "run.py": "run_maps.py",
    "camera.py": "camera.py",
    "run_engine.py": "run_engine.py",
}
"""The same where a model answers for every pixel, with the file in ``deploy/assets`` that each is."""
SAMPLES = "samples"
DEVICES = "devices"
"""Folder of further devices' bundles; not among ``OWN_NAMES``: writing the first device's leaves them alone."""
OWN_NAMES = (
    ARCH,
    WEIGHTS,
    ONNX,
    ENGINE,
    ENGINE_INFO,
    BUILD,
    INT8_ONNX,
    INT8_BUILD,
    LABELS,
    PREPROCESS,
    FACTS,
    README,
    *dict.fromkeys((*PROGRAMS, *PIXEL_PROGRAMS)),
    DEEPSTREAM,
    TRITON,
    ROS2,
    CPP,
    SAMPLES,
    LOST,
    COMPARED,
    CERTIFICATE,
)
"""What writing a bundle makes; anything else in a bundle's folder is the user's and is left alone."""
_AGAIN = "copy or make the bundle again"


def programs_of(arch: Arch) -> Mapping[str, str]:
    """Name the programs of a bundle, each with the file in ``deploy/assets`` that it is a copy of."""
    return PIXEL_PROGRAMS if arch.is_dense else {name: name for name in PROGRAMS}


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk.

    Args:
        dir: Its folder.
        arch: As it was searched: entries of blocks that are gone may be there.
        labels: One name per output.
        preprocess: How images are made.
        certificate: None where the bundle was not exported for a device since its weights changed.
        facts: What is known about the model beside its certificate (base, data, study, accuracies with their
            split); the certificate's own where there is one.
    """

    dir: Path
    arch: Arch
    labels: tuple[str, ...]
    preprocess: Preprocess
    certificate: Certificate | None
    facts: BundleFacts = NO_FACTS

    @property
    def subnet_id(self) -> str:
        """Identity of arch, base, task and derivation; empty where not known."""
        known = self.certificate.subnet_id if self.certificate else ""
        return known or self.facts.subnet_id or ""

    @property
    def weights_path(self) -> Path:
        return self.dir / WEIGHTS

    @property
    def onnx_path(self) -> Path | None:
        """The exported model; None before the export."""
        return _existing(self.dir / ONNX)

    @property
    def engine_path(self) -> Path | None:
        """The engine; None where none was built here."""
        return _existing(self.dir / ENGINE)

    @property
    def build_path(self) -> Path | None:
        """The script that builds the engine on the device; None where an engine or no TensorRT is meant."""
        return _existing(self.dir / BUILD)

    def load_model(self) -> "PlainViT":
        """Build the module with its weights, in FP32 and evaluation mode.

        Raises:
            NuwaError: If the weights are missing, damaged, or of another arch.
        """
        from nuwa_search.core.weights import load_vit  # torch, which reading a bundle does without

        return load_vit(self.arch, self.weights_path)


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle, going by its arch and weights."""
    return (folder / ARCH).is_file() and (folder / WEIGHTS).is_file()


def read_bundle(folder: str | Path) -> Bundle:
    """Read a bundle; weights and graph stay on disk, and hashes are left to ``verify_bundle``.

    Raises:
        NuwaError: If the folder is no bundle, or a part is missing, damaged or does not fit the rest.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NuwaError(f"no bundle at {folder}", hint="`nuwa query` lists the bundles that searches wrote")
    arch = arch_from_dict(_read_object(folder / ARCH))
    preprocess = _preprocess_of(_read_object(folder / PREPROCESS), folder / PREPROCESS)
    labels = tuple(_read_text(folder / LABELS).removesuffix("\n").split("\n"))
    if len(labels) != arch.num_classes:
        raise NuwaError(f"{folder / LABELS} names {len(labels)} classes, but the arch has {arch.num_classes}")
    if not (folder / WEIGHTS).is_file():
        raise _missing(folder / WEIGHTS)
    certificate, facts = None, NO_FACTS
    if (folder / CERTIFICATE).exists():
        certificate = certificate_from_dict(_read_object(folder / CERTIFICATE))
        facts = certificate.facts
    elif (folder / FACTS).exists():
        facts = facts_from_dict(_read_object(folder / FACTS))
    return Bundle(folder, arch, labels, preprocess, certificate, facts)


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _missing(path: Path) -> NuwaError:
    return NuwaError(f"{path.parent} is not a whole bundle: {path.name} is missing", hint=_AGAIN)


def _read_text(path: Path) -> str:
    if not path.exists():
        raise _missing(path)
    return read_text(path, what="the bundle's file", hint=_AGAIN)


def _read_object(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise _missing(path)
    return read_object(path, what="the bundle's file", hint=_AGAIN)


def _preprocess_of(values: dict[str, Any], path: Path) -> Preprocess:
    try:
        # bundles of the first pipeline do not name it
        return record_from_dict(Preprocess, {"pipeline": FIRST_PIPELINE, **values}, where="preprocess")
    except NuwaError as error:
        raise NuwaError(f"{path} is no description of preprocessing: {error.message}", hint=_AGAIN) from error
