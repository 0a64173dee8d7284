#!/usr/bin/env bash
# Pillow 13 scales some tall pictures height first; Pillow before it always scaled width first.
#
# One would guess: Image.resize with an antialiasing filter gives the same bytes in every version: two
#   passes of 8-bit results, width first, as it was for years. So what a model was scored on is what it
#   sees on a board with an older Pillow.
# What happens: for a picture of 57 x 91 pixels scaled to 24 x 24, Pillow 13.0.0 does the height first,
#   and the result between the passes is rounded to 8 bits elsewhere: with each of the five filters some
#   values are one or two levels of 255 apart. Wide and square pictures are the same bytes. In the sizes tried the order
#   turned where out_width * (in_height + out_height) > 2 * in_width * out_height.
# Versions: Pillow 13.0.0, 12.3.0 and 11.3.0, numpy 2.4.6, CPython 3.11, Linux x86-64.
# Source: seen by comparing one call with the same two passes done as two calls.
# Output seen:
#   Pillow 13.0.0
#   (57, 91) BOX: height first, at most 1 from width first
#   (57, 91) BILINEAR: height first, at most 1 from width first
#   (57, 91) HAMMING: height first, at most 1 from width first
#   (57, 91) BICUBIC: height first, at most 1 from width first
#   (57, 91) LANCZOS: height first, at most 2 from width first
#   (91, 57) BOX: width first, at most 0 from width first
#   (91, 57) BILINEAR: width first, at most 0 from width first
#   (91, 57) HAMMING: width first, at most 0 from width first
#   (91, 57) BICUBIC: width first, at most 0 from width first
#   (91, 57) LANCZOS: width first, at most 0 from width first
#   (64, 64) BOX: width first, at most 0 from width first
#   (64, 64) BILINEAR: width first, at most 0 from width first
#   (64, 64) HAMMING: width first, at most 0 from width first
#   (64, 64) BICUBIC: width first, at most 0 from width first
#   (64, 64) LANCZOS: width first, at most 0 from width first
#   Pillow 12.3.0
#   (57, 91) BOX: width first, at most 0 from width first
#   (57, 91) BILINEAR: width first, at most 0 from width first
#   (57, 91) HAMMING: width first, at most 0 from width first
#   (57, 91) BICUBIC: width first, at most 0 from width first
#   (57, 91) LANCZOS: width first, at most 0 from width first
#   (91, 57) BOX: width first, at most 0 from width first
#   (91, 57) BILINEAR: width first, at most 0 from width first
#   (91, 57) HAMMING: width first, at most 0 from width first
#   (91, 57) BICUBIC: width first, at most 0 from width first
#   (91, 57) LANCZOS: width first, at most 0 from width first
#   (64, 64) BOX: width first, at most 0 from width first
#   (64, 64) BILINEAR: width first, at most 0 from width first
#   (64, 64) HAMMING: width first, at most 0 from width first
#   (64, 64) BICUBIC: width first, at most 0 from width first
#   (64, 64) LANCZOS: width first, at most 0 from width first
#   Pillow 11.3.0
#   … as 12.3.0
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat > order.py <<'PY'
import sys

import numpy as np
import PIL
from PIL import Image

FILTERS = ("BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")
rng = np.random.default_rng(0)
print("Pillow", PIL.__version__)
found = {}
for size in ((57, 91), (91, 57), (64, 64)):
    picture = Image.fromarray(rng.integers(0, 256, (size[1], size[0]), dtype=np.uint8))
    for name in FILTERS:
        kind = getattr(Image, name)
        once = np.asarray(picture.resize((24, 24), kind), dtype=int)
        width_first = np.asarray(picture.resize((24, size[1]), kind).resize((24, 24), kind), dtype=int)
        height_first = np.asarray(picture.resize((size[0], 24), kind).resize((24, 24), kind), dtype=int)
        order = "width first" if (once == width_first).all() else "height first" if (once == height_first).all() else "?"
        found[size, name] = order
        print(f"{size} {name}: {order}, at most {abs(once - width_first).max()} from width first")
is_new = int(PIL.__version__.split(".")[0]) >= 13
wanted = {key: "height first" if is_new and key[0] == (57, 91) else "width first" for key in found}
if found != wanted:
    sys.exit("No longer so: the order of the passes is another.")
PY

for version in 13.0.0 12.3.0 11.3.0; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install -qq --disable-pip-version-check "pillow==$version" numpy==2.4.6
    "venv-$version/bin/python" order.py
done
