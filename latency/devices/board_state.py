"""What decides how fast a Jetson is just now: power mode, clocks, heat, and what else runs there.

Everything is read as an ordinary user from files and tools that JetPack has; what a board lacks is
left out of the state, never guessed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nuwa_search.core import checked
from nuwa_search.core.errors import OutsideError
from nuwa_search.core.transport import Transport

# POSIX sh, one `key=value` per line; files are read by the shell itself, because starting a process
# costs a small board milliseconds. $1 stands before /sys, /proc and /etc, empty on a board.
#   nvpmodel needs no root to read on JetPack 4.6+; where it refuses, its status file gives a number (a fan
#   mode may stand behind it), and /etc/nvpmodel.conf the name of that number.
#   GPU clocks: devfreq of the GPU node (57000000.gpu on the Nano, 17000000.* on later boards, gpu-gpc-0 on
#   Thor, whose gpu-nvd-0 is the video engine).
#   Rails: iio with names and milliwatts up to JetPack 4, hwmon with labels, millivolts and milliamperes from
#   JetPack 5 on. Which channel carries which rail differs by board, so only names are looked at; VDD_IN and
#   POM_5V_IN are the whole module (NVIDIA Jetson Linux Developer Guide, "Power Monitoring"), and NC is no rail.
_SCRIPT = r"""
r=$1
PATH=$PATH:/usr/sbin:/sbin
say() { [ -n "$2" ] && printf '%s=%s\n' "$1" "$2"; }
read1() { v=; [ -r "$1" ] && IFS= read -r v < "$1"; [ -n "$v" ]; }
file() { read1 "$2" && say "$1" "$v"; }
file l4t "$r/etc/nv_tegra_release"
[ -r "$r/proc/device-tree/model" ] && say board "$(tr -d '\0' < "$r/proc/device-tree/model")"
file boot_id "$r/proc/sys/kernel/random/boot_id"
mode=$(nvpmodel -q 2>/dev/null | sed -n 's/^NV Power Mode: *//p')
if [ -z "$mode" ] && read1 "$r/var/lib/nvpmodel/status"; then
  mode=$(printf '%s\n' "$v" | sed -n 's/.*pmode:0*\([0-9][0-9]*\).*/\1/p')
  c=$r/etc/nvpmodel.conf
  [ -n "$mode" ] && [ -r "$c" ] && name=$(sed -n "s/^< *POWER_MODEL  *ID=$mode  *NAME=\([^ >]*\).*/\1/p" "$c")
  mode=${name:-$mode}
fi
say power_mode "$mode"
chip=
[ -r "$r/proc/device-tree/compatible" ] &&
  chip=$(tr '\0' '\n' < "$r/proc/device-tree/compatible" | sed -n 's/.*\(tegra[0-9][0-9][0-9]\).*/\1/p' | head -n 1)
for d in "$r"/sys/devices/gpu.0/devfreq/* "$r"/sys/class/devfreq/*.gpu "$r"/sys/class/devfreq/17000000.* \
  "$r"/sys/class/devfreq/gpu-gpc-0; do
  [ -r "$d/cur_freq" ] || continue
  file gpu_min_hz "$d/min_freq"; file gpu_max_hz "$d/max_freq"; file gpu_cur_hz "$d/cur_freq"
  case ${d##*/} in gpu-gpc-0) chip=${chip:-tegra264};; esac
  break
done
say chip "$chip"
c=$r/sys/devices/system/cpu
file cpus_online "$c/online"
file cpu_min_khz "$c/cpu0/cpufreq/scaling_min_freq"
file cpu_max_khz "$c/cpu0/cpufreq/scaling_max_freq"
file cpu_governor "$c/cpu0/cpufreq/scaling_governor"
for z in "$r"/sys/class/thermal/thermal_zone*; do
  [ -r "$z/type" ] && IFS= read -r t < "$z/type" && file "temp_$t" "$z/temp"
