"""The few matrix operations of closed-form derivation, in float64 and robust to rank deficiency."""

import torch
from torch import Tensor

from nuwa_search.core.errors import NuwaError

RELATIVE_EPS = 1e-10
"""Eigenvalues below this share of the largest are rounding: float32 activations carry about 1e-7, squared
moments of them 1e-13."""


def symmetric_roots(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Square root and its pseudo-inverse of positive semidefinite (..., K, K) matrices."""
    values, vectors = torch.linalg.eigh(moment.double())
    floor = values[..., -1:].clamp_min(0) * RELATIVE_EPS
    root = values.clamp_min(0).sqrt()
    inverse = torch.where(values > floor.clamp_min(torch.finfo(torch.float64).tiny), 1 / root.clamp_min(1e-150), 0.0)
    return (vectors * root[..., None, :]) @ vectors.mT, (vectors * inverse[..., None, :]) @ vectors.mT


def ridge_of(moment: Tensor, ridge: float) -> Tensor:
    """Ridge in the units of ``moment`` (K, K): ``ridge`` times its mean diagonal, never zero."""
    return (ridge * moment.diagonal().mean()).clamp_min(1e-12)


def regularised(moment: Tensor, ridge: float) -> Tensor:
    """Add the ridge to the diagonal of (K+1, K+1), except to the last entry: the constant is free."""
    out = moment.clone()
    if len(moment) > 1:
        out.diagonal()[:-1] += ridge_of(moment[:-1, :-1], ridge)
    out[-1, -1] += 1e-12
    return out


def solve_towards(moment: Tensor, cross: Tensor, prior: Tensor, ridge: float, *, has_constant: bool = True) -> Tensor:
    """Minimise E‖y − W r‖² + λ‖W − prior‖² over W (O, K); a constant's column, the last, goes unpenalised.

    Args:
        moment: E[r rᵀ], (K, K).
        cross: E[y rᵀ], (O, K).
        prior: (O, K).
        ridge: λ relative to the mean diagonal of the moment (of what is no constant).
        has_constant: Whether the last entry of r is 1.
    """
    left = (
        regularised(moment, ridge)
        if has_constant
        else moment + ridge_of(moment, ridge) * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
    )
    return prior + solve_positive(left, (cross - prior @ moment).mT).mT


def steady_cholesky(matrix: Tensor) -> Tensor:
    """Take the Cholesky factor of a (K, K) that is positive definite but for rounding.

    Where rounding made an eigenvalue negative, the diagonal is raised in steps of ten, from the size of float32
    rounding up to the mean diagonal itself.

    Raises:
        NuwaError: If that does not help: the matrix holds NaN or infinity.
    """
    mean = float(matrix.diagonal().mean().abs().clamp_min(1e-30))
    for lift in (0.0, *(mean * 10.0**power for power in range(-7, 1))):
        lifted = matrix + lift * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        factor, info = torch.linalg.cholesky_ex(lifted)
        if int(info) == 0 and bool(torch.isfinite(factor).all()):
            return torch.as_tensor(factor)
    raise NuwaError(
        "the base's activations on these images are not finite, so nothing can be fitted to them",
        hint="check the base with `nuwa evaluate`",
    )


def solve_positive(left: Tensor, right: Tensor) -> Tensor:
    """Solve left · X = right for a (K, K) that is positive definite but for rounding."""
    return torch.cholesky_solve(right, steady_cholesky(left))
