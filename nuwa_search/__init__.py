"""Latency-aware neural architecture search that cuts Vision Transformers to a millisecond budget.

The names of this module are the library; ``docs/library.md`` describes each. They are loaded when they are used:
``import nuwa_search`` imports neither torch nor timm nor pandas.

All packages are imported from here: ``nuwa_search.search``, ``nuwa_search.latency``. Their folders stand at
the top of the repository; the relative links beside this file join them into one import package, which is
all that an installation adds.
"""

# ruff: noqa: A004 - `nuwa_search.open` is meant
from importlib import import_module
from typing import TYPE_CHECKING

from nuwa_search.core.version import __version__

if TYPE_CHECKING:  # the same names for type checkers and editors; a test compares the three lists
    from nuwa_search.core.arch import Arch, BlockSpec
    from nuwa_search.core.base import Base, load_base
    from nuwa_search.core.device import DeviceSpec, Measurement
    from nuwa_search.core.errors import NoAnswerError, NuwaError, NuwaWarning, OutsideError
    from nuwa_search.core.vit import PlainViT
    from nuwa_search.deploy.assets.classifier import FramePrediction
    from nuwa_search.deploy.assets.segmenter import FrameLabels
    from nuwa_search.deploy.build import BuildAnswer
    from nuwa_search.deploy.bundle import Bundle, read_bundle
    from nuwa_search.deploy.evaluate import EvaluateAnswer
    from nuwa_search.deploy.evaluate_on_device import DeviceEvaluateAnswer
    from nuwa_search.deploy.export_bundle import ExportAnswer
    from nuwa_search.deploy.hub.pull import pull_folder as pull
    from nuwa_search.deploy.hub.push import push_folder as push
    from nuwa_search.deploy.train.import_base import import_onnx_base as import_base
    from nuwa_search.lab.collaborate import (
        CollaborateBench,
        CollaborateRun,
        collaborate_bench,
        collaborate_probe,
        collaborate_run,
        collaborate_up,
    )
    from nuwa_search.lab.event import Event
    from nuwa_search.lab.found import Found, NoSubnetError
    from nuwa_search.lab.lab import Lab
    from nuwa_search.lab.loading import LoadedClassifier, LoadedSegmenter, load, load_segmenter
    from nuwa_search.lab.measure import MeasureAnswer
    from nuwa_search.lab.opening import open_lab as open
    from nuwa_search.lab.predict import LatencyPrediction
    from nuwa_search.lab.predict_collaboration import CollaborationPrediction
    from nuwa_search.lab.table import Table
    from nuwa_search.lab.tracking.track import track
    from nuwa_search.lab.train_base import train_base
    from nuwa_search.lab.verify import Verified
    from nuwa_search.predictors.profile_answer import ProfileAnswer
    from nuwa_search.search.collaborate.answer import Decomposed
    from nuwa_search.search.compare import Comparison
    from nuwa_search.search.derive.single import DeriveAnswer
    from nuwa_search.search.hooks import Hooks
    from nuwa_search.search.job.finetune import FinetuneAnswer
    from nuwa_search.search.request import SearchRequest

__all__ = [
    "Arch",
    "Base",
    "BlockSpec",
    "BuildAnswer",
    "Bundle",
    "CollaborateBench",
    "CollaborateRun",
    "CollaborationPrediction",
    "Comparison",
    "Decomposed",
    "DeriveAnswer",
    "DeviceEvaluateAnswer",
    "DeviceSpec",
    "EvaluateAnswer",
    "Event",
    "ExportAnswer",
    "FinetuneAnswer",
    "Found",
    "FrameLabels",
    "FramePrediction",
    "Hooks",
    "Lab",
    "LatencyPrediction",
    "LoadedClassifier",
    "LoadedSegmenter",
    "MeasureAnswer",
    "Measurement",
    "NoAnswerError",
    "NoSubnetError",
    "NuwaError",
    "NuwaWarning",
    "OutsideError",
    "PlainViT",
    "ProfileAnswer",
    "SearchRequest",
    "Table",
    "Verified",
    "__version__",
    "collaborate_bench",
    "collaborate_probe",
    "collaborate_run",
    "collaborate_up",
    "import_base",
    "load",
    "load_base",
    "load_segmenter",
    "open",
    "pull",
    "push",
    "read_bundle",
    "track",
    "train_base",
]

