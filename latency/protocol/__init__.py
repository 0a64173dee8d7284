"""How a latency is taken: bursts, statistics, outliers, drift."""
