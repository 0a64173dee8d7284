"""Put Q/DQ nodes around the Gemms of an exported ViT, by ONNX Runtime's static quantisation."""

import re
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.out_of_memory import is_out_of_memory
from nuwa_search.core.runtime import Images
from nuwa_search.deploy.tensorrt.operators import onnx_opset
from nuwa_search.deploy.tensorrt.refusals import check_precision

_BLOCK = re.compile(r"^blocks\.(\d+)\.")
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")
"""Says that no further preparation is wanted: an exported graph has no constants left to fold."""


class Int8Quantiser:
    """Quantises one exported model, wholly or block by block, with ranges taken once.

    Weights are symmetric per output channel. Only the Gemms inside blocks are quantised: products of
    two activations suffer most and gain least, and patch embedding and head are a small share.

    Args:
        exported: FP32 graph whose q, k and v come from one Gemm: opset 17 or newer, or ``joint_qkv``.
        calibration: Network input for INT8 calibration (N, in_chans, H, W), N a multiple of the graph's
            batch; a few dozen images are enough for minima and maxima.
        device: What it is for; decides symmetric or affine activations.

    Raises:
        NuwaError: If the device has no INT8, or the graph or the images do not fit.
    """

    def __init__(self, exported: onnx.ModelProto, calibration: Images, *, device: DeviceSpec) -> None:
        check_int8(device)
        _check_graph(exported, calibration)
        self._exported = exported
        self._calibration = calibration
        self._is_tensorrt = device.runtime == "tensorrt"
        self._full: onnx.ModelProto | None = None

    @property
    def blocks(self) -> tuple[int, ...]:
        """Numbers of the blocks in the graph."""
        found = {int(match[1]) for node in self._exported.graph.node if (match := _BLOCK.match(node.name))}
        return tuple(sorted(found))

    def quantise(self, *, blocks: Collection[int] | None = None) -> onnx.ModelProto:
        """Return the graph with the Gemms of ``blocks`` in INT8; None takes all blocks.

        ONNX Runtime's quantiser runs once, over all blocks; other choices are cut out of its answer.

        Raises:
            NuwaError: If there is no such block.
        """
        chosen = self.blocks if blocks is None else tuple(sorted(blocks))
        unknown = sorted(set(chosen) - set(self.blocks))
        if unknown:
            raise NuwaError(f"the graph has no block {unknown[0]}; it has {len(self.blocks)}")
        if not chosen:
            return _copy(self._exported)
        if self._full is None:
            self._full = self._quantise_all()
        return _with_float_blocks(self._full, self._exported, set(self.blocks) - set(chosen))

    def _quantise_all(self) -> onnx.ModelProto:
        extra: dict[str, Any] = {"OpTypesToExcludeOutputQuantization": ["Gemm"]}
        if self._is_tensorrt:
            # TensorRT takes zero points of 0, floating-point weights behind Q/DQ pairs, and no INT32 biases.
            extra |= {"ActivationSymmetric": True, "AddQDQPairToWeight": True, "QuantizeBias": False}
        source = _copy(self._exported)  # the quantiser takes its argument apart
        entry = source.metadata_props.add()
        entry.key, entry.value = _PREPARED
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "int8.onnx")
            try:
                quantize_static(
                    source,
                    target,
                    _Reader(self._calibration, _batch_of(self._exported)),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=["Gemm"],
                    nodes_to_quantize=[node.name for node in _block_gemms(self._exported)],
                    per_channel=True,
                    activation_type=QuantType.QInt8 if self._is_tensorrt else QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    extra_options=extra,
                )
            except Exception as error:  # whatever its parts raise at a graph that is not one of ours
                if is_out_of_memory(error):
                    raise
                said = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise NuwaError(
                    f"ONNX Runtime's quantiser cannot take this graph: {said[:300]}", hint="export it with nuwa export"
                ) from error
            quantised = onnx.load(target)
        del quantised.graph.value_info[:]  # shapes follow from static inputs
        _keep_metadata(quantised, self._exported)
        return quantised


