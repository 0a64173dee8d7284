"""The boards that are emulated: published hardware figures, each with its source.

Sources: the jetson-nano figures are the board's data sheet and NVIDIA's forum and trtexec logs; the
others are NVIDIA's module data sheets. Constants are fitted to measurements of the Nano (Maxwell) and of
the Orin Nano (Ampere). TX2 and Xavier NX have no row with a known power mode: they take the Nano's
constants, held against four models timed on all boards (netspresso-trainer's device matrix).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from nuwa_search.core.device import Precision

Fitted = Literal["maxwell", "ampere"]
"""Architectures whose constants were fitted to measurements."""

FITTED_MHZ: dict[Fitted, float] = {"maxwell": 921.6, "ampere": 1020.0}
"""GPU clock that fixed costs were fitted at."""


@dataclass(frozen=True)
class Board:
    """One board in one power mode.

    Args:
        name: Name in the registry.
        constants: Architecture whose fitted constants it uses.
        is_carried: Whether these were fitted on another architecture than the board's own.
        num_sms: Streaming multiprocessors.
        cores: CUDA cores, all multiprocessors together.
        clock_mhz: GPU clock.
        fp16_ratio: FP16 over FP32 peak of the CUDA cores.
        tensor_macs: Multiply-adds of the tensor cores per clock and multiprocessor, by the precision that is
            multiplied; FP32 stands for TF32. A precision that is not in it runs on the CUDA cores.
        product_gain: Share of the peak that products and convolutions reach over that of ``constants``.
        core_gain: What a core does per clock in depthwise convolutions and generated kernels over a core of
            the board that ``constants`` were fitted on: wider caches and independent issue of integer and
            floating-point instructions.
        dram_gbps: Bandwidth of the data sheet.
        l2_kb: Second-level cache.
        launch_scale: Time of one launch over that of the mode that ``constants`` were fitted in.
        memory_mb: Memory of the module, shared with the CPU.
        context_mb: Memory that CUDA, cuBLAS and cuDNN take before the first model.
        family: The board's name for people, whatever its mode.
        log_halfwidth: Least half-width of the board interval in the logarithm; None takes the fit's.
        has_new_fusions: Whether its TensorRT (8.6 or newer, on Ampere) has one kernel for attention, one for a
            normalisation, and convolutions that take in any activation.
    """

    name: str
    constants: Fitted
    is_carried: bool
    num_sms: int
    cores: int
    clock_mhz: float
    fp16_ratio: float
    dram_gbps: float
    l2_kb: int
    launch_scale: float
    memory_mb: int
    context_mb: int
    family: str
    tensor_macs: Mapping[Precision, int] = field(default_factory=dict)
    product_gain: float = 1.0
    core_gain: float = 1.0
    has_new_fusions: bool = False
    log_halfwidth: float | None = None

    @property
    def fp32_macs_per_ms(self) -> float:
        """One fused multiply-add per core and clock."""
        return self.cores * self.clock_mhz * 1e3

    @property
    def instructions_per_ms(self) -> float:
        """One scalar instruction per core and clock, a core of the board fitted taken as the unit."""
        return self.fp32_macs_per_ms * self.core_gain

    @property
    def has_int8(self) -> bool:
        """Whether INT8 can be emulated."""
        return "int8" in self.tensor_macs

    def product_macs_per_ms(self, precision: Precision) -> float:
        """Peak multiply-adds of products and convolutions whose operands are of ``precision``."""
        if precision in self.tensor_macs:
            peak = self.num_sms * self.clock_mhz * 1e3 * self.tensor_macs[precision]
        else:
            peak = self.fp32_macs_per_ms * (1.0 if precision == "fp32" else self.fp16_ratio)
        return peak * self.product_gain


# GM20B, Maxwell, cc 5.3: 1 SM of 128 cores, 921.6 MHz in MAXN, half2 arithmetic, L2 256 KB, 25.6 GB/s
# LPDDR4. The context takes 0.6-1.1 GB: the middle is used.
JETSON_NANO = Board(
    name="jetson-nano",
    constants="maxwell",
    is_carried=False,
    num_sms=1,
    cores=128,
    clock_mhz=921.6,
    fp16_ratio=2.0,
    dram_gbps=25.6,
    l2_kb=256,
    launch_scale=1.0,
    memory_mb=4096,
    context_mb=850,
    family="Jetson Nano",
)

# nvpmodel -m 1: the data sheet says 640 MHz, the clock has steps of 76.8 MHz and published states of this mode
# read 614.4 (1.5 times slower). The CPU goes from 4 cores at 1479 MHz to 2 at 918 (launches 1.6 times slower);
# the memory clock is not capped by this mode.
JETSON_NANO_5W = replace(JETSON_NANO, name="jetson-nano-5w", clock_mhz=614.4, launch_scale=1.6)

# Pascal, cc 6.2: 2 SMs of 128 cores at 1300 MHz (1.33 TFLOP/s FP16), 59.7 GB/s, L2 512 KB.
JETSON_TX2 = Board(
    name="jetson-tx2",
    constants="maxwell",
    is_carried=True,
    num_sms=2,
    cores=256,
    clock_mhz=1300.0,
    fp16_ratio=2.0,
    dram_gbps=59.7,
    l2_kb=512,
    launch_scale=0.7,
    memory_mb=8192,
    context_mb=850,
    family="Jetson TX2",
    log_halfwidth=math.log(1.45),
)

# Volta, cc 7.2: 6 SMs, 384 cores and 48 tensor cores (8 per SM, 64 FP16 multiply-adds per clock each) at
# 1100 MHz, 59.7 GB/s, L2 512 KB. Gains and launch cost were set by hand against the four models timed on all
# boards, so that these are no proof; power mode there is not stated.
JETSON_XAVIER_NX = Board(
    name="jetson-xavier-nx",
    constants="maxwell",
    is_carried=True,
    num_sms=6,
    cores=384,
    clock_mhz=1100.0,
    fp16_ratio=2.0,
    tensor_macs={"fp16": 512},
    product_gain=0.625,
    core_gain=1.8,
    dram_gbps=59.7,
    l2_kb=512,
    launch_scale=0.25,
    memory_mb=8192,
    context_mb=1000,
    family="Jetson Xavier NX",
    log_halfwidth=math.log(1.6),
)

# Ampere, cc 8.7: 8 SMs of 128 cores and 4 tensor cores. The data sheet's 67 sparse INT8 TOPS at 1020 MHz are
# 2048 dense multiply-adds per clock and SM; FP16 has half of that, TF32 a quarter. L2 2 MB. Modes of JetPack
# 6.2: MAXN_SUPER 1020 MHz and 102.4 GB/s, 25W 918 MHz and the same memory, 15W 625 MHz and 68 GB/s, 7W
# 408 MHz and 68 GB/s. CPU: 6 cores at 1728, 1344, 1510 and 4 at 960 MHz: launches scale with it.
# One kernel for attention and one for a normalisation come with TensorRT 8.6, whose release notes take the
# plug-ins for both out as no longer needed (NVIDIA/TensorRT, release v8.6.0). A convolution takes in a pointwise
# chain in FP16 and INT8 on Ampere from 8.5 on (NVIDIA/TensorRT issue 2572; a layer of that kind of 8.6 on an
# Orin is in issue 3640).
JETSON_ORIN_NANO_SUPER = Board(
    name="jetson-orin-nano-super",
    constants="ampere",
    is_carried=False,
    num_sms=8,
    cores=1024,
    clock_mhz=1020.0,
    fp16_ratio=1.0,
    tensor_macs={"fp32": 512, "fp16": 1024, "int8": 2048},
    dram_gbps=102.4,
    l2_kb=2048,
    launch_scale=1.0,
    memory_mb=8192,
    context_mb=1100,
    family="Jetson Orin Nano",
    has_new_fusions=True,
)
JETSON_ORIN_NANO_25W = replace(JETSON_ORIN_NANO_SUPER, name="jetson-orin-nano-25w", clock_mhz=918.0, launch_scale=1.29)
JETSON_ORIN_NANO = replace(
    JETSON_ORIN_NANO_SUPER, name="jetson-orin-nano", clock_mhz=625.0, dram_gbps=68.0, launch_scale=1.14
)
JETSON_ORIN_NANO_7W = replace(
    JETSON_ORIN_NANO_SUPER, name="jetson-orin-nano-7w", clock_mhz=408.0, dram_gbps=68.0, launch_scale=1.8
)

BOARDS: dict[str, Board] = {
    b.name: b
    for b in (
        JETSON_NANO,
        JETSON_NANO_5W,
        JETSON_TX2,
        JETSON_XAVIER_NX,
        JETSON_ORIN_NANO,
        JETSON_ORIN_NANO_7W,
        JETSON_ORIN_NANO_25W,
        JETSON_ORIN_NANO_SUPER,
    )
}
