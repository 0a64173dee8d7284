"""The test images that a cut lost, as files for the bundle: a list, and a small picture of each."""

import json

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet
from nuwa_search.deploy.lost_names import LIST
from nuwa_search.deploy.lost_picture import small_picture
from nuwa_search.search.lost_images import LostImages


def lost_files(lost: LostImages, test: ImageSet) -> tuple[tuple[str, bytes], ...]:
    """Make the list and the pictures; nothing where none is lost.

    Args:
        lost: As found in ``test``.
        test: The test split.
    """
    if not lost.images:
        return ()
    places = {name: place for place, name in reversed(list(enumerate(test.hashes)))}
    pictures, rows = [], []
    for number, image in enumerate(lost.images):
        name: str | None = f"{number:02}.png"
        try:
            pictures.append((f"{number:02}.png", small_picture(test.read(places[image.hash]))))
        except NuwaError:  # it was readable when it was tested: gone since
            name = None
        rows.append({"picture": name, **vars(image)})
    values = {"num_lost": lost.num_lost, "num_won": lost.num_won, "images": rows}
    listed = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    return ((LIST, listed.encode()), *pictures)