done
rails=
whole=
rail() {
  [ "$1" = NC ] && return
  case $2 in ''|*[!0-9-]*) return;; esac
  rails="${rails:+$rails, }$1 $2"
  case $1 in VDD_IN|POM_5V_IN) whole=${whole:-$2};; esac
}
volts() {
  read1 "$2" && mv=$v && read1 "$3" || return
  case $mv$v in *[!0-9]*) return;; esac
  rail "$1" $((mv * v / 1000))
}
for n in "$r"/sys/bus/i2c/drivers/ina*/*/iio:device*/rail_name_*; do
  d=${n%/*}; i=${n##*_}
  read1 "$n" || continue
  t=$v
  if read1 "$d/in_power${i}_input"; then rail "$t" "$v"
  else volts "$t" "$d/in_voltage${i}_input" "$d/in_current${i}_input"; fi
done
for n in "$r"/sys/bus/i2c/drivers/ina*/*/hwmon/hwmon*/in*_label; do
  d=${n%/*}; i=${n##*/in}; i=${i%_label}
  read1 "$n" || continue
  volts "$v" "$d/in${i}_input" "$d/curr${i}_input"
done
say power_in_mw "$whole"
say power_rails_mw "$rails"
[ -r "$r/proc/meminfo" ] && while read -r key kb unit; do
  [ "$key" = MemAvailable: ] && say mem_available_kb "$kb" && break
done < "$r/proc/meminfo"
[ -r "$r/proc/loadavg" ] && read -r load rest < "$r/proc/loadavg" && say load_1min "$load"
say other_trtexec "$(pgrep -c -x trtexec 2>/dev/null)"
exit 0
"""

# What must be the same for two figures to be comparable.
_FIXED_KEYS = (
    "l4t",
    "chip",
    "power_mode",
    "gpu_min_hz",
    "gpu_max_hz",
    "cpus_online",
    "cpu_min_khz",
    "cpu_max_khz",
    "cpu_governor",
)

_READ_TIMEOUT_S = 30.0
_MAX_CHARACTERS = 1_000_000
"""Of a state; a board's has some hundreds."""
_NUMBERS = ("gpu_min_hz", "gpu_max_hz", "gpu_cur_hz", "power_in_mw", "mem_available_kb", "other_trtexec")
"""Values that are computed with."""
_NUMBER = re.compile(r"-?[0-9]{1,15}")


@dataclass(frozen=True)
class BoardState:
    """One reading of a board.

    Args:
        values: What could be read, by name; clocks in the unit of their name, temperatures in
            thousandths of a degree.
    """

    values: Mapping[str, str]

    @property
    def power_mode(self) -> str | None:
        return self.values.get("power_mode")

    @property
    def chip(self) -> str | None:
        """System-on-chip such as ``tegra210``, by the device tree, or by a GPU node that only one chip has."""
        return self.values.get("chip")

    @property
    def gpu_mhz(self) -> float | None:
        """GPU clock just now; None where the board does not tell."""
        current = self.values.get("gpu_cur_hz")
        return None if current is None else int(current) / 1e6

    @property
    def power_in_mw(self) -> int | None:
        """Power of the whole module; None where no rail carries it, as on an AGX Xavier."""
        value = self.values.get("power_in_mw")
        return None if value is None else int(value)

    @property
    def lacks_whole_power(self) -> bool:
        """Whether single rails are measured and none of them is the whole module."""
        return "power_in_mw" not in self.values and "power_rails_mw" in self.values

    @property
    def clocks_pinned(self) -> bool | None:
        """Whether the GPU clock cannot move; None where the board does not tell."""
        low, high = self.values.get("gpu_min_hz"), self.values.get("gpu_max_hz")
        return None if low is None or high is None else low == high

    @property
    def is_throttled(self) -> bool:
        """Whether pinned clocks run below where they are pinned."""
        current = self.values.get("gpu_cur_hz")
        return bool(self.clocks_pinned) and current is not None and int(current) < int(self.values["gpu_max_hz"])

    @property
    def num_other_trtexec(self) -> int:
        """Runs of `trtexec` on the board just now."""
        return int(self.values.get("other_trtexec", "0") or "0")

    @property
    def free_memory_mb(self) -> float | None:
        value = self.values.get("mem_available_kb")
        return None if value is None else int(value) / 1024

    def fixed(self) -> dict[str, str]:
        """Keep what must not change between figures that are compared."""
        return {key: self.values[key] for key in _FIXED_KEYS if key in self.values}


def read_board_state(transport: Transport, *, sysroot: str = "") -> BoardState:
    """Read a board's state in one command.

    Args:
        transport: The way there.
        sysroot: What stands before ``/sys``, ``/proc`` and ``/etc`` there.

    Raises:
        OutsideError: If the board does not answer as a board should.
    """
    result = transport.run(["sh", "-c", _SCRIPT, "sh", sysroot], timeout_s=_READ_TIMEOUT_S)
    if result.returncode:
        raise OutsideError(f"cannot read the state of {transport.address}: {result.output.strip()}")
    if len(result.stdout) > _MAX_CHARACTERS:
        raise OutsideError(f"{transport.address} answers with {len(result.stdout)} characters where a state was asked")
    pairs = (line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
    values = {key: value.strip() for key, value in pairs}
    for key in _NUMBERS:
        if key in values and not _NUMBER.fullmatch(values[key]):
            raise OutsideError(f"{transport.address} says {key} is {checked.shown(values[key])}, wanted a whole number")
    return BoardState(values)


def changes_between(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """List what differs, such as ``power_mode MAXN -> 5W``; a value that came or went differs too."""
    keys = sorted({*before, *after})
    return [
        f"{key} {before.get(key, 'unknown')} -> {after.get(key, 'unknown')}"
        for key in keys
        if before.get(key) != after.get(key)
    ]
