"""Nets for pixels of equal latency, cut in other ways and tuned as long; ``python -m benchmarks.map_rivals``."""
