"""How a comparison of two subnets looks on a terminal."""

from nuwa_search.search.best_accuracy import BestAccuracy
from nuwa_search.search.compare import Comparison
from nuwa_search.search.compared_subnet import ComparedBundle, ComparedLatency, ComparedSubnet
from nuwa_search.service.cli.figures import count, interval, milliseconds, share

Row = dict[str, str | int]
_WIDTHS = {"num_heads": "heads", "qk_dim": "query and key", "v_dim": "value", "mlp_width": "MLP width"}


def figure_rows(found: Comparison) -> list[Row]:
    """Make one row per figure: of the first, of the second, and what the second has more."""
    a, b = found.subnets
    differences = found.differences
    rows = [
        _row("subnet", a.subnet_id, b.subnet_id),
        _row("base", a.base, b.base, "the same" if differences.is_same_base else "two bases"),
        _row("classes", _classes(a), _classes(b), "the same task" if differences.is_same_task else "two tasks"),
        _row("accuracy", _accuracy(a.accuracy), _accuracy(b.accuracy), _accuracy_difference(found)),
    ]
    for device in dict.fromkeys(one.device for one in (*a.latencies, *b.latencies)):
        told = next((one for one in differences.latencies if one.device == device), None)
        apart = "" if told is None else f"{told.difference_ms:+.2f} ms, {told.ratio:.2f} times"
        if told is not None and told.is_equal:
            apart += ", equal within the intervals"
        if told is not None and not told.is_alike:
            apart += ", one run and one predicted"
        rows.append(_row(f"latency on {device}", _latency(a, device), _latency(b, device), apart))
    rows += [
        _row("parameters", count(a.params), count(b.params), f"{differences.params:+d}"),
        _row("MACs", count(a.macs), count(b.macs), f"{differences.macs:+d}"),
        _row("weights (FP32)", f"{a.weights_mb:.2f} MB", f"{b.weights_mb:.2f} MB"),
        _row("certificate", _certificates(a), _certificates(b)),
        _row("bundle", _bundle(a.bundle), _bundle(b.bundle)),
        _row("blocks that differ", "", "", f"{len(differences.blocks)} of {max(len(a.blocks), len(b.blocks))}"),
    ]
    return rows


def block_rows(found: Comparison) -> list[Row]:
    """Make one row per block that differs: of each width both values, one where they are the same."""
    a, b = found.subnets
    rows: list[Row] = []
    for block in found.differences.blocks:
        row: Row = {"block": block.index}
        for name, said in _WIDTHS.items():
            values = [getattr(one.blocks[block.index], name) if block.index < len(one.blocks) else 0 for one in (a, b)]
            row[said] = " -> ".join(str(value) for value in dict.fromkeys(values))
        rows.append(row)
    return rows


def _row(name: str, a: str, b: str, difference: str = "") -> Row:
    return {"": name, "A": a, "B": b, "B less A": difference}


def _classes(one: ComparedSubnet) -> str:
    shown = ", ".join(one.classes[:4])
    return shown if len(one.classes) <= 4 else f"{shown}, … ({len(one.classes)})"


def _accuracy(found: BestAccuracy | None) -> str:
    if found is None:
        return "never scored"
    tuned = "" if found.is_final else ", before fine-tuning"
    return f"{found.metric} {share(found.value, found.interval)} of {found.num_images} {found.split} images{tuned}"


def _accuracy_difference(found: Comparison) -> str:
    told = found.differences.accuracy
    if told is None:
        return f"not compared: {found.differences.no_accuracy}"
    return f"{100 * told.difference:+.1f} points{', equal within the interval' if told.is_equal else ''}"


def _latency(one: ComparedSubnet, device: str) -> str:
    row: ComparedLatency | None = next((found for found in one.latencies if found.device == device), None)
    if row is None or row.latency_ms is None:
        return "not known"
    word = "predicted" if row.measured_latency_ms is None else row.provenance
    beside = [f"predicted {interval(row.predicted_interval_ms)}"] if row.predicted_interval_ms else []
    beside += [f"real board {interval(row.board_interval_ms)}"] if row.board_interval_ms else []
    return f"{milliseconds(row.latency_ms)} {word}" + (f" ({'; '.join(beside)})" if beside else "")


def _certificates(one: ComparedSubnet) -> str:
    return (
        "; ".join(
            f"{row.verdict}, {row.budget_ms:g} ms on {row.device}{' (file gone)' if row.is_missing else ''}"
            for row in one.certificates
            if row.budget_ms is not None
        )
        or "none"
    )


def _bundle(bundle: ComparedBundle | None) -> str:
    if bundle is None:
        return "none"
    if bundle.is_missing:
        return f"{bundle.dir} (gone)"
    return f"{bundle.dir} ({'fine-tuned' if bundle.is_finetuned else 'not fine-tuned'})"
