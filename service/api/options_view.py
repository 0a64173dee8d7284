"""What a form offers: devices, bases and data that a search can name here."""

from pathlib import Path
from typing import Any

from nuwa_search.core.device import device_json
from nuwa_search.latency.devices.registry import builtin_specs
from nuwa_search.service.api.search_request import DEFAULTS
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.service.workflow.devices import added_devices
from nuwa_search.store.store import Store

MAX_FOLDERS = 200
"""Entries of a root that are looked at; a form with more is no help."""
SAMPLE_CLASSES = ("bicycle", "bus", "motorcycle", "pickup_truck", "train")
"""Classes with images in the package's sample; a test compares them with its files."""
_IMAGE_SPLITS = ("train", "training")


def options_document(store: Store, settings: ServiceSettings) -> dict[str, Any]:
    """Put the options together."""
    specs = builtin_specs() | added_devices(store)
    folders = _folders(settings.roots)
    bases = [folder for folder in folders if (folder / "config.json").is_file()]
    data = [folder for folder in folders if _holds_images(folder)]
    known = set(store.base_names())
    return {
        "schema": "nuwa.options/1",
        "devices": [
            device_json(spec)
            | {"kind": spec.kind, "is_profiled": bool(store.predictors(spec.device_id)), "note": spec.note}
            for spec in specs.values()
        ],
        "bases": [
            {"name": "default", "title": "the ViT in the package", "needs_data": False, "is_known": "default" in known},
            *(
                {"name": str(path), "title": path.name, "needs_data": True, "is_known": str(path) in known}
                for path in bases
            ),
        ],
        "data": [
            {"name": None, "title": "cifar100-sample (in the package)", "classes": list(SAMPLE_CLASSES)},
            *({"name": str(path), "title": path.name, "classes": None} for path in data),
        ],
        "samplers": ["auto", "tpe", "nsga2", "nsga3", "random", "gp"],
        "budget_statistics": ["median", "p95", "p99"],
        "defaults": {name: value for name, value in DEFAULTS.items() if name not in ("study", "output")},
        "roots": [str(root) for root in settings.roots],
        "num_workers": store.count_workers(),
    }


def _folders(roots: tuple[Path, ...]) -> list[Path]:
    """List the folders and Parquet files directly in the roots, and the roots themselves."""
    found: list[Path] = []
    for root in roots:
        try:
            entries = sorted(root.iterdir())[:MAX_FOLDERS] if root.is_dir() else []
        except OSError:
            continue
        inside = [path for path in entries if path.resolve().is_relative_to(root)]
        found += [root, *(path for path in inside if path.is_dir() or path.suffix == ".parquet")]
    return found


def _holds_images(path: Path) -> bool:
    """Whether a folder looks like data: Parquet files, or a folder of training images."""
    if path.is_file():
        return path.suffix == ".parquet"
    try:
        names = [entry.name for entry in path.iterdir()]
    except OSError:
        return False
    return any(name.endswith(".parquet") for name in names) or any(split in names for split in _IMAGE_SPLITS)
