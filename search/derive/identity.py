"""The id of a subnet: what was cut, out of what, for which task, how."""

import hashlib

from nuwa_search.core.arch import Arch, hashed_from_arch
from nuwa_search.search.derive.options import DeriveOptions

DERIVATION = "1"
"""Version of the derivation's mathematics; raise it when the same inputs give other weights."""


def subnet_id(arch: Arch, base_id: str, task_id: str, options: DeriveOptions) -> str:
    """Identify a derived subnet (16 hex digits).

    Unlike ``arch_id`` it sees which blocks of the base are gone, since weights depend on that.

    Args:
        arch: Shape with one entry for each block of the base, empty where a block is removed.
        base_id: Identity of the base.
        task_id: Identity of the task.
        options: How the subnet is cut.
    """
    parts = [DERIVATION, str(sorted(hashed_from_arch(arch).items())), base_id, task_id, options.canonical]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
