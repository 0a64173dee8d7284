"""The search benchmark: grid, methods, tables."""
