"""Score the single subnet on one board on the images that the boards were scored on."""

import numpy as np

from nuwa_search.core.errors import NuwaError
from nuwa_search.core.logits import logits_of
from nuwa_search.core.paired import bootstrap_interval
from nuwa_search.core.proportion import wilson_interval
from nuwa_search.core.tensors import SplitTensors
from nuwa_search.deploy.collaborate.layout import Rival
from nuwa_search.deploy.collaborate.npz import Floats
from nuwa_search.search.collaborate.answer import FoundRival
from nuwa_search.search.collaborate.searched import SearchedRival
from nuwa_search.search.job.inputs import Inputs

RIVAL = "rival"
"""Folder of the rival's bundle in the collaboration's."""


def score_rival(
    inputs: Inputs, searched: SearchedRival, *, test: SplitTensors, top1_search: float, ours: Floats
) -> FoundRival:
    """Score the single subnet on the same images; it is better where it is as accurate on the search split.

    Args:
        inputs: Of the whole task.
        searched: The single subnet.
        test: Test split, decoded.
        top1_search: Accuracy of the boards on the search split.
        ours: (B,) share of the ways that the boards answer with which each test image is answered right.

    Raises:
        NuwaError: If its bundle has no certificate.
    """
    bundle, preprocess = searched.bundle, inputs.base.preprocess
    model, search = bundle.load_model(), inputs.tensors.search
    theirs = float((logits_of(model, search.images, preprocess).argmax(dim=1) == search.labels).double().mean())
    right = (logits_of(model, test.images, preprocess).argmax(dim=1) == test.labels).numpy()
    top1 = float(right.mean())
    differences = np.asarray(ours, np.float64) - right
    proof = None if bundle.certificate is None else bundle.certificate.measurement
    if proof is None:
        raise NuwaError(f"the bundle of {searched.study} has no certificate", hint="give another --study")
    return FoundRival(
        Rival(
            device=searched.device,
            predicted_ms=proof.latency_ms.median,
            top1=top1,
            top1_interval=wilson_interval(round(top1 * len(test)), len(test)),
            subnet_id=bundle.subnet_id,
            bundle=RIVAL,
            is_better=theirs >= top1_search,
        ),
        study=searched.study,
        top1_search=theirs,
        difference=(float(differences.mean()), *bootstrap_interval(differences)),
    )
