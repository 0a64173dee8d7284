"""Classifier heads for a task: rows of the base's head, or one fitted in closed form."""

import copy
import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from nuwa_search.core.accelerator import CPU, bf16_where_fast, device_of, run_in_parts
from nuwa_search.core.arch import Arch, GlobalPool
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.fit_ridge import fit_by_left_out, is_few, noise_of, with_noise
from nuwa_search.core.image_weights import image_weights
from nuwa_search.core.images import Preprocess
from nuwa_search.core.known_outputs import KnownOutputs
from nuwa_search.core.logits import EVAL_BATCH, normalise
from nuwa_search.core.many_tokens import FEW_TOKENS
from nuwa_search.core.metric import Metric
from nuwa_search.core.pooling import HeadPool, pools_of
from nuwa_search.core.tensors import SplitTensors, TaskTensors, features_key
from nuwa_search.core.vit import PlainViT

OnImages = Callable[[int, int], None]
"""Called with the images that passed through the base, and all that will."""
RIDGE = 1e-2
"""Ridge relative to the mean diagonal of the features' Gram matrix."""


def with_head(model: PlainViT, weight: Tensor, bias: Tensor) -> PlainViT:
    """Copy ``model`` with another head: ``weight`` (num_classes, head_in_features), ``bias`` (num_classes,)."""
    out = copy.deepcopy(model)
    out.arch = dataclasses.replace(model.arch, num_classes=len(bias))
    out.head = nn.Linear(weight.shape[1], len(bias), device=device_of(model))
    with torch.no_grad():
        out.head.weight.copy_(weight)
        out.head.bias.copy_(bias)
    return out.eval()


def restrict_head(model: PlainViT, classes: tuple[int, ...]) -> PlainViT:
    """Keep the rows of ``classes`` only: a physically smaller head with the same logits for them."""
    rows = torch.tensor(classes)
    return with_head(model, model.head.weight.detach()[rows], model.head.bias.detach()[rows])


def no_one(done: int, total: int) -> None:
    """Watch nothing."""


def features_of(model: PlainViT, images: Tensor, preprocess: Preprocess, *, on_images: OnImages = no_one) -> Tensor:
    """Run (N, 3, H, W) uint8 images up to the head: (N, head_in_features).

    Args:
        model: Whose features.
        images: (N, 3, H, W) uint8.
        preprocess: How they become network input.
        on_images: Told how many images were run.
    """
    return _all_features([model], images, preprocess, lambda done: on_images(done, len(images)))[0]


def fit_head(
    model: PlainViT,
    split: SplitTensors,
    preprocess: Preprocess,
    *,
    num_classes: int,
    metric: Metric = "top1",
    on_images: OnImages = no_one,
    known: KnownOutputs | None = None,
) -> PlainViT:
    """Fit a head to frozen features by ridge regression on one-hot labels, then scale it to be calibrated.

    The regression's scores lie near 0..1, far too flat for a softmax; one temperature is chosen by the
    cross-entropy on the same images so that the model can serve as a teacher.

    Args:
        model: The base; its own head is ignored.
        split: Images of the new classes, labels 0..num_classes-1.
        preprocess: Of the base.
        num_classes: Outputs of the new head.
        metric: Which accuracy it is for: ``balanced`` lets every class weigh alike.
        on_images: Who watches.
        known: Is given the features, for whoever asks for them later.
    """
    features = features_of(model, split.images, preprocess, on_images=on_images)
    weight, bias = _ridge(features.double(), split.labels, num_classes, metric=metric)
    found = with_head(model, weight, bias)
    if known is not None:
        known.put(features_key(found, split), features)
    return found


def choose_head(
    model: PlainViT, data: TaskTensors, *, num_classes: int, pool: HeadPool = "auto", on_images: OnImages = no_one
) -> PlainViT:
    """Fit a head on each kind of pooling to the training images and keep the one best on the search images.

    Best is the largest accuracy, and among equals the one that reads least. For a base that came without a head, and
    so without a pooling of its own. The images pass through the base once.

    Args:
        model: The base.
        data: Its train split is fitted on, labels 0..num_classes-1; its search split and metric choose.
        num_classes: Outputs of the head.
        pool: The one kind that is wanted; ``auto`` compares all that the base can.
        on_images: Who watches.

    Raises:
        NuwaError: If the base cannot pool as wanted.
    """
    variants = [pooled_by(model, kind) for kind in require_pools(model.arch, pool)]
    train, search = data.train, data.search
    total = len(train) + len(search)
    seen = _all_features(variants, train.images, data.preprocess, lambda done: on_images(done, total))
    judged = _all_features(variants, search.images, data.preprocess, lambda done: on_images(len(train) + done, total))
    best: tuple[float, PlainViT, Tensor, Tensor] | None = None
    for variant, features, shown in zip(variants, seen, judged, strict=True):
        weight, bias = _ridge(features.double(), train.labels, num_classes, metric=data.metric)
        is_right = (shown @ weight.T + bias).argmax(dim=1) == search.labels
        score = float((image_weights(search.labels, data.metric) * is_right).mean())
        if best is None or score > best[0]:
            best = score, with_head(variant, weight, bias), features, shown
    if best is None:
        raise NuwaError("no head could be fitted", hint="report the base")
    data.known.put(features_key(best[1], train), best[2])
    data.known.put(features_key(best[1], search), best[3])
    return best[1]


