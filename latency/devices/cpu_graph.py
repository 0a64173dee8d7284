"""A graph loaded into one of the runtimes of this machine's CPU, ready to be timed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.extensions import runtime_maker
from nuwa_search.core.runtime import Session
from nuwa_search.deploy.runtimes.ort_feeds import Feeds, drawn_feeds, feed_warnings, run_with, zeros_warning
from nuwa_search.latency.devices.host_facts import threads_of


@dataclass(frozen=True)
class CpuGraph:
    """What is timed.

    Args:
        run: Runs the whole graph once on ``feeds``.
        feeds: Fixed random values by input.
        warnings: What a reader of the figure must know of them.
    """

    run: Callable[[], None]
    feeds: Feeds
    warnings: tuple[str, ...]


def open_graph(content: bytes, *, spec: DeviceSpec, seed: int) -> CpuGraph:
    """Load a serialised ONNX model into the runtime of ``spec`` and draw its inputs.

    Raises:
        NuwaError: If the runtime is not installed or cannot take the model.
    """
    if spec.runtime == "openvino":
        from nuwa_search.deploy.runtimes.openvino import OpenVinoRuntime

        graph = OpenVinoRuntime(threads=threads_of(spec)).open(content)
        feeds = drawn_feeds(graph.inputs, seed=seed)
        return CpuGraph(graph.runner(feeds), feeds, zeros_warning(graph.inputs))
    if spec.runtime != "onnxruntime":
        return _brought_graph(content, spec=spec, seed=seed)
    from nuwa_search.deploy.runtimes.onnxruntime import OnnxRuntime

    session = OnnxRuntime(threads=threads_of(spec)).open(content)
    feeds = drawn_feeds(session.get_inputs(), seed=seed)
    return CpuGraph(run_with(session, feeds), feeds, feed_warnings(session))


def load_session(content: bytes, *, spec: DeviceSpec) -> tuple[Session, str]:
    """Load a model of images as it is timed; return it with its runtime's name and version."""
    if spec.runtime == "openvino":
        from nuwa_search.deploy.runtimes.openvino import OpenVinoRuntime

        openvino = OpenVinoRuntime(threads=threads_of(spec))
        return openvino.load(content), f"{openvino.name} {openvino.version}"
    if spec.runtime != "onnxruntime":
        brought = runtime_maker(spec.runtime)(threads=threads_of(spec))
        return brought.load(content), f"{brought.name} {brought.version}"
    from nuwa_search.deploy.runtimes.onnxruntime import OnnxRuntime

    runtime = OnnxRuntime(threads=threads_of(spec))
    return runtime.load(content), f"{runtime.name} {runtime.version}"


def _brought_graph(content: bytes, *, spec: DeviceSpec, seed: int) -> CpuGraph:
    """Load a model of images into a runtime that another package brings."""
    session = runtime_maker(spec.runtime)(threads=threads_of(spec)).load(content)
    images = np.random.default_rng(seed).standard_normal(session.input_shape, dtype=np.float32)

    def run() -> None:
        session.run(images)

    return CpuGraph(run, {"images": images}, ())
