"""The programs of a bundle, loaded as modules."""

import importlib.util
from pathlib import Path
from types import ModuleType


def program_at(path: Path) -> ModuleType:
    """Load ``run.py`` or ``run_engine.py`` of a bundle."""
    spec = importlib.util.spec_from_file_location(f"program_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