def require_pools(arch: Arch, wanted: HeadPool) -> tuple[GlobalPool, ...]:
    """List the kinds of pooling that a fitted head is to be chosen among.

    Raises:
        NuwaError: If the base cannot pool as wanted.
    """
    found = pools_of(arch, wanted)
    if not found:
        raise NuwaError(
            f"a head that reads {wanted} was wanted, and the base has no class token, or a norm after its pooling",
            hint=f"give --pool one of auto, {', '.join(pools_of(arch))}",
        )
    return found


def feature_arithmetic(arch: Arch, device: torch.device = CPU) -> torch.autocast:
    """Return the context that features are computed in: bf16 for many tokens where ``device`` multiplies it.

    On 1 200 images of 257 tokens that took 0.45 of the time; of 400 others the head then calls 99 % alike.
    """
    return bf16_where_fast(device, enabled=arch.num_tokens > FEW_TOKENS)


def batch_for(arch: Arch) -> int:
    """Images that pass at once: fewer where they have more than ``FEW_TOKENS`` tokens, for memory and progress."""
    return EVAL_BATCH if arch.num_tokens <= FEW_TOKENS else max(1, EVAL_BATCH * 64 // arch.num_tokens)


def pooled_by(model: PlainViT, pool: GlobalPool) -> PlainViT:
    """Copy ``model`` with another pooling and a head of zeros, on its device."""
    arch = dataclasses.replace(model.arch, global_pool=pool)
    out = PlainViT(arch)
    tensors = {key: value for key, value in model.state_dict().items() if not key.startswith("head.")}
    zeros = {
        "head.weight": torch.zeros(arch.num_classes, arch.head_in_features),
        "head.bias": torch.zeros(arch.num_classes),
    }
    out.load_state_dict(tensors | zeros)
    return out.to(device_of(model)).eval()


@torch.inference_mode()
def _all_features(
    variants: Sequence[PlainViT], images: Tensor, preprocess: Preprocess, on_images: Callable[[int], None]
) -> list[Tensor]:
    """Features of each variant, which differ in pooling only, on the images' device: the stream is computed once."""
    device = device_of(variants[0])
    widest = max(variants, key=lambda variant: variant.arch.pooled_tokens[1])

    def run(part: Tensor) -> Tensor:
        with feature_arithmetic(variants[0].arch, device):
            stream = widest.forward_trimmed(normalise(part.to(device), preprocess)).float()
        return torch.cat([variant.pool(stream) for variant in variants], dim=-1).to(part.device)

    batch, rows, done = batch_for(variants[0].arch), list[Tensor](), 0
    for part in torch.split(images, batch):
        on_images(done)
        done += len(part)
        rows.append(run_in_parts(run, part, batch))
    widths = [variant.arch.head_in_features for variant in variants]
    return [found.contiguous() for found in torch.cat(rows).split(widths, dim=-1)]


def _ridge(features: Tensor, labels: Tensor, num_classes: int, *, metric: Metric) -> tuple[Tensor, Tensor]:
    """Weight (num_classes, F) and bias of ridge regression on one-hot labels, scaled to be calibrated.

    Where there are no more images than features, ridge and scale are those that do best on images left out. Each
    image counts as much as ``image_weights`` says, in the regression and in the calibration. Features that vary hardly
    more than 16 bits round them are taken to have the noise of that rounding.
    """
    noise = noise_of(features)
    if is_few(features):
        weight, bias = fit_by_left_out(features, labels, num_classes, image_weights(labels, metric), noise=noise)
        return weight.float(), bias.float()
    weights = image_weights(labels, metric)[:, None]
    mean = (weights * features).mean(dim=0)
    centred = features - mean
    targets = nn.functional.one_hot(labels, num_classes).double()
    prior = (weights * targets).mean(dim=0)
    weighed = weights * centred
    gram = centred.T @ weighed
    ridge = RIDGE * gram.diagonal().mean().clamp_min(1e-12) + len(features) * noise**2
    weight = torch.linalg.solve(gram + ridge * torch.eye(len(gram)), weighed.T @ (targets - prior)).T
    bias = prior - weight @ mean
    scores = with_noise(features, noise) @ weight.T + bias
    scales = torch.logspace(0, 2, 41).double()
    rows = [nn.functional.cross_entropy(scores * s, labels, reduction="none") for s in scales]
    losses = torch.stack([(weights[:, 0] * row).mean() for row in rows])
    scale = scales[losses.argmin()]
    return (weight * scale).float(), (bias * scale).float()
