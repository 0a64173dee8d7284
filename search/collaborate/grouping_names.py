"""Names of the ways to group classes; loads nothing."""

from typing import Literal, get_args

Grouping = Literal["confusion", "balanced", "random"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
