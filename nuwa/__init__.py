"""Shared vocabulary of nuwa-search: arch, base, task, data, device, store, errors.

Nothing here knows latency tables, predictors, search, or the command line.
"""

__version__ = "0.1.0"
