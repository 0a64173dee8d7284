"""Collaborative inference: one image, several boards with a small model each, one coordinator that fuses."""
