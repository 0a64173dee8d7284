"""Versions of what happens to images before a network sees them: part of what a task and a subnet are."""

FIRST_PIPELINE = 1
PIPELINE_VERSION = 2
"""Version of ``nuwa_search.core.images``: raise it when the same file becomes other pixels than before.

1 is what commit 494cfc3 did; it stays out of every hash, so that what was scored by it keeps its ids. From 2 on it
is hashed, and what an earlier one scored is marked, and competes on no front with what this one scores. 2 turns
pictures upright as EXIF tells, takes the high byte of 16-bit grey instead of white, knows timm's three crop modes, and
scales to ``floor(img_size / crop_pct)`` as timm does.
"""

FIRST_SPLIT_RULE = 1
WHOLE_DATA_SPLIT_RULE = 3
SPLIT_RULE = 3
"""Version of how ``nuwa_search.core.task.make_task`` divides images: raise it when the same images fall into other
splits than before.

It is no part of ids, which see the images of each split, but is stored with a task: whoever opens a stored task again
hands its rule to ``make_task``, which goes on doing what that version did. 1 is what commit 494cfc3 did, by chance and
``--seed``; 2 divides by image hashes, and keeps copies of one image in one split. 3 divides
images with masks evenly over all classes of the data set, whichever are chosen, so that searches of different classes
hold out the same images; 2 went by the chosen ones. Images with classes are divided by 3 as by 2.
"""
