"""Compare an engine with the PyTorch model it came from, on the GPU it was built for."""

from pathlib import Path

from torch import Tensor

from nuwa_search.core.device import Precision
from nuwa_search.core.images import Preprocess
from nuwa_search.core.img_size import sides_of
from nuwa_search.core.vit import PlainViT
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.export.graph import InputKind
from nuwa_search.deploy.runtimes.engine_session import EngineSession
from nuwa_search.deploy.tensorrt.engine_info import read_engine_info
from nuwa_search.deploy.tensorrt.engine_runner import EngineRunner
from nuwa_search.deploy.verify import verify_session

_CHECKS: dict[str, Precision] = {"fp32": "fp32", "fp16": "fp16", "int8": "int8"}


def verify_engine(
    engine_path: Path,
    model: PlainViT,
    images: Tensor,
    preprocess: Preprocess,
    *,
    batch: int,
    input_kind: InputKind = "normalised",
) -> Agreement:
    """Run an engine and the model on the same images; the engine's own precision says which limits apply.

    Args:
        engine_path: With its description beside it.
        model: In FP32 and evaluation mode.
        images: (N, in_chans, H, W) uint8.
        preprocess: Of the model.
        batch: That the engine was built for.
        input_kind: What it takes.

    Raises:
        NuwaError: If the engine is of another TensorRT, or this machine has none or no GPU.
        OutsideError: If the GPU failed.
    """
    info = read_engine_info(engine_path)
    runner = EngineRunner(engine_path)
    runner.load()
    arch = model.arch
    shape = (batch, arch.in_chans, *sides_of(arch.img_size))
    session = EngineSession(runner, input_shape=shape, dtype="uint8" if input_kind == "uint8" else "float32")
    return verify_session(
        model,
        session,
        images,
        preprocess,
        input_kind=input_kind,
        check=_CHECKS[info.precision],
        runtime=f"tensorrt {info.tensorrt_version}",
    )
