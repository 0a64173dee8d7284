"""A head for pixels that is fitted anew before a cut net is trained."""

from pathlib import Path

import pytest
import torch

from nuwa_search.core.base import load_base
from nuwa_search.core.dataset import load_dataset
from nuwa_search.core.task import make_task
from nuwa_search.core.tasks.patch_head import dense_model
from nuwa_search.core.tensors import TaskTensors, task_tensors
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.train.config import FinetuneConfig
from nuwa_search.deploy.train.finetune import finetune
from nuwa_search.deploy.train.recipe import NO_AUGMENT
from nuwa_search.deploy.train.refit_head import with_refitted_head
from nuwa_search.deploy.train.score import score_split
from tests.support.toy_base import write_toy_base
from tests.support.toy_masks import CLASSES, write_masks


@pytest.fixture(scope="module")
def student_and_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[PlainViT, TaskTensors]:
    folder: Path = tmp_path_factory.mktemp("refit")
    images = write_masks(folder / "masks", num_train=12, num_test=3)
    base = load_base(str(write_toy_base(folder / "base"))).for_task("segmentation")
    data = task_tensors(make_task(load_dataset(images).splits, data="toy", base_labels=()), base.preprocess)
    return dense_model(base.model, len(CLASSES)), data


def test_a_better_head_is_where_training_starts_and_nothing_else_changes(
    student_and_data: tuple[PlainViT, TaskTensors],
) -> None:
    student, data = student_and_data  # whose head is of zeros
    config = FinetuneConfig(
        steps=1, batch_size=4, lr=1e-12, weight_decay=0, ema_decay=0, augment=NO_AUGMENT, refit_head=True
    )
    result = finetune(student, data, teacher=None, config=config)
    assert result.is_changed
    assert result.before == score_split(student, data.search, data.preprocess, metric="miou")
    assert result.after.beats(result.before)
    for name, values in student.state_dict().items():
        if not name.startswith("head."):
            torch.testing.assert_close(result.student.state_dict()[name], values)
    assert not student.head.weight.any(), "the given one is left alone"


def test_a_head_that_is_as_good_is_kept(student_and_data: tuple[PlainViT, TaskTensors]) -> None:
    student, data = student_and_data
    found, before = with_refitted_head(student, data)
    assert found is not student
    again, score = with_refitted_head(found, data)
    assert again is found, "fitted to the same tokens it is the same head"
    assert score.beats(before)
