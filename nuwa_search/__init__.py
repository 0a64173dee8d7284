"""Latency-aware neural architecture search that cuts Vision Transformers to a millisecond budget.

All packages are imported from here: ``nuwa_search.search``, ``nuwa_search.latency``. Their folders stand at
the top of the repository; the relative links beside this file join them into one import package, which is
all that an installation adds.
"""

__version__ = "0.1.0"
