"""Bundles of one model for several devices: the first device's, and inside it a whole one for each further device.

Each device has the graph that was measured there, in the opset and precision that its runtime takes, and its own
certificate; a folder is all that is to be copied to its board.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.bundle import DEVICES, is_bundle, read_bundle


def device_folder(folder: Path, device: str) -> Path:
    """Name the folder of a further device's bundle inside the first's."""
    return folder / DEVICES / (re.sub(r"[^A-Za-z0-9._-]", "-", device).lstrip(".") or "device")


def further_bundles(folder: Path) -> Iterator[Path]:
    """List the bundles of further devices inside a bundle."""
    inside = folder / DEVICES
    for path in sorted(inside.iterdir()) if inside.is_dir() else ():
        if is_bundle(path):
            yield path


def bundle_for(folder: Path, device: str | None) -> Path:
    """Find the bundle of a device: a further device's inside ``folder`` where it has one, else ``folder`` itself.

    Args:
        folder: A bundle; returned as it is where it holds none of the device.
        device: Name of the device; None for the first.
    """
    if device is None:
        return folder
    inside = device_folder(folder, device)
    if not is_bundle(inside):
        return folder
    try:
        certificate = read_bundle(folder).certificate
    except NuwaError:  # told by who reads it; the further device's is whole in itself
        return inside
    return folder if certificate is not None and certificate.device.name == device else inside
