"""Export an arch with random weights, for latency tables; neither torch nor a module is needed."""

import dataclasses

import onnx

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.device import Precision
from nuwa_search.deploy.export.graph import GraphOptions, check_options, model_from_folded
from nuwa_search.deploy.export.opsets import MIN_OPSET
from nuwa_search.deploy.export.random_weights import random_folded


def onnx_from_arch(
    arch: Arch,
    *,
    opset: int = MIN_OPSET,
    precision: Precision = "fp32",
    batch: int = 1,
    seed: int = 0,
    trim_tokens: bool = False,
    has_weights: bool = True,
) -> onnx.ModelProto:
    """Write the graph that ``onnx_from_vit`` writes for ``PlainViT(arch)``, with random weights.

    Node for node and shape for shape the two are the same: what is folded depends on the arch only,
    never on values.

    Args:
        arch: Entries of blocks that are gone are left out; none at all is fine.
        opset: 13 to 24.
        precision: ``fp32`` or ``fp16``.
        batch: Images per inference.
        seed: Of the weights.
        trim_tokens: Compute only the pooled tokens from the last attention on; see ``GraphOptions``.
        has_weights: False leaves the values of large constants out: such a model can be timed by an
            emulated device but not run, and takes a fraction of the time and memory.

    Raises:
        NuwaError: If opset, batch or precision do not fit.
    """
    compact = arch.compact()
    options = GraphOptions(
        opset=opset, precision=precision, batch=batch, trim_tokens=trim_tokens, has_weights=has_weights
    )
    check_options(compact, options)
    return model_from_folded(compact, random_folded(compact, seed=seed), options)


def chain_arch(arch: Arch, block: BlockSpec, num_repeats: int) -> Arch:
    """Give ``arch`` with ``num_repeats`` (0 or more) equal blocks: the unit whose slope times one block."""
    return dataclasses.replace(arch, blocks=(block,) * num_repeats)
