"""How far a study had come after each trial: the area its front covers."""

from typing import Any

from nuwa_search.search.front import front_indices, hypervolume


def with_hypervolume(trials: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, float] | None]:
    """Add ``hypervolume`` and ``is_on_front`` to each trial, and return the reference point.

    The reference point is the largest predicted latency and KL among the scored trials, so the curve never falls.

    Args:
        trials: Of ``Store.trials``, oldest first.

    Returns:
        The trials, and ``latency_ms`` and ``kl`` of the reference point; None where nothing was scored.
    """
    scored = [k for k, trial in enumerate(trials) if trial["state"] == "scored" and trial["kl"] is not None]
    if not scored:
        return [trial | {"hypervolume": 0.0, "is_on_front": False} for trial in trials], None
    times = [float(trials[k]["predicted_latency_ms"]) for k in scored]
    costs = [float(trials[k]["kl"]) for k in scored]
    reference = (max(times), max(costs))
    scored_set = frozenset(scored)
    on_front = {scored[k] for k in front_indices(times, costs)}
    front: list[tuple[float, float]] = []
    area, rows = 0.0, []
    for k, trial in enumerate(trials):
        if k in scored_set:
            point = (float(trial["predicted_latency_ms"]), float(trial["kl"]))
            if not any(t <= point[0] and c <= point[1] for t, c in front):
                front = [(t, c) for t, c in front if t < point[0] or c < point[1]] + [point]
                area = hypervolume([t for t, _ in front], [c for _, c in front], reference=reference)
        rows.append(trial | {"hypervolume": area, "is_on_front": k in on_front})
    return rows, {"latency_ms": reference[0], "kl": reference[1]}
