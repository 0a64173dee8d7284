"""How a latency is taken: bursts, statistics, outliers, drift, memory; below all who measure."""
