"""The version of the way from an encoded image to network input: part of what a task and a subnet are."""

PIPELINE_VERSION = 1
"""Version of ``nuwa_search.core.images``: raise it when the same file becomes other pixels than before.

1 is what commit 494cfc3 did; it stays out of every hash, so that what was scored by it keeps its ids. From 2 on it
is hashed, and what an earlier one scored is marked, and competes on no front with what this one scores.
"""
FIRST_PIPELINE = 1
