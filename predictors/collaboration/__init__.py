"""Latency of several devices that answer one image together, from each one's own and the network's figures."""
