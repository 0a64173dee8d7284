"""Cut one subnet without a search, from Python or the command line."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nuwa_search.core.errors import NuwaError

if TYPE_CHECKING:
    from nuwa_search.core.arch import Arch
    from nuwa_search.search.derive.single import DeriveAnswer
    from nuwa_search.store.store import Store

STORED_WITH_A_SUBNET = ("arch", "classes", "seed", "img_size")
"""What is part of what a subnet id means."""


def check_derive(arch: object, *, subnet: str | None, given: Collection[str]) -> None:
    """Refuse what names no net, or names one twice, before anything heavy is loaded.

    Args:
        arch: What is cut; None where a subnet is.
        subnet: Id of a stored subnet; None where an arch is cut.
        given: Names of what else was given.

    Raises:
        NuwaError: If neither is named, or something is given beside a subnet that its id says already.
    """
    if arch is None and subnet is None:
        raise NuwaError(
            "derive needs an arch or a subnet, and a folder",
            hint="nuwa derive --arch FILE -o DIR, or nuwa derive --subnet ID -o DIR",
        )
    twice = [] if subnet is None else [name for name in STORED_WITH_A_SUBNET if name in given]
    if twice or (arch is not None and subnet is not None):
        name = twice[0] if twice else "arch"
        raise NuwaError(
            f"--{name.replace('_', '-')} is part of what a subnet id means, and cannot be chosen beside --subnet",
            hint="nuwa derive --arch FILE -o DIR cuts an arch for other classes or another seed",
        )


def derive(
    store: "Store",
    arch: "Arch | str | None",
    *,
    subnet: str | None,
    folder: Path,
    cache_dir: Path,
    source: dict[str, Any],
) -> "DeriveAnswer":
    """Derive an arch, or a stored subnet again, and write it as a bundle.

    Args:
        store: The database.
        arch: The arch, or what names it; None where ``subnet`` is given.
        subnet: Id of a stored subnet.
        folder: The bundle.
        cache_dir: For statistics.
        source: Fields of a ``DeriveRequest``; of a subnet, where base and images lie now.

    Raises:
        NuwaError: If the arch does not fit in the base, its id stands for several nets, or the subnet cannot be cut
            again.
    """
    from nuwa_search.search.derive.reopen import Moved
    from nuwa_search.search.derive.single import DeriveRequest, derive_arch, derive_subnet

    if subnet is not None:
        return derive_subnet(subnet, Moved(**source), store=store, folder=folder, cache_dir=cache_dir)
    if arch is None:
        raise NuwaError("derive needs an arch or a subnet")
    return derive_arch(arch, DeriveRequest(**source), store=store, folder=folder, cache_dir=cache_dir)
