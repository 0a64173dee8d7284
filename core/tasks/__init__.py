"""Kinds of task: what differs between a class for each image and a class for each pixel."""
