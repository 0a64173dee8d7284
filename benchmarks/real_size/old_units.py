"""CPU seconds of an old build per image, cut, net, refined net and step, from which its whole search is extrapolated.

Run with that build's own modules: PYTHONPATH=OLD_CHECKOUT python old_units.py PLACE, where PLACE holds what
``benchmarks.real_size.prepare`` wrote. At least ten of each are taken, on few images each; one thread.
"""

import dataclasses
import json
import random
import resource
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parent))  # last: that build's own modules come first
opened = import_module("old_base").opened
Deriver = import_module("search.derive.deriver").Deriver
DeriveOptions = import_module("search.derive.options").DeriveOptions
FinetuneConfig = import_module("deploy.train.config").FinetuneConfig
Streams, library_archs = (getattr(import_module("search.library"), name) for name in ("_Streams", "library_archs"))
Teacher = import_module("deploy.train.teacher").Teacher
TeacherScorer = import_module("search.scorer").TeacherScorer
finetune = import_module("deploy.train.finetune").finetune
onnx_from_vit = import_module("deploy.export.from_vit").onnx_from_vit
verify_onnx, verify_fp16 = (getattr(import_module("deploy.verify"), name) for name in ("verify_onnx", "verify_fp16"))
logits_of, normalise = (getattr(import_module("nuwa.tensors"), name) for name in ("logits_of", "normalise"))
score_split = import_module("deploy.train.score").score_split
scoring_context = import_module("search.precision").scoring_context
space_from_base = import_module("search.space").space_from_base

SPLITS = {"training": "train", "search": "search", "test": "test"}
NUM = 10
FEW_AND_MORE = (15, 45)
"""Images of two runs, whose difference is what an image takes."""
IMAGES = 16
"""Images per cut, net and step; costs are told per image."""
BATCH, EVAL_BATCH = 64, 250
"""Images of a step and of a forward pass as that build takes them: what its memory is measured with."""


