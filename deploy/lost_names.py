"""Where a bundle keeps the test images that its cut lost."""

LOST = "lost_images"
LIST = "lost.json"
