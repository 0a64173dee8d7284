"""Readers of arch files and bundles, and the programs inside a bundle."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from nuwa_search.core.arch import Arch, BlockSpec, dict_from_arch
from nuwa_search.core.documents import json_from_text
from nuwa_search.core.licence import licence_of_card
from nuwa_search.deploy.bundle import read_bundle
from nuwa_search.deploy.certificate import certificate_from_dict
from nuwa_search.deploy.models import arch_from_file
from nuwa_search.deploy.tensorrt.engine_info import read_engine_info
from nuwa_search.deploy.write_bundle import write_bundle
from tests.deploy.bundle_parts import make_parts
from tests.support.bundle_programs import program_at
from tests.support.fuzzing.mutations import mutated_bytes, mutated_json, mutated_onnx, mutated_safetensors, mutated_text
from tests.support.fuzzing.reader import Reader, RefusedError

ARCH = Arch((BlockSpec(2, 8, 8, 32), BlockSpec(0, 0, 0, 16)), embed_dim=16, num_classes=3, img_size=16, patch_size=8)


def bundle_readers(folder: Path) -> list[Reader]:
    """Read arch files, and every file of a bundle."""
    plain, answer, card = folder / "arch.json", folder / "answer.json", folder / "README.md"
    card.write_text("---\nlicense: other\nlicense_name: custom-1.0\ntags:\n- a\n---\n# Card\n")
    plain.write_text(json.dumps(dict_from_arch(ARCH)))
    answer.write_text(json.dumps({"schema": "nuwa.search/1", "subnet": {"arch": dict_from_arch(ARCH)}}))
    bundle = write_bundle(folder / "bundle", make_parts())
    bare = write_bundle(folder / "bare", make_parts())
    (bare.dir / "certificate.json").unlink()
    facts = bare.dir / "facts.json"
    budget = {"device": "d", "ms": 3.0, "statistic": "median"}
    facts.write_text(json.dumps({"base": "b", "top1": 0.5, "budget": budget}))

    def certificate() -> object:
        values = json_from_text((bundle.dir / "certificate.json").read_bytes(), what="certificate")
        return certificate_from_dict(_hashed(values) if isinstance(values, dict) else values)

    return [
        Reader("arch", plain, mutated_json, lambda: arch_from_file(plain)),
        Reader("arch in a search's answer", answer, mutated_json, lambda: arch_from_file(answer)),
        *(
            Reader(f"bundle: {name}", bundle.dir / name, mutated_json, lambda: read_bundle(bundle.dir))
            for name in ("arch.json", "preprocess.json", "certificate.json")
        ),
        Reader("bundle: facts.json", facts, mutated_json, lambda: read_bundle(bare.dir)),
        Reader("bundle: labels.txt", bundle.dir / "labels.txt", mutated_text, lambda: read_bundle(bundle.dir)),
        Reader("bundle: weights", bundle.dir / "model.safetensors", mutated_safetensors, bundle.load_model),
        Reader("certificate, hashed again", bundle.dir / "certificate.json", mutated_json, certificate),
        _engine_reader(folder),
        Reader("model card", card, mutated_text, lambda: licence_of_card(card)),
    ]


def _engine_reader(folder: Path) -> Reader:
    engine = folder / "m.engine"
    engine.write_bytes(b"engine")
    names = ("tensorrt_version", "device_name", "compute_capability", "precision", "onnx_sha256")
    described = {**dict.fromkeys(names, "8.2.1"), "engine_sha256": hashlib.sha256(b"engine").hexdigest()}
    beside = folder / "m.engine.json"
    beside.write_text(json.dumps({"schema": "nuwa.engine/1", **described, "workspace_mb": 512}))
    return Reader("engine description", beside, mutated_json, lambda: read_engine_info(engine))


def _hashed(values: dict[str, Any]) -> dict[str, Any]:
    """Give a certificate the hash of what it holds, so that its values are read at all."""
    rest = {name: value for name, value in values.items() if name != "certificate_hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), default=list)
    return {**rest, "certificate_hash": hashlib.sha256(text.encode()).hexdigest()[:16]}


def program_readers(folder: Path) -> list[Reader]:
    """Run the bundle's run.py on its own files, and read what run_engine.py reads."""
    bundle = write_bundle(folder / "bundle", make_parts()).dir
    run, engine = program_at(bundle / "run.py"), program_at(bundle / "run_engine.py")
    picture = bundle / "samples" / "bus.png"

    def classify() -> None:
        before, sys.argv = sys.argv, ["run.py", str(picture)]
        try:
            code = run.start()
        finally:
            sys.argv = before
        if code != 0:
            raise RefusedError(str(code))

    def input_kind() -> str:
        try:
            return str(engine.read_input_kind(bundle / "certificate.json"))
        except (OSError, ValueError) as error:  # run.py's ``start`` says these
            raise RefusedError(str(error)) from error

    return [
        Reader("run.py: preprocess.json", bundle / "preprocess.json", mutated_json, classify),
        Reader("run.py: labels.txt", bundle / "labels.txt", mutated_text, classify),
        Reader("run.py: certificate.json", bundle / "certificate.json", mutated_json, classify),
        Reader("run.py: model.onnx", bundle / "model.onnx", mutated_onnx, classify),
        Reader("run.py: picture", picture, mutated_bytes, classify),
        Reader("run_engine.py: certificate.json", bundle / "certificate.json", mutated_json, input_kind),
    ]
