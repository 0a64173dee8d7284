"""The surrogates' card of each task, without the searches of equal seconds.

    python -m benchmarks.equal_seconds.surrogate --tasks textiles --seeds 0

Nets are those that the task's random search scored whole, where they are enough, else random ones of which none is
given up: on images of many tokens such a search gives most of its nets up.
Kept with the cells of ``benchmarks.equal_seconds``, which runs the same; a card that is there is not made again.
"""

import torch

from benchmarks.equal_seconds.card import card_size, drawn_nets, nets_of_random_search, surrogate_rows
from benchmarks.equal_seconds.cells import SURROGATE, Cell, Cells, cell_arguments
from benchmarks.equal_seconds.setting import Setting, open_setting
from nuwa_search.core.arch import arch_from_dict
from nuwa_search.core.cache import Cache
from nuwa_search.search.hooks import Hooks
from nuwa_search.search.job.library import cached_library


def main() -> None:
    """Make the cards that are missing, and write the tables."""
    args = cell_arguments(__doc__).parse_args()
    torch.set_num_threads(1)
    cells = Cells(args.results)
    for name in args.tasks:
        for seed in args.seeds:
            if cells.find(name, seed, SURROGATE) is None:
                print(f"{name}, seed {seed}: {SURROGATE}", flush=True)
                setting = open_setting(name, shared=args.shared, cache_dir=args.cache, seed=seed)
                known = cells.find(name, seed, "random")
                cells.add(name, seed, SURROGATE, card(setting, known, cache=Cache(args.cache / "search")))
    cells.write_tables()


def card(setting: Setting, random_search: Cell | None, *, cache: Cache) -> Cell:
    """Make one card.

    Args:
        setting: The job.
        random_search: Its cell, whose nets are taken if they are enough; None has nets drawn now.
        cache: Where libraries of single cuts are kept.
    """
    size = card_size(setting.teacher.arch)
    scored = [] if random_search is None else [arch_from_dict(one) for one in random_search["archs"]]
    archs = drawn_nets(scored, seed=setting.seed, size=size)
    if len(archs) < size.total:
        archs = nets_of_random_search(setting, size=size)
    library = cached_library(
        setting.inputs,
        space=setting.space,
        deriver=setting.deriver,
        scorer=setting.scorer,
        cache=cache,
        seed=setting.seed,
        hooks=Hooks(step=lambda text: print(f"    {text}", flush=True)),
    )
    return {"rows": surrogate_rows(setting, library, archs, size=size)}


if __name__ == "__main__":
    main()
