"""Readers of a collaboration's folder, of network figures and keys, and of what lies on a board."""

import json
from pathlib import Path

from nuwa_search.deploy.assets import board as program
from nuwa_search.deploy.collaborate.kit import write_kits
from nuwa_search.deploy.collaborate.layout import read_collaboration
from nuwa_search.deploy.collaborate.network import assumed_network, network_to_json, read_network
from nuwa_search.deploy.collaborate.wire import read_keys
from tests.support.fuzzing.mutations import mutated_bytes, mutated_json
from tests.support.fuzzing.reader import Reader
from tests.support.toy_collaboration import BOARDS, write_toy_collaboration


def collaboration_readers(folder: Path) -> list[Reader]:
    """Read every file of a collaboration and of a board; a board's program says what is wrong with ``ValueError``."""
    made = folder / "made"
    collaboration = write_toy_collaboration(made)
    address = "tcp://127.0.0.1:5577"
    kit = write_kits(folder / "kits", address=address, source=made, collaboration=collaboration).boards[BOARDS[0]]
    network, keys, own = folder / "network.json", folder / "keys.json", kit / "keys.json"
    key = "k" * 40
    network.write_text(json.dumps(network_to_json(assumed_network(BOARDS))))
    told = {"schema": "nuwa.collaborate-keys/1", "public": key, "secret": key, "boards": {BOARDS[0]: key}}
    keys.write_text(json.dumps(told))
    own.write_text(json.dumps({"public": key, "secret": key, "coordinator_public": key}))
    board, message = kit / "board.json", folder / "message"
    message.write_bytes(b"".join(program.pack(program.Message(program.VECTOR, bytes(24)))))

    def frames() -> object:
        content = message.read_bytes()
        return program.unpack([content[: program.HEADER.size], content[program.HEADER.size :]], 64)

    said = (ValueError, OSError)  # board.py's ``start`` says these
    return [
        Reader(
            "collaboration.json", made / "collaboration.json", mutated_json, lambda: read_collaboration(made), share=0.3
        ),
        Reader("fusion.npz", made / "fusion.npz", mutated_bytes, lambda: read_collaboration(made), share=0.3),
        Reader("network.json", network, mutated_json, lambda: read_network(network)),
        Reader("keys of a coordinator", keys, mutated_json, lambda: read_keys(keys)),
        Reader("board.py: board.json", board, mutated_json, lambda: program.read_board(board), named=said),
        Reader("board.py: keys.json", own, mutated_json, lambda: program.read_keys(own), named=said),
        Reader("board.py: a message", message, mutated_bytes, frames, named=said),
    ]
