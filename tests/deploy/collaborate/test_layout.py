"""A collaboration's folder is read as it was written, and refused by name where anything in it is not."""

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.collaborate.fusion import Fusion
from nuwa_search.deploy.collaborate.layout import (
    Collaboration,
    collaboration_from_json,
    collaboration_to_json,
    read_collaboration,
    write_collaboration,
)
from nuwa_search.deploy.collaborate.network import (
    Link,
    Network,
    assumed_network,
    message_bytes,
    network_from_json,
    network_to_json,
    read_network,
    ways_ms,
    with_local,
)
from nuwa_search.deploy.collaborate.npz import read_npz, write_npz
from tests.support.toy_collaboration import BOARDS, fitted_fusion, toy_images, toy_vectors, write_toy_collaboration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_toy_collaboration(tmp_path / "toy")
    return tmp_path / "toy"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = write_toy_collaboration(tmp_path / "toy")
    read, fusion = read_collaboration(tmp_path / "toy")
    assert read == written
    assert read.boards == BOARDS
    assert read.parts_on("nano-2") == (1,)
    assert read.image_bytes == 8 * 10 * 3
    assert all(np.array_equal(a, b) for a, b in zip(fusion.weights, fitted_fusion().weights, strict=True))


def test_a_single_sub_model_with_an_identity_map_is_that_model() -> None:
    """The check of DeViT's ensemble: N = 1 changes nothing."""
    rng = np.random.default_rng(0)
    vector = np.asarray(rng.normal(size=(5, 3)), np.float32)
    identity = np.concatenate([np.eye(3), np.zeros((1, 3))]).astype(np.float32)
    nothing = np.zeros(3, np.float32)
    fusion = Fusion((identity,), (nothing,), (np.eye(3, dtype=np.float32),), (nothing,))
    assert np.array_equal(fusion.fuse_all([vector]), vector)
    assert np.array_equal(fusion.fuse(list(vector[:1])), vector[0])
    assert np.array_equal(fusion.alone(0, vector), vector)


def test_a_missing_vector_is_zeros_and_is_told_to_the_head() -> None:
    fusion, vectors = fitted_fusion(), toy_vectors(toy_images(6)[0])
    present = np.array([[True, False, True, True]] * 6)
    some = fusion.fuse_all(vectors, present=present)
    assert np.allclose(some, fusion.fuse_all([vectors[0], None, *vectors[2:]]), atol=1e-5)
    told = np.concatenate([vectors[0], 0 * vectors[1], *vectors[2:], present], axis=1).astype(np.float32)
    by_hand = np.maximum(told @ fusion.weights[0] + fusion.biases[0], 0) @ fusion.weights[1] + fusion.biases[1]
    assert np.allclose(some, by_hand, atol=1e-4)
    assert np.isfinite(fusion.fuse([None] * 4)).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v.update(schema="nuwa.collaboration/9"), "wanted nuwa.collaboration/1"),
        (lambda v: v["parts"][0].update(classes=[0]), "class 1 belongs to no sub-model"),
        (lambda v: v["parts"][0].update(classes=[0, 1, 2]), "belongs to two sub-models"),
        (lambda v: v["parts"][0].update(model="../model.onnx"), "the name of a file inside the folder"),
        (lambda v: v["parts"][0].update(board="a\nExecStart=x"), "letters, digits"),
        (lambda v: v["parts"][0].update(vector_dim=10**9), "vector_dim"),
        (lambda v: v["parts"][0].update(model_sha256="x"), "64 hex digits"),
        (lambda v: v["parts"][0].update(board="nano-9"), "know no board 'nano-9'"),
        (lambda v: v["parts"][1].update(name="part-0"), "twice"),
        (lambda v: v["modes"][2].update(first=7), "first of route"),
        (lambda v: v["modes"][0].update(needed=1), "any, and no other mode"),
        (lambda v: v["modes"][0].update(steps=[{"share": 1, "rounds": [[0]]}]), "only route has them"),
        (lambda v: v["modes"][2].update(steps=[{"share": 0.5, "rounds": [[0]]}]), "sum to 1"),
        (lambda v: v["modes"][2].update(steps=[{"share": 1, "rounds": [[]]}]), "asks nobody"),
        (lambda v: v["modes"][2].update(steps=[{"share": 1, "rounds": [[7]]}]), "sub-model of a routed image"),
        (lambda v: v["modes"][0].update(predicted_p95_ms=0.1), "predicted_p95_ms"),
        (lambda v: v["network"].update(all_up_mbit=0), "all_up_mbit"),
        (lambda v: v["preprocess"].update(img_size=10**6), "img_size"),
        (lambda v: v.update(grid=[2, 2]), "part-0 answers with 6 numbers, wanted 8 for each of 4 patches"),
        (lambda v: v["parts"][0].update(miou=0.5), "classes of images, and a miou beside them"),
        (lambda v: v["modes"][0].update(miou=0.5), "classes of images, and a miou beside them"),
        (
            lambda v: v.update(grid=[2, 2]) or v["parts"][0].update(top1=0.5),
            "of pixels, and a top1 beside them",
        ),
        (lambda v: v.update(shared_classes=[0]), "class 0 is shared by all sub-models, and part-0 names it"),
        (lambda v: v.update(surplus=1), "unknown field 'surplus'"),
        (lambda v: v.pop("network"), "lacks 'network'"),
    ],
)
def test_what_is_not_as_it_should_be_is_named(folder: Path, change: Any, said: str) -> None:
    path = folder / "collaboration.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(NuwaError, match=said):
        read_collaboration(folder)


