"""What a running job tells whoever watches it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever only shows progress waits for no torch
    from nuwa_search.deploy.train.outcome import Progress as FinetuneProgress
    from nuwa_search.search.trials import TrialReport


def _nothing(*_: object) -> None:
    return None


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a search; all may be left out.

    Args:
        stage: A stage of a search begins; one of ``nuwa_search.search.stages.STAGES``.
        step: A step is done; a sentence for people.
        count: Called with a label, things done, and things in all (None: not known).
        trial: A proposal was recorded.
        finetune: Where fine-tuning stands.
    """

    stage: Callable[[str], None] = _nothing
    step: Callable[[str], None] = _nothing
    count: Callable[[str, int, int | None], None] = _nothing
    trial: "Callable[[TrialReport], None]" = _nothing
    finetune: "Callable[[FinetuneProgress], None]" = _nothing


def joined(*all_hooks: Hooks) -> Hooks:
    """Combine several hooks into one that calls each in its order."""

    def of(name: str) -> Callable[..., None]:
        calls = [getattr(hooks, name) for hooks in all_hooks]

        def tell(*values: object) -> None:
            for call in calls:
                call(*values)

        return tell

    return Hooks(stage=of("stage"), step=of("step"), count=of("count"), trial=of("trial"), finetune=of("finetune"))
