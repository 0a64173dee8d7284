"""Searches of equal CPU seconds against each other, and the surrogate's report card."""
