"""TensorRT versions as values, and what changed between them for a `trtexec` user."""

import re
from dataclasses import dataclass
from functools import total_ordering

from nuwa_search.core.errors import NuwaError

KNOWN_RANGE = "8.0 to 11"
_FIRST = (8, 0)
_LAST_MAJOR = 11

# First line of docs/operators.md of onnx-tensorrt at each release, newest first. NVIDIA's opset guide
# names 25 for the latest 11.x; the list of operators says 24, and the smaller is kept.
_OPSETS = (((10, 15), 24), ((10, 0), 20), ((9, 0), 19), ((8, 5), 17), ((8, 0), 13))

_PARTS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:[.+-].*)?$")


@total_ordering
@dataclass(frozen=True)
class TrtVersion:
    """A TensorRT version; compares like ``(major, minor, patch)``."""

    major: int
    minor: int
    patch: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    def __lt__(self, other: "TrtVersion") -> bool:
        return (self.major, self.minor, self.patch) < (other.major, other.minor, other.patch)

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor: engines, reports and operator lists change with these."""
        return self.major, self.minor


@dataclass(frozen=True)
class TrtFeatures:
    """What one release of `trtexec` and its ONNX parser takes.

    Sources: the option help and parser notes shipped with releases 8.0, 8.2, 8.4, 8.5 and 10.6 of
    NVIDIA/TensorRT and onnx-tensorrt, and NVIDIA's migration guides 8.x to 10.x and 10.x to 11.x.

    Args:
        opset: Newest ONNX opset on the parser's published list.
        has_mem_pool_size: ``--memPoolSize=workspace:N`` instead of ``--workspace=N`` (8.4 on).
        has_skip_inference: ``--skipInference`` instead of ``--buildOnly`` (8.6 on).
        has_precision_flags: ``--fp16`` and ``--int8``; 11 takes precision from the ONNX types alone.
        is_lean_by_default: Transfers left out, CUDA graph and spin-wait on unless told otherwise (11).
    """

    opset: int
    has_mem_pool_size: bool
    has_skip_inference: bool
    has_precision_flags: bool
    is_lean_by_default: bool


def trt_version_from_text(text: str) -> TrtVersion:
    """Read a version from ``8.2.1``, a package version ``8.2.1-1+cuda10.2``, or ``8201`` / ``100300``.

    The packed forms are what `trtexec` prints in its header: major·1000 + minor·100 + patch before
    TensorRT 10, major·10000 + minor·100 + patch from then on.

    Raises:
        NuwaError: If the text is no version, or outside the known range.
    """
    cleaned = text.strip().removeprefix("v")
    if cleaned.isdigit() and len(cleaned) >= 4:
        number = int(cleaned)
        scale = 1000 if number < 10_000 else 10_000
        version = TrtVersion(number // scale, number % scale // 100, number % 100)
    elif match := _PARTS.match(cleaned):
        version = TrtVersion(int(match[1]), int(match[2]), int(match[3] or 0))
    elif cleaned.isdigit():
        version = TrtVersion(int(cleaned), 0)
    else:
        raise NuwaError(f"not a TensorRT version: {text!r}", hint="write it like 8.2.1")
    if version.release < _FIRST or version.major > _LAST_MAJOR:
        raise NuwaError(
            f"TensorRT {version} is outside the known range {KNOWN_RANGE}",
            hint=f"give a runtime version between {KNOWN_RANGE}; see docs/boards.md for how a version is added",
        )
    return version


def trt_features(version: TrtVersion) -> TrtFeatures:
    """Return what ``version`` takes."""
    release = version.release
    opset = next(newest for since, newest in _OPSETS if release >= since)
    return TrtFeatures(
        opset=opset,
        has_mem_pool_size=release >= (8, 4),
        has_skip_inference=release >= (8, 6),
        has_precision_flags=version.major < 11,
        is_lean_by_default=version.major >= 11,
    )
