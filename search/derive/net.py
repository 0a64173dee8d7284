"""An arch id taken as a net: it must stand for one, since a shape forgets which blocks of which base are gone."""

from nuwa_search.core.arch import Arch
from nuwa_search.core.base_identity import weights_of
from nuwa_search.core.errors import NuwaError
from nuwa_search.deploy.models import arch_from_text, is_arch_id
from nuwa_search.search.derive_command import derive_command
from nuwa_search.store.shapes import NetOfShape, find_nets
from nuwa_search.store.store import Store

NUM_LISTED = 12
"""Subnets of a shape that a refusal lists: a screenful."""


def placed_arch_from_text(text: str, store: Store, *, base_id: str) -> Arch:
    """Read the arch of a net that is to be cut, with empty entries for the blocks that are gone where that is known.

    Args:
        text: A JSON file, a bundle, a base, or an arch id of the database.
        store: The database.
        base_id: Of the base it is to be cut from.

    Raises:
        NuwaError: If it is none of these, or the id stands for several nets.
    """
    if not is_arch_id(text):
        return arch_from_text(text, store)
    nets = find_nets(store, text)
    if len({(weights_of(net.base_id), net.kept_blocks) for net in nets}) > 1:
        raise _ambiguous(text, nets, store)
    if nets and weights_of(nets[0].base_id) == weights_of(base_id):
        return store.load_subnet(nets[0].subnet_id).arch
    return store.load_arch(text)


def _ambiguous(arch_id: str, nets: list[NetOfShape], store: Store) -> NuwaError:
    lines = [
        f"  {net.subnet_id}  keeps blocks {_places(net.kept_blocks)} of {net.base} ({net.base_id})"
        for net in nets[:NUM_LISTED]
    ]
    if len(nets) > NUM_LISTED:
        lines.append(f"  and {len(nets) - NUM_LISTED} more: nuwa query --sql")
    listed = "\n".join(lines)
    return NuwaError(
        f"arch {arch_id} is the shape of {len(nets)} subnets that keep other blocks or are of other bases:\n{listed}",
        hint=f"name the one that is meant: {derive_command(nets[0].subnet_id, db=store.command_url)}",
    )


def _places(kept_blocks: str) -> str:
    """Write ``1101`` as ``0 1 3``."""
    return " ".join(str(place) for place, kept in enumerate(kept_blocks) if kept == "1")
