"""Make a bundle of a stored subnet: cut it again, as it was scored, and export it for a device."""

from pathlib import Path
from typing import Any

from nuwa_search.core.counting import counts_to
from nuwa_search.search.job.event_log import EventLog
from nuwa_search.store.records import JobClaim
from nuwa_search.store.store import Store


def make_bundle(claim: JobClaim, store: Store, *, cache_dir: Path) -> dict[str, Any]:
    """Do a job of kind ``bundle``; return its answer.

    The weights are as they were cut: nothing is fine-tuned. The export is checked against them and measured on the
    device, and certified where the job names a budget.

    Raises:
        NuwaError: If the subnet cannot be cut again, or the device cannot take its model.
        NoAnswerError: If the export does not agree with the weights.
        OutsideError: If the device failed.
    """
    from nuwa_search.deploy.bundle import read_bundle
    from nuwa_search.lab.derive import derive
    from nuwa_search.lab.export import export
    from nuwa_search.lab.export_request import ExportWishes
    from nuwa_search.latency.devices.find import find_device

    job = claim.job
    asked, identity = job.settings, str(job.settings["subnet_id"])
    log = EventLog(lambda kind, payload: store.add_job_event(job.job_id, kind, payload))
    log.say("state", {"state": "running", "reason": ""})
    spec, folder = find_device(asked["device"], store), Path(asked["folder"])
    with counts_to(log.count):
        log.say("step", {"text": f"cutting {identity} out of {asked['base']}"})
        cut = derive(store, None, subnet=identity, folder=folder, cache_dir=cache_dir, source={})
        for note in cut.notes:
            log.say("step", {"text": note})
        log.say("step", {"text": f"exporting for {spec.name}, checking and measuring it there"})
        wishes = ExportWishes(budget_ms=asked["budget_ms"])
        export(store, folder, spec, wishes, replace=True, say=lambda text: log.say("step", {"text": text}))
    certificate = read_bundle(folder).certificate
    measured = None if certificate is None else certificate.measurement
    return {
        "schema": "nuwa.bundle/1",
        "subnet_id": identity,
        "dir": str(folder),
        "device": spec.name,
        "is_finetuned": False,
        "verdict": None if certificate is None else certificate.verdict,
        "measured_latency_ms": None if measured is None else measured.latency_ms.median,
        "provenance": None if measured is None else measured.provenance,
        "top1_search": cut.top1_search,
        "top1_search_interval": cut.top1_search_interval,
    }
