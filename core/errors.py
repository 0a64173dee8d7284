"""Errors a user can cause or meet, each with the exit code of the command-line contract."""


class NuwaError(Exception):
    """Return what was wanted, what was found, and where; wrong use or input by default.

    Args:
        message: One sentence, no trailing newline.
        hint: The command or setting that mends it; empty when there is none.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class NoAnswerError(NuwaError):
    """The command ran and the answer is no: nothing fits, a check failed."""

    exit_code = 1


class OutsideError(NuwaError):
    """Something outside the program failed: network, device, database server, disk."""

    exit_code = 3


class NuwaWarning(UserWarning):
    """Something a person should know beside an answer: what was left out of the images, what could not be stored."""
