"""The boards that are emulated: published hardware figures, each with its source.

Sources: the jetson-nano figures are the board's data sheet and NVIDIA's forum and trtexec logs; the
others are NVIDIA's module data sheets. Only the Nano's time model was fitted to measurements; on the
other boards the fitted shares of peak and bandwidth are carried over and held against four models
timed on all boards (netspresso-trainer's device matrix), so ``uncertainty`` is wider there.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Board:
    """One board in one power mode.

    Args:
        name: Name in the registry.
        num_sms: Streaming multiprocessors.
        cores: CUDA cores, all multiprocessors together.
        clock_mhz: GPU clock.
        fp16_ratio: FP16 over FP32 peak of the CUDA cores.
        tensor_ratio: Reachable FP16 rate of convolutions and products over that of the CUDA cores; 1
            without tensor cores.
        core_gain: What a core does per clock in depthwise convolutions and generated kernels over a core of
            the Nano: wider caches and independent issue of integer and floating-point instructions.
        dram_gbps: Bandwidth of the data sheet.
        l2_kb: Second-level cache.
        launch_scale: Time of one launch over that of the Nano in MAXN.
        memory_mb: Memory of the module, shared with the CPU.
        context_mb: Memory that CUDA, cuBLAS and cuDNN take before the first model.
        uncertainty: Half-width of the board interval as a fraction; None where the leave-one-family-out
            error of the calibration is used.
    """

    name: str
    num_sms: int
    cores: int
    clock_mhz: float
    fp16_ratio: float
    tensor_ratio: float
    core_gain: float
    dram_gbps: float
    l2_kb: int
    launch_scale: float
    memory_mb: int
    context_mb: int
    uncertainty: float | None

    @property
    def fp32_macs_per_ms(self) -> float:
        """One fused multiply-add per core and clock."""
        return self.cores * self.clock_mhz * 1e3

    @property
    def instructions_per_ms(self) -> float:
        """One scalar instruction per core and clock, a core of the Nano taken as the unit."""
        return self.fp32_macs_per_ms * self.core_gain


# GM20B, Maxwell, cc 5.3: 1 SM of 128 cores, 921.6 MHz in MAXN, half2 arithmetic, L2 256 KB, 25.6 GB/s
# LPDDR4. The context takes 0.6-1.1 GB: the middle is used.
JETSON_NANO = Board(
    name="jetson-nano",
    num_sms=1,
    cores=128,
    clock_mhz=921.6,
    fp16_ratio=2.0,
    tensor_ratio=1.0,
    core_gain=1.0,
    dram_gbps=25.6,
    l2_kb=256,
    launch_scale=1.0,
    memory_mb=4096,
    context_mb=850,
    uncertainty=None,
)

# nvpmodel -m 1: GPU at 640 MHz (1.44 times slower), CPU from 4 cores at 1479 MHz to 2 at 918 (launches
# 1.6 times slower); the memory clock is not capped by this mode.
JETSON_NANO_5W = replace(JETSON_NANO, name="jetson-nano-5w", clock_mhz=640.0, launch_scale=1.6)

# Pascal, cc 6.2: 2 SMs of 128 cores at 1300 MHz (1.33 TFLOP/s FP16), 59.7 GB/s, L2 512 KB.
JETSON_TX2 = Board(
    name="jetson-tx2",
    num_sms=2,
    cores=256,
    clock_mhz=1300.0,
    fp16_ratio=2.0,
    tensor_ratio=1.0,
    core_gain=1.0,
    dram_gbps=59.7,
    l2_kb=512,
    launch_scale=0.7,
    memory_mb=8192,
    context_mb=850,
    uncertainty=0.45,
)

# Volta, cc 7.2: 6 SMs, 384 cores and 48 tensor cores at 1100 MHz, 59.7 GB/s, L2 512 KB.
JETSON_XAVIER_NX = Board(
    name="jetson-xavier-nx",
    num_sms=6,
    cores=384,
    clock_mhz=1100.0,
    fp16_ratio=2.0,
    tensor_ratio=2.5,
    core_gain=1.8,
    dram_gbps=59.7,
    l2_kb=512,
    launch_scale=0.25,
    memory_mb=8192,
    context_mb=1000,
    uncertainty=0.6,
)

# Ampere, cc 8.7: 8 SMs, 1024 cores and 32 tensor cores at 625 MHz, 68 GB/s, L2 2 MB.
JETSON_ORIN_NANO = Board(
    name="jetson-orin-nano",
    num_sms=8,
    cores=1024,
    clock_mhz=625.0,
    fp16_ratio=1.0,
    tensor_ratio=2.5,
    core_gain=1.8,
    dram_gbps=68.0,
    l2_kb=2048,
    launch_scale=0.25,
    memory_mb=8192,
    context_mb=1100,
    uncertainty=0.6,
)

BOARDS: dict[str, Board] = {
    b.name: b for b in (JETSON_NANO, JETSON_NANO_5W, JETSON_TX2, JETSON_XAVIER_NX, JETSON_ORIN_NANO)
}
