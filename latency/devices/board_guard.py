"""Keeps rows of different states of a board apart, and pins the clocks where that is allowed."""

from nuwa_search.core.device import DeviceSpec
from nuwa_search.core.errors import NuwaError, OutsideError
from nuwa_search.core.transport import ConnectionFailedError, Transport
from nuwa_search.deploy.tensorrt.report import CutOffError
from nuwa_search.latency.devices.board_session import RunTimeoutError
from nuwa_search.latency.devices.board_state import BoardState, changes_between, read_board_state

_PIN_TIMEOUT_S = 60.0


class UnsettledError(OutsideError):
    """The board was busy, throttled or changed during a run; running again may help."""


class UnfitBoardError(NuwaError):
    """The board is in another state than it is registered for, or than the first row was taken in."""


RETRIED = (ConnectionFailedError, CutOffError, RunTimeoutError, UnsettledError)


class BoardGuard:
    """Remembers the state that the first row was taken in and holds the board to it.

    Args:
        spec: What the board is registered as.
        transport: The way there.
        sysroot: What stands before ``/sys``, ``/proc`` and ``/etc`` there.
    """

    def __init__(self, spec: DeviceSpec, transport: Transport, *, sysroot: str) -> None:
        self._spec = spec
        self._transport = transport
        self._sysroot = sysroot
        self._first: BoardState | None = None
        self._has_tried_to_pin = False
        self.has_pinned = False

    def settle(self, *, clocks_pinned: bool | None) -> BoardState:
        """Read the state and refuse one that a row must not be taken in.

        Clocks that move are pinned first where the user may run ``sudo jetson_clocks`` without a
        password; once, and only before the first row.

        Args:
            clocks_pinned: Whether the protocol insists on pinned clocks.

        Raises:
            UnfitBoardError: If power mode or clocks are not those of the spec, protocol or first row.
            UnsettledError: If another measurement runs there.
        """
        state = self._pinned_where_allowed()
        name = self._spec.name
        if clocks_pinned and state.clocks_pinned is not True:
            raise UnfitBoardError(
                f"the protocol asks for pinned clocks and those of {name} are not pinned",
                hint=f"on the board: sudo jetson_clocks (nuwa doctor {name} shows all)",
            )
        if self._spec.power_mode is not None and state.power_mode not in (None, self._spec.power_mode):
            raise UnfitBoardError(
                f"{name} is registered for power mode {self._spec.power_mode} and is in {state.power_mode}",
                hint="on the board: sudo nvpmodel -m N, where nvpmodel -p --verbose lists N by name",
            )
        changed = changes_between(self._first.fixed(), state.fixed()) if self._first else []
        if changed:
            raise UnfitBoardError(
                f"{name} changed between two rows: {', '.join(changed)}; rows of two states never mix",
                hint="put it back as it was, or start anew with another device name",
            )
        if state.num_other_trtexec:
            raise UnsettledError(f"another trtexec runs on {name}", hint="wait for it, or end it there")
        return state

    def confirm(self, before: BoardState) -> BoardState:
        """Read the state after a run and refuse the run if the board changed under it.

        Raises:
            UnsettledError: If the board changed; the message names what.
        """
        after = read_board_state(self._transport, sysroot=self._sysroot)
        changed = changes_between(before.fixed(), after.fixed())
        if before.values.get("boot_id") != after.values.get("boot_id"):
            changed.append("rebooted")
        if after.is_throttled:
            changed.append(f"throttled to {after.values['gpu_cur_hz']} Hz")
        if changed:
            raise UnsettledError(
                f"{self._spec.name} changed while it was measured: {', '.join(changed)}",
                hint=f"let it cool and leave its settings alone; nuwa doctor {self._spec.name}",
            )
        if self._first is None:
            self._first = before
        return after

    def read(self) -> BoardState:
        """Read the state, whatever it is."""
        return read_board_state(self._transport, sysroot=self._sysroot)

    def after_load(self, before: BoardState) -> BoardState:
        """Read the state after minutes of load: throttled is an answer there, another setting or a reboot is not.

        Raises:
            UnsettledError: If the board changed; the message names what.
        """
        after = self.read()
        changed = changes_between(before.fixed(), after.fixed())
        if before.values.get("boot_id") != after.values.get("boot_id"):
            changed.append("rebooted")
        if changed:
            raise UnsettledError(
                f"{self._spec.name} changed while it was under load: {', '.join(changed)}",
                hint=f"leave its settings alone; nuwa doctor {self._spec.name}",
            )
        return after

    def _pinned_where_allowed(self) -> BoardState:
        state = read_board_state(self._transport, sysroot=self._sysroot)
        if state.clocks_pinned is not False or self._has_tried_to_pin or self._first is not None:
            return state
        self._has_tried_to_pin = True
        self._transport.run(["sudo", "-n", "jetson_clocks"], timeout_s=_PIN_TIMEOUT_S)
        state = read_board_state(self._transport, sysroot=self._sysroot)
        self.has_pinned = bool(state.clocks_pinned)
        return state
