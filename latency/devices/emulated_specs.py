"""The boards that are emulated, as device specs; reading them loads nothing of the emulator."""

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.emulator import EMULATOR_VERSION, OPTION

_OPTIONS = ((OPTION, EMULATOR_VERSION),)
_NANO_NOTE = "emulated Jetson Nano 4 GB, JetPack 4.6; interval from models of families left out of the fit"
_CARRIED_NOTE = "constants carried over from the Jetson Nano; no transformer was ever timed there"
_ORIN_NOTE = "emulated Orin Nano 8 GB, fitted to 16 published rows; JetPack 6.2"


def _nano(name: str, *, power_mode: str, note: str) -> DeviceSpec:
    return DeviceSpec(
        name=name,
        kind="emulated",
        runtime="tensorrt",
        runtime_version="8.2.1",
        precision="fp16",
        power_mode=power_mode,
        opset=13,
        compute_capability="5.3",
        memory_mb=4096,
        options=_OPTIONS,
        note=note,
    )


def _carried(name: str, *, power_mode: str, compute_capability: str) -> DeviceSpec:
    return DeviceSpec(
        name=name,
        kind="emulated",
        runtime="tensorrt",
        runtime_version="8.2.1",
        precision="fp16",
        power_mode=power_mode,
        opset=13,
        compute_capability=compute_capability,
        memory_mb=8192,
        options=_OPTIONS,
        note=_CARRIED_NOTE,
    )


# Opsets as `export_opset` gives them for the version (a test compares); read here without loading the lists.
def _orin(
    name: str, *, power_mode: str, runtime_version: str = "10.3.0", opset: int = 19, note: str = _ORIN_NOTE
) -> DeviceSpec:
    return DeviceSpec(
        name=name,
        kind="emulated",
        runtime="tensorrt",
        runtime_version=runtime_version,
        precision="fp16",
        power_mode=power_mode,
        opset=opset,
        compute_capability="8.7",
        memory_mb=8192,
        options=_OPTIONS,
        note=note,
    )


EMULATED_SPECS: dict[str, DeviceSpec] = {
    spec.name: spec
    for spec in (
        _nano("jetson-nano", power_mode="MAXN", note=_NANO_NOTE),
        _nano("jetson-nano-5w", power_mode="5W", note="the same board with GPU at 614 MHz and two CPU cores"),
        _carried("jetson-tx2", power_mode="MAXN", compute_capability="6.2"),
        _carried("jetson-xavier-nx", power_mode="15W", compute_capability="7.2"),
        _orin("jetson-orin-nano", power_mode="15W"),
        _orin(
            "jetson-orin-nano-7w",
            power_mode="7W",
            runtime_version="8.6.2",
            opset=17,
            note="the same board at 408 MHz, JetPack 6.0; held against four rows, fitted to none",
        ),
        _orin("jetson-orin-nano-25w", power_mode="25W", note="the same board at 918 MHz; no row of its own"),
        _orin("jetson-orin-nano-super", power_mode="MAXN_SUPER"),
    )
}
