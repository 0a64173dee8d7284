"""What work on another node tells while it goes on, on its way to where the command was typed."""

from nuwa_search.deploy.train.sender import Message


class Mailbox:
    """Keeps messages until they are fetched; an actor of the cluster."""

    def __init__(self) -> None:
        self._kept: list[Message] = []

    def put(self, message: Message) -> None:
        """Add one."""
        self._kept.append(message)

    def take(self) -> list[Message]:
        """Return all that came since the last time."""
        found, self._kept = self._kept, []
        return found
