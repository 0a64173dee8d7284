"""Latency: devices, emulated boards, the measuring protocol and the latency table."""