def test_label_maps_tell_255_classes_apart(folder: Path) -> None:
    whole, _ = read_collaboration(folder)
    modes = (dataclasses.replace(whole.modes[0], top1=None, top1_interval=None),)

    def of_pixels(count: int) -> Collaboration:
        part = dataclasses.replace(whole.parts[0], classes=tuple(range(count)), vector_dim=count, top1=None)
        names = tuple(map(str, range(count)))
        return dataclasses.replace(whole, labels=names, parts=(part,), modes=modes, grid=(1, 1), rival=None)

    assert len(of_pixels(255).labels) == 255
    with pytest.raises(NuwaError, match="256 classes of pixels, and label maps of 8 bits tell 255 apart"):
        of_pixels(256)


def test_another_model_or_fusion_is_refused(folder: Path, tmp_path: Path) -> None:
    model = folder / "boards" / "nano-1" / "model.onnx"
    content = model.read_bytes()
    model.write_bytes(content + b"\0")
    with pytest.raises(NuwaError, match="is not the one that sub-model 'part-0' was made with"):
        read_collaboration(folder)
    model.write_bytes(content)
    collaboration, fusion = read_collaboration(folder)
    other = dataclasses.replace(fusion, own_weights=tuple(w[:-1] for w in fusion.own_weights))
    with pytest.raises(NuwaError, match="other sub-models"):
        write_collaboration(folder, collaboration, other)
    write_npz(folder / "fusion.npz", {"weight_0": fusion.weights[0]})
    with pytest.raises(NuwaError, match="lacks array 'bias_0'"):
        read_collaboration(folder)
    with pytest.raises(NuwaError, match="there is no folder"):
        read_collaboration(tmp_path / "nowhere")


def test_arrays_never_take_more_than_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for array in (np.array([object()]), np.zeros(3), np.full(3, np.nan, np.float32), np.zeros((0,), np.float32)):
        np.savez(path, a=array)
        with pytest.raises(NuwaError):
            read_npz(path, what="fusion")
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**40},), }}\n".encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16))
    with pytest.raises(NuwaError, match="wanted FP32"):
        read_npz(path, what="fusion")
    np.savez_compressed(path, a=np.zeros(10**6, np.float32))
    with pytest.raises(NuwaError, match="compressed"):
        read_npz(path, what="fusion")


def test_figures_of_a_network_are_read_and_priced(tmp_path: Path) -> None:
    links = (Link("a", 2.0, 3.0, down_mbit=8.0, up_mbit=4.0), Link("b", 1.0, 1.0, down_mbit=8.0, up_mbit=8.0))
    network = Network(links, all_down_mbit=8.0, all_up_mbit=8.0, num_pings=100)
    path = tmp_path / "network.json"
    path.write_text(json.dumps(network_to_json(network)))
    assert read_network(path) == network
    image, answer = message_bytes(924), message_bytes(0)
    first, second = ways_ms(network, ("a", "b"), image_bytes=924, vector_bytes=(0, 0))
    assert image == 1000  # one millisecond at 8 Mbit/s
    assert first == pytest.approx(1 + 2 * answer / 1000 + 2)
    assert second == pytest.approx(2 + answer / 1000 + 1), "the coordinator's own link has carried both"
    here = ways_ms(with_local(network, ("a",)), ("a", "b"), image_bytes=924, vector_bytes=(0, 0))
    assert here == pytest.approx([2.0, 1 + answer / 1000 + 1]), "as probed, and nothing over the coordinator's link"
    crowded = dataclasses.replace(network, all_rtt_ms=5.0)
    beyond = 5.0 - 2.0  # the slowest board's own round trip
    together = ways_ms(crowded, ("a", "b"), image_bytes=924, vector_bytes=(0, 0))
    assert together == pytest.approx([first + beyond, second + beyond])
    for one in ("a", "b"):
        alone = ways_ms(network, (one,), image_bytes=924, vector_bytes=(0,))
        assert ways_ms(crowded, (one,), image_bytes=924, vector_bytes=(0,)) == alone
    three = dataclasses.replace(crowded, links=(*links, Link("c", 1.0, 1.0, down_mbit=8.0, up_mbit=8.0)))
    assert three.crowd_ms(("a", "b")) == pytest.approx(beyond / 2)
    assert with_local(crowded, ("a",)).crowd_ms(("a", "b")) == 0.0
    guessed = with_local(assumed_network(("a", "b"), rtt_ms=7.0), ("a",))
    assert [(link.rtt_p50_ms, link.is_local) for link in guessed.links] == [(0.0, True), (7.0, False)]
    assert guessed.local_boards == ("a",)
    changes: list[dict[str, object]] = [
        {"all_down_mbit": True},
        {"links": []},
        {"schema": "x"},
        {"provenance": "guessed"},
        {"all_message_ms": -1},
        {"all_rtt_ms": -1},
    ]
    for change in changes:
        with pytest.raises(NuwaError):
            network_from_json({**network_to_json(network), **change}, where="here")
    assert assumed_network(("a",)).provenance == "assumed"
    old = network_to_json(network) | {
        "links": [{k: v for k, v in vars(one).items() if k not in ("message_ms", "is_local")} for one in links]
    }
    assert (
        network_from_json({k: v for k, v in old.items() if k not in ("all_message_ms", "all_rtt_ms")}, where="here")
        == network
    )


def test_the_document_holds_plain_values(folder: Path) -> None:
    collaboration: Collaboration = read_collaboration(folder)[0]
    values = json.loads(json.dumps(collaboration_to_json(collaboration)))
    assert collaboration_from_json(values, where="it") == collaboration
