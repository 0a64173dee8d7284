"""Collaborative inference: one base over several devices, each with a sub-model for a group of the classes."""
