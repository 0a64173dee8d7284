"""Which opset a model is exported at for a TensorRT release: one that its parser reads, operators and all.

The parser's opset and its list of operators do not move together: 8.5 reads opset 17 and takes the
LayerNormalization of it from 8.6 on, 10.0 reads opset 20 and takes the Gelu of it from 10.15 on. Below such an
opset the export writes the operator out in others.
"""

from nuwa_search.deploy.export.opsets import MAX_OPSET, NODE_OPSETS
from nuwa_search.deploy.tensorrt.operator_lists import parser_operators
from nuwa_search.deploy.tensorrt.version import TrtVersion, trt_features


def export_opset(version: TrtVersion) -> int:
    """Return the newest opset whose exported graphs hold only what the parser of ``version`` takes."""
    known = parser_operators(version)
    too_new = [since for operator, since in NODE_OPSETS.items() if operator not in known]
    return min(trt_features(version).opset, MAX_OPSET, *(since - 1 for since in too_new))
