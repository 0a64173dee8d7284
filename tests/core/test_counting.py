"""Loops over images and versions tell how far they are, wherever they stand."""

import shutil
from pathlib import Path

import numpy as np
import torch

from nuwa_search.core.base import load_base
from nuwa_search.core.counting import count, counted, counts_to
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.logits import EVAL_BATCH, logits_of
from nuwa_search.core.tensors import SplitTensors, split_tensors
from nuwa_search.deploy.export.from_vit import onnx_from_vit
from nuwa_search.deploy.export.graph import GraphOptions
from nuwa_search.deploy.verify import verify_fp16
from nuwa_search.store.store import open_store
from tests.support.toy_base import write_toy_base
from tests.support.toy_images import write_colours

Told = list[tuple[str, int, int | None]]


def test_counts_go_to_the_nearest_listener() -> None:
    outer: Told = []
    inner: Told = []
    with counts_to(lambda *told: outer.append(told)):
        for batch in counted("images", ["ab", "c"], sizes=len):
            with counts_to(lambda *told: inner.append(told)):
                count(f"batch {batch}", 1, None)
        with counts_to(None):
            count("nobody hears", 1, 1)
    count("nobody hears", 1, 1)
    assert outer == [("images", 2, 3), ("images", 3, 3)]
    assert inner == [("batch ab", 1, None), ("batch c", 1, None)]


def test_every_loop_over_images_counts_them(tmp_path: Path) -> None:
    base = load_base(str(write_toy_base(tmp_path / "base")))
    data = load_dataset(write_colours(tmp_path / "images", ("red", "blue")))
    told: Told = []
    with counts_to(lambda *each: told.append(each)):
        split = split_tensors(data.splits["test"], base.preprocess)
        assert told == [("reading images", k + 1, len(split)) for k in range(len(split))]
        many = SplitTensors(split.images[:1].repeat(EVAL_BATCH + 2, 1, 1, 1), torch.arange(EVAL_BATCH + 2) % 2)
        told.clear()
        logits_of(base.model, many.images, base.preprocess)
        assert told == [("images through the network", n, EVAL_BATCH + 2) for n in (EVAL_BATCH, EVAL_BATCH + 2)]
        told.clear()
        graph = onnx_from_vit(base.model, GraphOptions(opset=13, batch=2))
        verify_fp16(base.model, graph, split.images[:3], base.preprocess)
        assert [each for each in told if "graph" in each[0]] == [(told[-1][0], 2, 3), (told[-1][0], 3, 3)]


def test_an_upgrade_of_an_old_database_counts_its_versions(root: Path, tmp_path: Path) -> None:
    old = sorted((root / "tests" / "data").glob("store_v1*"))[0]
    shutil.copy(old, tmp_path / "a.sqlite")
    told: Told = []
    with counts_to(lambda *each: told.append(each)), open_store(str(tmp_path / "a.sqlite")):
        pass
    done = [number for label, number, _ in told if label == "schema versions"]
    assert len(done) > 1
    assert done == list(np.arange(done[0], done[0] + len(done)))
    assert told[-1][1] == told[-1][2]
