"""Benchmarks: scripts whose committed tables stand in `results`, and the stand-ins that they run against."""
