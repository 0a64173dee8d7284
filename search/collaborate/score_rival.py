"""Score the single subnet on one board on the images that the boards were scored on."""

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.deploy.collaborate.rival import Rival
from nuwa_search.search.collaborate.answer import FoundRival
from nuwa_search.search.collaborate.score_net import score_net
from nuwa_search.search.collaborate.searched import SearchedRival
from nuwa_search.search.collaborate.seen import Rightness, ahead_by
from nuwa_search.search.job.inputs import Inputs

RIVAL = "rival"
"""Folder of the rival's bundle in the collaboration's."""


def score_rival(
    inputs: Inputs, searched: SearchedRival, *, test: SplitTensors, accuracy_search: float, ours: Rightness
) -> FoundRival:
    """Score the single subnet on the same images; it is better where it is as accurate on the search split.

    Args:
        inputs: Of the whole task.
        searched: The single subnet.
        test: Test split, decoded.
        accuracy_search: Of the boards, on the search split.
        ours: How the boards answer the test split.

    Raises:
        NuwaError: If its bundle has no certificate.
    """
    bundle, preprocess = searched.bundle, inputs.base.preprocess
    model = bundle.load_model()
    theirs = score_net(model, inputs.tensors.search, preprocess).accuracy
    found = score_net(model, test, preprocess)
    proof = None if bundle.certificate is None else bundle.certificate.measurement
    if proof is None:
        raise NuwaError(f"the bundle of {searched.study} has no certificate", hint="give another --study")
    return FoundRival(
        Rival(
            device=searched.device,
            predicted_ms=proof.latency_ms.median if searched.patches_ms is None else searched.patches_ms,
            top1=found.top1,
            top1_interval=found.top1_interval,
            subnet_id=bundle.subnet_id,
            bundle=RIVAL,
            is_better=theirs >= accuracy_search,
            miou=found.miou,
            miou_interval=found.miou_interval,
        ),
        study=searched.study,
        accuracy_search=theirs,
        difference=ahead_by(ours, found),
    )
