"""Link the first images of each class of the default images into a folder: python few_images.py FOLDER."""

import sys
from pathlib import Path

from nuwa_search.core.demo_packages import DATA_PACKAGE, pinned_path

NUM_IMAGES = 60
"""Per class."""

for images in sorted(path for path in pinned_path(DATA_PACKAGE).iterdir() if path.is_dir()):
    folder = Path(sys.argv[1]) / images.name
    folder.mkdir(parents=True, exist_ok=True)
    for image in sorted(images.iterdir())[:NUM_IMAGES]:
        (folder / image.name).unlink(missing_ok=True)
        (folder / image.name).symlink_to(image)
