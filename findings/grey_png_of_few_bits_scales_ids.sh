#!/usr/bin/env bash
# Masks as grey PNG of two bits: readers of images hand out 0, 85, 170, 255 where the file says 0, 1, 2, 3.
#
# One would guess: a mask whose samples are class ids 0 to 3 is read as these ids, in two bits as in eight; a palette PNG
#   of two bits is. So the smallest PNG that holds four classes is as good as any.
# What happens: a grey sample is a share of full white, so Pillow and OpenCV (IMREAD_UNCHANGED too) scale two bits by 85
#   and four by 17, and nothing they tell says so: mode and dtype are those of an 8-bit mask. With four classes the last one
#   becomes 255, which segmentation code ignores by convention: it is neither trained nor scored, without a word. pypng
#   hands out samples as they are stored. A palette keeps its ids in Pillow; OpenCV gives its colours instead.
# Versions: Pillow 13.0.0, opencv-python-headless 5.0.0.93, pypng 0.20220715.0, numpy 2.4.6, CPython 3.11, Linux x86-64.
# Source: https://www.w3.org/TR/png-3/#13Sample-depth-rescaling; PngImagePlugin.py of Pillow (_MODES: "L;2", "L;4").
# Output seen:
#   grey, 2 bits: stored [0, 1, 2, 3] pypng [0, 1, 2, 3] Pillow L [0, 85, 170, 255] OpenCV [0, 85, 170, 255]
#   grey, 4 bits: stored [0, 1, 2, 3] pypng [0, 1, 2, 3] Pillow L [0, 17, 34, 51] OpenCV [0, 17, 34, 51]
#   grey, 8 bits: stored [0, 1, 2, 3] pypng [0, 1, 2, 3] Pillow L [0, 1, 2, 3] OpenCV [0, 1, 2, 3]
#   palette, 2 bits: stored [0, 1, 2, 3] pypng [0, 1, 2, 3] Pillow P [0, 1, 2, 3] OpenCV of 3 channels
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check \
    pillow==13.0.0 opencv-python-headless==5.0.0.93 pypng==0.20220715.0 numpy==2.4.6
cd "$dir"

cat > ids.py <<'PY'
import sys

import cv2
import numpy as np
import png
from PIL import Image

IDS = [0, 1, 2, 3]
COLOURS = [(0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200)]
seen = {}
for kind, bits in (("grey", 2), ("grey", 4), ("grey", 8), ("palette", 2)):
    how = {"greyscale": True} if kind == "grey" else {"palette": COLOURS}
    with open("mask.png", "wb") as file:
        png.Writer(4, 1, bitdepth=bits, **how).write(file, [IDS])
    stored = list(next(iter(png.Reader("mask.png").read()[2])))
    image = Image.open("mask.png")
    pillow = np.asarray(image)[0].tolist()
    opencv = cv2.imread("mask.png", cv2.IMREAD_UNCHANGED)
    told = f"OpenCV {opencv[0].tolist()}" if opencv.ndim == 2 else f"OpenCV of {opencv.shape[2]} channels"
    print(f"{kind}, {bits} bits: stored {IDS} pypng {stored} Pillow {image.mode} {pillow} {told}")
    seen[kind, bits] = (stored == IDS, pillow == IDS, opencv.ndim == 2 and opencv[0].tolist() == IDS)
wanted = {
    ("grey", 2): (True, False, False),
    ("grey", 4): (True, False, False),
    ("grey", 8): (True, True, True),
    ("palette", 2): (True, True, False),
}
if seen != wanted:
    sys.exit("No longer so: readers agree otherwise on what a mask of few bits holds.")
PY
"$dir/venv/bin/python" ids.py
