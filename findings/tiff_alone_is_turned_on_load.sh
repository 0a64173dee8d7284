#!/usr/bin/env bash
# Pillow turns a TIFF by its orientation tag while loading; JPEG, PNG and WebP stay as they are.
#
# One would guess: Image.open gives stored pixels, whatever the format, and ImageOps.exif_transpose is
#   what turns them; so a training set kept as JPEG and the same set kept as TIFF give the same arrays
#   to a pipeline that does not call exif_transpose.
# What happens: for orientation 6 the TIFF comes turned by a quarter, its size is the turned one from
#   the open on, and the tag is gone after load(). The other three formats are not turned and keep the
#   tag. A pipeline without exif_transpose therefore sees one picture in two ways. In Pillow 9.3.0 size
#   told the unturned shape until load() and the tag stayed after it (changed in 10.1).
# Versions: Pillow 13.0.0 and 9.3.0, numpy 2.4.6, CPython 3.11, Linux x86-64.
# Source: TiffImagePlugin.py of Pillow (load_end, _setup); https://github.com/python-pillow/Pillow/pull/4063
#   and https://github.com/python-pillow/Pillow/pull/7383.
# Output seen:
#   Pillow 13.0.0
#   JPEG: size (40, 20) at open, (40, 20) loaded, white left, tag 6
#   PNG: size (40, 20) at open, (40, 20) loaded, white left, tag 6
#   WEBP: size (40, 20) at open, (40, 20) loaded, white left, tag 6
#   TIFF: size (20, 40) at open, (20, 40) loaded, white top, tag None
#   Pillow 9.3.0
#   JPEG: size (40, 20) at open, (40, 20) loaded, white left, tag 6
#   PNG: size (40, 20) at open, (40, 20) loaded, white left, tag 6
#   WEBP: size (40, 20) at open, (40, 20) loaded, white left, tag 6
#   TIFF: size (40, 20) at open, (20, 40) loaded, white top, tag 6
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat > turned.py <<'PY'
import io
import sys

import numpy as np
import PIL
from PIL import Image

ORIENTATION = 274
picture = Image.new("RGB", (40, 20), "black")
picture.paste("white", (0, 0, 20, 20))  # the left half is white

print("Pillow", PIL.__version__)
upright = {}
for name in ("JPEG", "PNG", "WEBP", "TIFF"):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    stored = io.BytesIO()
    picture.save(stored, name, exif=exif)
    stored.seek(0)
    image = Image.open(stored)
    opened = image.size
    image.load()
    pixels = np.asarray(image.convert("L"))
    white = "left" if pixels[:, :5].mean() > 250 else "top" if pixels[:5].mean() > 250 else "elsewhere"
    print(f"{name}: size {opened} at open, {image.size} loaded, white {white}, tag {image.getexif().get(ORIENTATION)}")
    upright[name] = image.size == (20, 40) and white == "top"
if upright != {"JPEG": False, "PNG": False, "WEBP": False, "TIFF": True}:
    sys.exit("No longer so: TIFF is not the only format that is turned on load.")
PY

for version in 13.0.0 9.3.0; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install -qq --disable-pip-version-check "pillow==$version" numpy==2.4.6
    "venv-$version/bin/python" turned.py
done
