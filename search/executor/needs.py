"""What a piece of work needs where it runs; reading it loads nothing heavy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """What must be free where a piece of work runs.

    Args:
        what: The work in a few words, for errors and progress.
        cpus: Cores; it computes with as many threads.
        gpus: Whole GPUs of one machine.
        board: Name of a device that must be reached from there; None where none is.
    """

    what: str
    cpus: int = 1
    gpus: int = 0
    board: str | None = None

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the resources that say where, rather than how much."""
        return () if self.board is None else (f"board:{self.board}",)

    @property
    def words(self) -> str:
        """Say what is needed."""
        counts = [f"{self.cpus} CPU"] if self.cpus else []
        counts += [f"{self.gpus} GPU"] if self.gpus else []
        return " and ".join([*counts, *self.places])

    @property
    def start_hint(self) -> str:
        """Write the command that adds a node with what is needed."""
        flags = f" --resources='{{\"{self.places[0]}\": 1}}'" if self.places else ""
        flags += f" --num-gpus={self.gpus}" if self.gpus else ""
        return f"ray start --address=HEAD:6379{flags} on a machine that has it"
