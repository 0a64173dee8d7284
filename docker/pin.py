"""Print the pins of the images: what this environment holds of all that the program can need.

.venv/bin/python docker/pin.py > docker/constraints.txt
"""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("serve", "postgres", "ssh", "plot")
# Too large for an environment without a GPU; the bindings that the tests read are of the same release.
SAME_RELEASE = {"tensorrt": "tensorrt-cu13-bindings"}


def main() -> None:
    """Walk the requirements from the project down."""
    pins: dict[str, str] = {}
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    pending = [Requirement(line) for line in (*project["dependencies"], *(n for e in EXTRAS for n in extras[e]))]
    while pending:
        wanted = pending.pop()
        key = canonicalize_name(wanted.name)
        try:
            found = distribution(key)
        except PackageNotFoundError:
            continue  # for another platform
        is_new = key not in pins
        pins[key] = found.version
        for line in found.requires or []:
            needed = Requirement(line)
            names = wanted.extras or {""}
            applies = needed.marker is None or any(needed.marker.evaluate({"extra": name}) for name in names)
            if applies and (is_new or wanted.extras):
                pending.append(needed)
    pins |= {name: distribution(source).version for name, source in SAME_RELEASE.items()}
    sys.stdout.write("# Versions that the tests passed with; made by docker/pin.py.\n")
    sys.stdout.writelines(f"{name}=={version}\n" for name, version in sorted(pins.items()))


if __name__ == "__main__":
    main()
