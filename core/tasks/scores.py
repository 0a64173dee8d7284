"""What scores of any kind of task say, so that answers and records need not ask which."""

from nuwa_search.core.class_scores import ClassScores
from nuwa_search.core.tasks.pixel_scores import PixelScores

TaskScores = ClassScores | PixelScores
"""Counts of a net's answers on a split: of images, or of pixels."""
