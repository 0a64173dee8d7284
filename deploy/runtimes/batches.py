"""Run any number of images through a session whose batch is fixed."""

import numpy as np

from nuwa_search.core.counting import counted
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.runtime import FloatArray, Images, Session


def run_batches(session: Session, images: Images) -> FloatArray:
    """Run network input (N, in_chans, H, W) in batches of the session: (N, num_classes).

    The last batch is filled up with copies of its first image, whose logits are dropped.

    Raises:
        NuwaError: If there are no images, or they do not fit the session.
    """
    if len(images) == 0:
        raise NuwaError("there are no images to run")
    batch = session.input_shape[0]
    out = []
    starts = range(0, len(images), batch)
    for start in counted("images through the graph", starts, sizes=lambda start: min(batch, len(images) - start)):
        part = images[start : start + batch]
        filled = np.concatenate([part, np.repeat(part[:1], batch - len(part), axis=0)])
        out.append(session.run(np.ascontiguousarray(filled))[: len(part)])
    return np.concatenate(out)