def main(place: Path) -> None:
    """Time the units one after another and print them."""
    torch.set_num_threads(1)
    found = opened(place)
    model, preprocess = found.model, found.preprocess
    train, search = found.splits["train"], found.splits["search"]
    seconds: dict[str, float] = {}
    sizes = {f"{k} images": len(found.splits[name]) for k, name in SPLITS.items()}
    sizes["tokens per image"] = model.arch.num_tokens

    def prepared(num_images: int, sensitivity_images: int) -> tuple[Any, float]:
        options = DeriveOptions(num_images=num_images, sensitivity_images=sensitivity_images)
        deriver = Deriver(model, train, preprocess, options=options)
        begun = time.process_time()
        deriver.prepare()
        return deriver, time.process_time() - begun

    few, more = FEW_AND_MORE
    begin_s, grown_s = prepared(few, 0)[1], prepared(more, 0)[1]
    seconds["statistics per image"] = (grown_s - begin_s) / (more - few)
    seconds["factorising"] = max(0.0, begin_s - few * seconds["statistics per image"])
    deriver, sensitive_s = prepared(more, more)
    seconds["sensitivity per image"] = max(0.0, sensitive_s - grown_s) / more
    say(seconds)

    scorer = TeacherScorer(model, search, preprocess, num_images=IMAGES)
    space = space_from_base(model.arch)
    cuts = library_archs(space)
    seconds["cuts in all"] = len(cuts)
    streams = Streams(model, scorer.inputs)
    picked = [cuts[round(k * (len(cuts) - 1) / NUM)] for k in range(NUM + 1)]

    def run_cut(cut: Any) -> None:
        with torch.inference_mode(), scoring_context():
            streams.run(cut)

    seconds["derive per cut"], run_s = time_nets(deriver, picked, run_cut)
    seconds["run per cut and image"] = run_s / IMAGES
    say(seconds)

    nets = [_third(model.arch, k) for k in range(NUM)]
    seconds["derive per net"], run_s = time_nets(deriver, nets, scorer.score)
    seconds["run per net and image"] = run_s / IMAGES
    say(seconds)

    took = {}
    for count in FEW_AND_MORE:
        begun = time.process_time()
        deriver.derive_refined(nets[0], max_images=count)
        took[count] = time.process_time() - begun
    seconds["refine per image"] = (took[more] - took[few]) / (more - few)
    seconds["refine beside"] = max(0.0, took[few] - few * seconds["refine per image"])
    say(seconds)

    with torch.inference_mode(), scoring_context():
        begun = time.process_time()
        model(normalise(train.images[: 2 * IMAGES], preprocess))
        seconds["teacher per image"] = (time.process_time() - begun) / (2 * IMAGES)
    begun = time.process_time()
    logits_of(model, search.images[: 2 * IMAGES], preprocess)
    seconds["base in FP32 per image"] = (time.process_time() - begun) / (2 * IMAGES)
    shown = train.take(torch.arange(IMAGES))
    cut = deriver.derive(nets[0])
    begun = time.process_time()
    score_split(cut, search.take(torch.arange(2 * IMAGES)), preprocess)
    seconds["net in FP32 per image"] = (time.process_time() - begun) / (2 * IMAGES)
    seconds["check of an export per image"] = checked_per_image(cut, search.images, preprocess)
    say(seconds)
    config = FinetuneConfig(batch_size=IMAGES, views=1, eval_every=1000, warmup_steps=0)
    step_s = {}
    for steps in (1, NUM + 1):
        begun = time.process_time()
        finetune(
            cut,
            teacher=Teacher(model),
            train=shown,
            search=shown,
            preprocess=preprocess,
            config=dataclasses.replace(config, steps=steps),
        )
        step_s[steps] = time.process_time() - begun
    seconds["step per image"] = (step_s[NUM + 1] - step_s[1]) / NUM / IMAGES
    say(seconds)
    take_whole_batches(cut, model, train, search, preprocess)
    peak = {"peak memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    json.dump(sizes | seconds | peak, sys.stdout)


def take_whole_batches(cut: Any, model: Any, train: Any, search: Any, preprocess: Any) -> None:
    """Take one step and one forward pass of as many images as that build takes, for its peak memory."""
    whole = train.take(torch.arange(min(BATCH, len(train))))
    shown = search.take(torch.arange(min(EVAL_BATCH, len(search))))
    config = FinetuneConfig(batch_size=len(whole.labels), views=1, eval_every=1000, warmup_steps=0, steps=1)
    finetune(cut, teacher=Teacher(model), train=whole, search=shown, preprocess=preprocess, config=config)


def time_nets(deriver: Any, archs: list[Any], run: Callable[[Any], object]) -> tuple[float, float]:
    """Derive and run each net; the mean CPU seconds of both."""
    derive_s, run_s = [], []
    for arch in archs:
        begun = time.process_time()
        net = deriver.derive(arch)
        middle = time.process_time()
        run(net)
        derive_s.append(middle - begun)
        run_s.append(time.process_time() - middle)
    return mean(derive_s), mean(run_s)


def checked_per_image(net: Any, images: torch.Tensor, preprocess: Any) -> float:
    """CPU seconds per image of comparing an export with its weights, in FP32 and with every tensor in FP16."""
    graph, took = onnx_from_vit(net, opset=13, preprocess=preprocess), []
    for count in (IMAGES // 2, 3 * IMAGES // 2):
        begun = time.process_time()
        for compare in (verify_onnx, verify_fp16):
            compare(net, graph, images[:count], preprocess)
        took.append(time.process_time() - begun)
    return (took[1] - took[0]) / IMAGES


def mean(values: list[float]) -> float:
    """Average."""
    return sum(values) / len(values)


def say(seconds: dict[str, float]) -> None:
    """Tell what is known so far."""
    print({name: round(value, 4) for name, value in seconds.items()}, file=sys.stderr, flush=True)


def _third(base: Any, seed: int) -> Any:
    """Cut to about a third of the work, as a 30 ms budget does: random heads and MLP widths, two branches gone."""
    rng = random.Random(seed)
    blocks = [
        dataclasses.replace(
            full, num_heads=rng.choice((1, 2, 3)), mlp_width=full.mlp_width * rng.choice((2, 3, 4)) // 8
        )
        for full in base.blocks
    ]
    for place in rng.sample(range(len(blocks)), 2):
        blocks[place] = dataclasses.replace(blocks[place], num_heads=0, qk_dim=0, v_dim=0)
    return dataclasses.replace(base, blocks=tuple(blocks))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
