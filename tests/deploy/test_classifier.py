"""A bundle's classifier.py answers for NumPy frames what the product answers for the same pictures."""

import io

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from nuwa_search.core.images import ImageSet, pixels
from nuwa_search.core.logits import normalise
from nuwa_search.deploy.assets.classifier import Classifier
from nuwa_search.deploy.bundle import Bundle
from nuwa_search.deploy.write_bundle import write_bundle
from tests.core.test_images import SIZES, picture
from tests.deploy.bundle_parts import LABELS, PREPROCESS, make_parts

Frame = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of batches of two, so that the last one of an odd number of frames is not full."""
    return write_bundle(tmp_path_factory.mktemp("classifier") / "b", make_parts(batch=2))


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return [np.asarray(picture(*size, seed=k)) for k, size in enumerate((*SIZES, (3, 600)))]


def product_scores(bundle: Bundle, frames: list[Frame]) -> npt.NDArray[np.float32]:
    """Probabilities (N, num_classes) of the weights in PyTorch, through the pipeline that scores candidates."""
    encoded = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    images = ImageSet(encoded, np.zeros(len(frames), dtype=np.int64), LABELS, "test")
    with torch.inference_mode():
        logits = bundle.load_model()(normalise(torch.from_numpy(pixels(images, PREPROCESS)), PREPROCESS))
    return np.asarray(torch.softmax(logits, dim=1))


def test_frames_of_any_size_give_the_products_answers(bundle: Bundle, frames: list[Frame]) -> None:
    expected = product_scores(bundle, frames)
    model = Classifier(bundle.dir)
    found = model.predict(frames)
    assert model.labels == list(LABELS)
    # the pixels are the same bit for bit (test_run_pixels.py); what is left is PyTorch against ONNX Runtime in FP32
    np.testing.assert_allclose(np.stack([p.scores for p in found]), expected, atol=1e-5)
    assert [p.label for p in found] == [LABELS[int(row.argmax())] for row in expected]
    assert [p.score for p in found] == pytest.approx(expected.max(axis=1).tolist(), abs=1e-5)
    assert {p.is_none for p in found} == {None}  # no threshold was calibrated


def test_one_frame_a_batch_and_bgr_are_the_same(bundle: Bundle, frames: list[Frame]) -> None:
    model = Classifier(str(bundle.dir))
    (one,) = model.predict(frames[0])
    both = model.predict(np.stack([frames[0], frames[0]]))
    (turned,) = model.predict([frames[0][:, :, ::-1]], channels="BGR")
    for other in (*both, turned):
        np.testing.assert_array_equal(other.scores, one.scores)
    assert model.predict([]) == []


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (np.zeros((4, 4), dtype=np.uint8), r"found \(4, 4\) of uint8"),
        (np.zeros((4, 4, 4), dtype=np.uint8), r"found \(4, 4, 4\) of uint8"),
        (np.zeros((4, 4, 3), dtype=np.float32), r"\(4, 4, 3\) of float32"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"\(0, 4, 3\) of uint8"),
        ("photo.jpg", "found str"),
    ],
)
def test_what_is_no_frame_is_refused(bundle: Bundle, frame: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Classifier(bundle.dir).predict([frame])


def test_a_channel_order_that_is_not_known_is_refused(bundle: Bundle, frames: list[Frame]) -> None:
    with pytest.raises(ValueError, match="channels GBR are not known; known are RGB and BGR"):
        Classifier(bundle.dir).predict(frames[0], channels="GBR")


def test_below_the_calibrated_threshold_a_frame_is_none_of_the_labels(bundle: Bundle, frames: list[Frame]) -> None:
    model = Classifier(bundle.dir)
    (found,) = model.predict(frames[0])
    for threshold, is_none in ((found.score * 0.99, False), (found.score * 1.01, True)):
        model.none_below = threshold
        assert model.predict(frames[0])[0].is_none is is_none
