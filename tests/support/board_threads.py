"""A coordinator and boards of one collaboration, each board a thread that runs the very program of its folder."""

import threading
from pathlib import Path

from nuwa_search.deploy.assets.board import BoardServer
from nuwa_search.deploy.collaborate.coordinator import Coordinator
from nuwa_search.deploy.collaborate.kit import Kits, write_kits
from nuwa_search.deploy.collaborate.layout import Collaboration, read_collaboration


class BoardThreads:
    """What a test holds of a collaboration that runs."""

    def __init__(self, folder: Path, collaboration: Collaboration, kits: Path) -> None:
        self.collaboration, self.said = collaboration, list[str]()
        fusion = read_collaboration(folder)[1]
        self.coordinator = Coordinator(collaboration, fusion, address="tcp://127.0.0.1:0", say=self.said.append)
        self.kits: Kits = write_kits(kits, address=self.coordinator.address, source=folder, collaboration=collaboration)
        self.running: dict[str, tuple[BoardServer, threading.Thread]] = {}
        self.codes: dict[str, int] = {}

    def start(self, *names: str, emulate_pace: bool = False) -> None:
        """Start boards, all of them where none is named."""
        for name in names or self.collaboration.boards:
            board = BoardServer(self.kits.boards[name], emulate_pace=emulate_pace, say=self.said.append)
            thread = threading.Thread(target=self._serve, args=(name, board))
            thread.start()
            self.running[name] = (board, thread)

    def _serve(self, name: str, board: BoardServer) -> None:
        self.codes[name] = board.serve()

    def end(self, name: str) -> int:
        """Stop one board and wait for its end."""
        board, thread = self.running.pop(name)
        board.stop()
        thread.join()
        return self.codes[name]

    def close(self) -> None:
        for board, _ in self.running.values():
            board.stop()
        for _, thread in self.running.values():
            thread.join()
        self.coordinator.close()