_HOMES = {
    "Arch": ("nuwa_search.core.arch", "Arch"),
    "Base": ("nuwa_search.core.base", "Base"),
    "BlockSpec": ("nuwa_search.core.arch", "BlockSpec"),
    "BuildAnswer": ("nuwa_search.deploy.build", "BuildAnswer"),
    "Bundle": ("nuwa_search.deploy.bundle", "Bundle"),
    "CollaborateBench": ("nuwa_search.lab.collaborate", "CollaborateBench"),
    "CollaborateRun": ("nuwa_search.lab.collaborate", "CollaborateRun"),
    "CollaborationPrediction": ("nuwa_search.lab.predict_collaboration", "CollaborationPrediction"),
    "Decomposed": ("nuwa_search.search.collaborate.answer", "Decomposed"),
    "Comparison": ("nuwa_search.search.compare", "Comparison"),
    "DeriveAnswer": ("nuwa_search.search.derive.single", "DeriveAnswer"),
    "DeviceEvaluateAnswer": ("nuwa_search.deploy.evaluate_on_device", "DeviceEvaluateAnswer"),
    "DeviceSpec": ("nuwa_search.core.device", "DeviceSpec"),
    "EvaluateAnswer": ("nuwa_search.deploy.evaluate", "EvaluateAnswer"),
    "Event": ("nuwa_search.lab.event", "Event"),
    "ExportAnswer": ("nuwa_search.deploy.export_bundle", "ExportAnswer"),
    "FinetuneAnswer": ("nuwa_search.search.job.finetune", "FinetuneAnswer"),
    "Found": ("nuwa_search.lab.found", "Found"),
    "FrameLabels": ("nuwa_search.deploy.assets.segmenter", "FrameLabels"),
    "FramePrediction": ("nuwa_search.deploy.assets.classifier", "FramePrediction"),
    "Hooks": ("nuwa_search.search.hooks", "Hooks"),
    "Lab": ("nuwa_search.lab.lab", "Lab"),
    "LatencyPrediction": ("nuwa_search.lab.predict", "LatencyPrediction"),
    "LoadedSegmenter": ("nuwa_search.lab.loading", "LoadedSegmenter"),
    "LoadedClassifier": ("nuwa_search.lab.loading", "LoadedClassifier"),
    "MeasureAnswer": ("nuwa_search.lab.measure", "MeasureAnswer"),
    "Measurement": ("nuwa_search.core.device", "Measurement"),
    "NoAnswerError": ("nuwa_search.core.errors", "NoAnswerError"),
    "NoSubnetError": ("nuwa_search.lab.found", "NoSubnetError"),
    "NuwaError": ("nuwa_search.core.errors", "NuwaError"),
    "NuwaWarning": ("nuwa_search.core.errors", "NuwaWarning"),
    "OutsideError": ("nuwa_search.core.errors", "OutsideError"),
    "PlainViT": ("nuwa_search.core.vit", "PlainViT"),
    "ProfileAnswer": ("nuwa_search.predictors.profile_answer", "ProfileAnswer"),
    "SearchRequest": ("nuwa_search.search.request", "SearchRequest"),
    "Table": ("nuwa_search.lab.table", "Table"),
    "Verified": ("nuwa_search.lab.verify", "Verified"),
    "collaborate_bench": ("nuwa_search.lab.collaborate", "collaborate_bench"),
    "collaborate_probe": ("nuwa_search.lab.collaborate", "collaborate_probe"),
    "collaborate_run": ("nuwa_search.lab.collaborate", "collaborate_run"),
    "collaborate_up": ("nuwa_search.lab.collaborate", "collaborate_up"),
    "import_base": ("nuwa_search.deploy.train.import_base", "import_onnx_base"),
    "load": ("nuwa_search.lab.loading", "load"),
    "load_segmenter": ("nuwa_search.lab.loading", "load_segmenter"),
    "load_base": ("nuwa_search.core.base", "load_base"),
    "open": ("nuwa_search.lab.opening", "open_lab"),
    "pull": ("nuwa_search.deploy.hub.pull", "pull_folder"),
    "push": ("nuwa_search.deploy.hub.push", "push_folder"),
    "read_bundle": ("nuwa_search.deploy.bundle", "read_bundle"),
    "track": ("nuwa_search.lab.tracking.track", "track"),
    "train_base": ("nuwa_search.lab.train_base", "train_base"),
}
"""Where each name lives, and what it is called there."""


def __getattr__(name: str) -> object:
    """Import a name of the library when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nuwa_search' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value: object = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
