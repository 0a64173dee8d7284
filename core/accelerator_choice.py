"""Names of what a person may ask to compute on; loads nothing."""

from typing import Literal, get_args

Accelerator = Literal["auto", "cpu", "cuda"]
ACCELERATORS: tuple[Accelerator, ...] = get_args(Accelerator)
