"""Derivation against other ways of cutting; run through `python -m benchmarks.derive_bench`."""