def check_int8(device: DeviceSpec) -> None:
    """Refuse a device that has no INT8, with the reason.

    Raises:
        NuwaError: If its GPU has no INT8 arithmetic, or its runtime takes no Q/DQ graphs from here.
    """
    check_precision("int8", compute_capability=device.compute_capability)
    if device.runtime not in ("onnxruntime", "tensorrt"):
        raise NuwaError(
            f"INT8 is made for ONNX Runtime and TensorRT, device {device.name} runs {device.runtime}",
            hint="use precision fp32 or fp16 there",
        )


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # its base carries no types
    """Hands out the images for INT8 calibration batch by batch."""

    def __init__(self, images: Images, batch: int) -> None:
        self._parts: Iterator[Images] = iter(np.split(images, len(images) // batch))

    def get_next(self) -> dict[str, Images] | None:
        part = next(self._parts, None)
        return None if part is None else {"images": part}


def _check_graph(exported: onnx.ModelProto, calibration: Images) -> None:
    if any(node.op_type == "MatMul" and node.name.endswith(".attn.q") for node in exported.graph.node):
        raise NuwaError(
            f"INT8 is made of Gemms, and this graph of opset {onnx_opset(exported)} projects head by head",
            hint="export it from opset 17 on, or with joint_qkv",
        )
    if any(t.data_type == onnx.TensorProto.FLOAT16 for t in exported.graph.initializer):
        raise NuwaError("INT8 is made from an fp32 graph, found fp16", hint="export with precision fp32")
    if len(exported.graph.input) != 1 or _batch_of(exported) < 1:
        raise NuwaError("INT8 is made from a graph of one input with fixed sizes", hint="export it with nuwa export")
    shape = [d.dim_value for d in exported.graph.input[0].type.tensor_type.shape.dim]
    if not np.isfinite(calibration).all():
        raise NuwaError("images for INT8 calibration hold values that are no finite numbers")
    if len(calibration) == 0 or len(calibration) % shape[0] or list(calibration.shape[1:]) != shape[1:]:
        raise NuwaError(
            f"images for INT8 calibration have shape {calibration.shape}, wanted some batches of {tuple(shape)}"
        )


def _batch_of(exported: onnx.ModelProto) -> int:
    sizes = exported.graph.input[0].type.tensor_type.shape.dim
    return int(sizes[0].dim_value) if sizes else 0


def _block_of(node: onnx.NodeProto) -> int:
    match = _BLOCK.match(node.name)
    return int(match[1]) if match else -1


def _block_gemms(exported: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in exported.graph.node if node.op_type == "Gemm" and _block_of(node) >= 0]


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    out = onnx.ModelProto()
    out.CopyFrom(model)
    return out


def _keep_metadata(target: onnx.ModelProto, source: onnx.ModelProto) -> None:
    del target.metadata_props[:]
    target.metadata_props.extend(source.metadata_props)
    target.producer_name, target.producer_version = source.producer_name, source.producer_version


def _with_float_blocks(
    quantised: onnx.ModelProto, exported: onnx.ModelProto, blocks: Collection[int]
) -> onnx.ModelProto:
    """Give the Gemms of ``blocks`` their own inputs back and drop what nothing reads any more."""
    out = _copy(quantised)
    original = {node.name: node for node in _block_gemms(exported) if _block_of(node) in blocks}
    for node in out.graph.node:
        if node.name in original:
            node.input[:] = original[node.name].input
    own = {tensor.name: tensor for tensor in exported.graph.initializer}
    # The quantiser calls a dequantised bias by the bias's own name.
    restored = {name for node in original.values() for name in node.input if name in own}
    used = {value.name for value in out.graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(out.graph.node):
        if used & set(node.output) - restored:
            used |= set(node.input)
            kept.append(node)
    constants = {tensor.name: tensor for tensor in quantised.graph.initializer}
    constants |= {name: own[name] for name in restored}
    del out.graph.node[:], out.graph.initializer[:]
    out.graph.node.extend(reversed(kept))
    out.graph.initializer.extend(tensor for name, tensor in constants.items() if name in used)
    return out
