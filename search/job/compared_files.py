"""Test images with masks beside what the base and the winner answer, as small pictures for the bundle."""

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nuwa_search.core.decode_image import decode_image
from nuwa_search.core.even_choice import in_turn
from nuwa_search.core.logits import logits_of
from nuwa_search.core.tasks.label_maps import label_map
from nuwa_search.core.tasks.masks import IGNORED, LabelMap
from nuwa_search.core.tasks.pixel_scores import PixelScores, PixelTally
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.assets.segmenter import FrameLabels, palette
from nuwa_search.deploy.compared_names import COMPARED_LIST
from nuwa_search.search.job.inputs import Inputs

MAX_COMPARED = 8
"""Pictures: what a person looks through; each takes some 100 kB in a bundle."""
SIDE = 192
"""Pixels of the longer side of each of the four panels."""
GAP = 6
PANELS = ("image", "truth", "base", "winner")


def compared_files(inputs: Inputs, winner: PlainViT, test: SplitTensors) -> tuple[tuple[str, bytes], ...]:
    """Make a list and one picture per image: itself, truth, base and winner side by side, classes laid over.

    Images are of every class in turn, those of the background alone last; none is chosen by its answers.

    Args:
        inputs: Of the search.
        winner: As it is shipped.
        test: The test split as ``winner`` takes it.
    """
    task, truths = inputs.task, test.truths
    if truths is None:
        return ()
    order = in_turn(test.labels)
    places = torch.cat([order[test.labels[order] > 0], order[test.labels[order] == 0]])[:MAX_COMPARED]
    images = test.images[places]
    answers = [logits_of(model, images, inputs.base.preprocess) for model in (inputs.teacher.model, winner)]
    files: list[tuple[str, bytes]] = []
    rows: list[dict[str, object]] = []
    for number, place in enumerate(places.tolist()):
        truth = truths.label_map(place)
        size = (truth.shape[0], truth.shape[1])
        maps = [label_map(logits[number], size).numpy().astype(np.uint8) for logits in answers]
        rgb = decode_image(task.test.read(place)).rgb
        name = f"{number:02}.png"
        files.append((name, _side_by_side(rgb, [truth, *maps])))
        seen = sorted(set(np.unique(truth).tolist()) - {IGNORED})
        base, ours = (_scores(one, truth, task.num_classes) for one in maps)
        rows.append(
            {
                "picture": name,
                "image": str(item) if isinstance(item := task.test.encoded[place], Path) else f"image {place}",
                "classes": [task.class_names[label] for label in seen],
                "miou_base": base.miou,
                "miou": ours.miou,
                "iou_base": {task.class_names[label]: base.iou[label] for label in seen},
                "iou": {task.class_names[label]: ours.iou[label] for label in seen},
            }
        )
    shades = dict(
        zip(task.class_names, map("#{0[0]:02x}{0[1]:02x}{0[2]:02x}".format, palette(task.num_classes)), strict=True)
    )
    listed = json.dumps({"panels": PANELS, "colours": shades, "images": rows}, indent=2, ensure_ascii=False) + "\n"
    return ((COMPARED_LIST, listed.encode()), *files)


def _side_by_side(rgb: Image.Image, maps: list[LabelMap]) -> bytes:
    """Lay the picture, and it under each label map, next to each other: a PNG."""
    plain = np.zeros(maps[0].shape, np.uint8)
    shown = [
        FrameLabels(np.where(one == IGNORED, 0, one).astype(np.uint8), np.zeros(0), rgb).overlay()
        for one in (plain, *maps)
    ]
    for panel in shown:
        panel.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    width, height = shown[0].size
    strip = Image.new("RGB", (len(shown) * (width + GAP) - GAP, height), (255, 255, 255))
    for k, panel in enumerate(shown):
        strip.paste(panel, (k * (width + GAP), 0))
    out = io.BytesIO()
    strip.save(out, "PNG")
    return out.getvalue()


def _scores(answer: LabelMap, truth: LabelMap, num_classes: int) -> PixelScores:
    tally = PixelTally(num_classes)
    tally.add_answer(answer, truth)
    return tally.scores()
