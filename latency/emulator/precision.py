"""What a board computes in, and what its TensorRT fuses there."""

from nuwa_search.core.device import Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.latency.emulator.boards import Board
from nuwa_search.latency.emulator.fusion_rules import FusionRules
from nuwa_search.latency.emulator.graph import Graph
from nuwa_search.latency.emulator.operator_kinds import has_quantisers


def fusion_rules(board: Board, precision: Precision) -> FusionRules:
    """Return what the TensorRT of ``board`` fuses in an engine of ``precision``."""
    is_new = board.has_new_fusions
    return FusionRules(
        attention=is_new and precision != "fp32",
        norms=is_new,
        conv_activations=is_new and precision != "fp32",
        reformats=not board.tensor_macs and precision == "fp16",
    )


def check_precision(graph: Graph, board: Board, precision: Precision) -> None:
    """Refuse a precision that the board or the graph does not have.

    Raises:
        NuwaError: If it is not available; the message says why.
    """
    is_quantised = has_quantisers(graph)
    if not board.has_int8 and (precision == "int8" or is_quantised):
        reason = (
            "emulated in fp32 and fp16 only"
            if board.tensor_macs
            else "without native INT8: TensorRT runs it slower than FP16"
        )
        wanted = "is asked for int8" if precision == "int8" else "is given a graph with QuantizeLinear nodes (INT8)"
        raise NuwaError(
            f"{board.name} {wanted}, and it is {reason}",
            hint="export without quantisation and use --precision fp16",
        )
    if precision == "int8" and not is_quantised:
        raise NuwaError(
            f"{board.name} is asked for int8, and the graph has no QuantizeLinear node: TensorRT would make up ranges",
            hint="quantise it first (nuwa export --precision int8), or ask for fp16",
        )
    if precision == "fp32" and is_quantised:
        raise NuwaError(
            f"{board.name} is asked for fp32, and the graph holds QuantizeLinear nodes, which compute in INT8",
            hint="export it again without quantisation, or ask for int8",
        )
