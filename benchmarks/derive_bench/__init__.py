"""Derivation against other ways of cutting; run through `benchmarks/derive.py`."""
