"""The boards that are emulated, as device specs; reading them loads nothing of the emulator."""

from nuwa_search.core.device import DeviceSpec

_NANO_NOTE = "emulated Jetson Nano 4 GB, JetPack 4.6; interval from models of families left out of the fit"

EMULATED_SPECS: dict[str, DeviceSpec] = {
    spec.name: spec
    for spec in (
        DeviceSpec(
            name="jetson-nano",
            kind="emulated",
            runtime="tensorrt",
            runtime_version="8.2.1",
            precision="fp16",
            power_mode="MAXN",
            opset=13,
            compute_capability="5.3",
            memory_mb=4096,
            note=_NANO_NOTE,
        ),
        DeviceSpec(
            name="jetson-nano-5w",
            kind="emulated",
            runtime="tensorrt",
            runtime_version="8.2.1",
            precision="fp16",
            power_mode="5W",
            opset=13,
            compute_capability="5.3",
            memory_mb=4096,
            note="the same board with GPU at 640 MHz and two CPU cores",
        ),
        DeviceSpec(
            name="jetson-tx2",
            kind="emulated",
            runtime="tensorrt",
            runtime_version="8.2.1",
            precision="fp16",
            power_mode="MAXN",
            opset=13,
            compute_capability="6.2",
            memory_mb=8192,
            note="constants carried over from the Jetson Nano",
        ),
        DeviceSpec(
            name="jetson-xavier-nx",
            kind="emulated",
            runtime="tensorrt",
            runtime_version="8.2.1",
            precision="fp16",
            power_mode="15W",
            opset=13,
            compute_capability="7.2",
            memory_mb=8192,
            note="constants carried over from the Jetson Nano",
        ),
        DeviceSpec(
            name="jetson-orin-nano",
            kind="emulated",
            runtime="tensorrt",
            runtime_version="8.5.2",
            precision="fp16",
            power_mode="15W",
            opset=16,
            compute_capability="8.7",
            memory_mb=8192,
            note="constants carried over from the Jetson Nano",
        ),
    )
}
