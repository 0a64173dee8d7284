"""Whole jobs wired from the layers below: no terminal, no web."""
