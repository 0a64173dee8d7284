"""The README of a bundle: what it is, what was proven, and how to run it."""

from collections.abc import Collection

from nuwa_search.core.arch import Arch
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.img_size import both_sides
from nuwa_search.core.licence import UNKNOWN
from nuwa_search.deploy.bundle_facts import NO_FACTS, BundleFacts
from nuwa_search.deploy.certificate import Certificate
from nuwa_search.deploy.missing import missing_from


def readme_text(
    arch: Arch,
    labels: tuple[str, ...],
    certificate: Certificate | None,
    *,
    present: Collection[str],
    facts: BundleFacts = NO_FACTS,
) -> str:
    """Write the README of a bundle.

    Args:
        arch: Shape of the model.
        labels: One class name per output.
        certificate: What was proven; None before the export.
        present: Names of the files that the bundle holds.
        facts: What is known about the model; those of the certificate are used where there is one.
    """
    known = certificate.facts if certificate is not None else facts
    parts = [_title(arch, labels)]
    if certificate is not None:
        parts.append(_proof(certificate))
    lacks = missing_from(present, known, where=".")
    if lacks:
        parts.append("## Not there yet\n\n" + "\n".join(f"- {one}" for one in lacks) + "\n")
    if "model.onnx" in present:
        run = _run_maps if arch.is_dense else _run
        parts.append(run(has_samples="samples" in present))
    if "build.sh" in present or "model.engine" in present:
        parts.append(_engine(has_engine="model.engine" in present))
    if "model.int8.onnx" in present:
        parts.append(_INT8)
    parts.append(_files(present))
    parts.append(f"## Licence\n\n{licence_sentence(known)}\n")
    return "\n".join(parts)


def licence_sentence(facts: BundleFacts) -> str:
    """Return what the base comes under, or plainly that nobody says: its subnet's weights are made of the base's."""
    base = f"`{facts.base}`" if facts.base else "(not named)"
    if facts.base_licence in (None, UNKNOWN):
        return (
            f"The licence of base {base} is unknown: nothing that came with it names one. Ask whoever made it before "
            "this model, whose weights are made of it, is passed on."
        )
    said = f", by the {facts.base_licence_source}" if facts.base_licence_source else ""
    return f"Base {base} comes under {facts.base_licence}{said}; this model's weights are made of it."


def _title(arch: Arch, labels: tuple[str, ...]) -> str:
    shown = ", ".join(labels[:10]) + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")
    return f"""# ViT subnet {arch.arch_id}

{arch.depth} blocks, width {arch.embed_dim}, {both_sides(arch.img_size)} images,
{count_params(arch):,} parameters, {count_macs(arch):,} MACs. Classes: {shown}.
"""


def _proof(certificate: Certificate) -> str:
    device = certificate.device
    lines = [
        f"Made for {device.name}: {device.runtime} {device.runtime_version}, {device.precision}, batch {device.batch}"
        + (f", power mode {device.power_mode}." if device.power_mode else ".")
    ]
    measured = certificate.measurement
    if measured is not None:
        stats = measured.latency_ms
        lines.append(
            f"Latency {stats.median:.2f} ms {measured.provenance}"
            f" (p95 {stats.p95:.2f}, p99 {stats.p99:.2f}, n {measured.samples})."
        )
        if stats.sustained is not None:
            lines.append(f"After ten minutes of load: {stats.sustained:.2f} ms.")
        if measured.board_interval_ms is not None:
            low, high = measured.board_interval_ms
            lines.append(f"Emulated: a real board is expected between {low:.2f} and {high:.2f} ms.")
        lines += [f"Warning: {warning}." for warning in measured.warnings]
    budget, check = certificate.budget, certificate.check
    if budget is not None:
        memory = f", at most {budget.max_memory_mb:g} MB" if budget.max_memory_mb is not None else ""
        why = f", {check.reason}" if check is not None and not check.is_met else ""
        lines.append(f"Budget {budget.ms:g} ms ({budget.statistic}){memory}: {certificate.verdict}{why}.")
    lines += [
        f"Against PyTorch in {a.check} on {a.num_images} images: largest logit error {a.max_abs_error:.2g},"
        f" same prediction on {100 * a.argmax_agreement:.1f} %."
        for a in certificate.agreements
    ]
    return (
        f"## {_heading(certificate)}\n\n"
        # every line a paragraph of its own: Markdown would join them
        + "\n\n".join(lines)
        + "\n\n`certificate.json` has all of it, and the hash of every file.\n"
    )


