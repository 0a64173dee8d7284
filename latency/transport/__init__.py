"""Ways to reach a machine that latencies are measured on."""
