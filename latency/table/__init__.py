"""The latency table: block-level units, measured in chains, kept as rows keyed by shape."""