def _heading(certificate: Certificate) -> str:
    """Say no more than the certificate does: an emulated latency proves nothing about a board."""
    if certificate.measurement is None:
        return "What was checked"
    return "What was proven" if certificate.provenance == "measured" else "What was checked and emulated"


def _run(*, has_samples: bool) -> str:
    example = "samples" if has_samples else "photo.jpg"
    return f"""## Run it

    pip install numpy pillow onnxruntime
    python run.py {example}
    python run.py {example} --json --top 5
    python run.py {example} --repeat 100
    python camera.py --source {example if has_samples else "photos"}

Images or folders; labels, latency and preprocessing time are printed, and files that are no readable image named
(exit code 2). `camera.py` times a folder, a video or a camera end to end; the last two need OpenCV. From Python:

    from classifier import Classifier
    for answer in Classifier(".").predict(frames):  # (H, W, 3) uint8 arrays; channels="BGR" for OpenCV's
        print(answer.label, answer.score, answer.is_none)
"""


def _run_maps(*, has_samples: bool) -> str:
    example = "samples" if has_samples else "photo.jpg"
    return f"""## Run it

    pip install numpy pillow onnxruntime
    python run.py {example}
    python run.py {example} -o labels --json
    python camera.py --source {example if has_samples else "photos"} --save seen

Images or folders; of each a label map (8 bits, with a palette) and the picture with the classes laid over are written
to the folder `labels`, and files that are no readable image named (exit code 2). `camera.py` times a folder, a video or
a camera end to end (the last two need OpenCV), and with `--save` writes both for every frame. From Python:

    from segmenter import Segmenter
    for answer in Segmenter(".").predict(frames):  # (H, W, 3) uint8 arrays; channels="BGR" for OpenCV's
        print(answer.shares, answer.labels.shape)
        answer.overlay().save("overlay.png")

There are no files for DeepStream, Triton, ROS 2 and C++ here: those that are written for other models read one label a
picture, and none was tried on label maps. `model.onnx` gives logits (1, classes, height, width) at the input's size.
"""


def _engine(*, has_engine: bool) -> str:
    build = "" if has_engine else "    sh build.sh                        # a few minutes, once\n"
    note = (
        ""
        if has_engine
        else "\nEngines do not carry over between boards or TensorRT versions: build it where it runs.\n"
    )
    return f"""## On the board

{build}    python3 run.py photo.jpg --engine model.engine
{note}"""


_INT8 = """## INT8, not measured yet

`model.int8.onnx` holds the same model with INT8 weights and activations. It kept its accuracy on ONNX Runtime, but
nothing here could measure it: build it on the device with `sh build_int8.sh`, and use it only if it is faster there.
"""

_DESCRIPTIONS = {
    "arch.json": "shape of the subnet, block by block",
    "model.safetensors": "its weights in FP32",
    "model.onnx": "the exported graph, static shapes, input `images`, output `logits`",
    "model.engine": "TensorRT engine built for the device",
    "model.engine.json": "what the engine was built from and for",
    "build.sh": "builds the engine on the device",
    "model.int8.onnx": "the same model in INT8, to be tried on the device",
    "build_int8.sh": "builds its engine there",
    "labels.txt": "class names in the order of the outputs",
    "preprocess.json": "how an image becomes the input",
    "classifier.py": "NumPy frames in, labels and scores out; the other programs are made of it",
    "segmenter.py": "NumPy frames in, the class of each pixel out",
    "run.py": "answers for image files",
    "camera.py": "answers for and times a camera, a video or a folder",
    "run_engine.py": "the part that drives TensorRT",
    "deepstream": "for DeepStream: `nvinfer` configuration, labels and a graph made for it",
    "triton": "a model repository for Triton Inference Server",
    "ros2": "a node that classifies a camera topic",
    "cpp": "a program in C++ on ONNX Runtime or TensorRT",
    "samples": "images to try it on",
    "lost_images": "test images that the base has right and this model wrong, small; `lost.json` lists them",
    "compared": "test images with truth, base and this model side by side, small; `compared.json` lists them",
    "facts.json": "base, data and accuracies of before; an export moves them to its certificate",
    "certificate.json": "what was measured or emulated, under which protocol, and hashes",
}


def _files(present: Collection[str]) -> str:
    lines = [f"- `{name}`: {text}" for name, text in _DESCRIPTIONS.items() if name in present]
    return "## Files\n\n" + "\n".join(lines) + "\n"
