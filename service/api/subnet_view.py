"""Everything about one subnet as one document."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from nuwa_search.core.arch import Arch, dict_from_arch
from nuwa_search.core.block_parts import block_parts
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.core.source_name import DEMO_BASE, DEMO_DATA, PACKAGED_BASE
from nuwa_search.deploy.bundle_owner import holds_subnet, object_in
from nuwa_search.search.derive_command import derive_command, on_database
from nuwa_search.service.api.bundle_view import bundle_document
from nuwa_search.service.api.context import moment
from nuwa_search.service.api.lineage_view import lineage_steps
from nuwa_search.service.api.making import bundle_job_document, find_bundle_job
from nuwa_search.service.api.predictions import LatencyByBlock, latency_by_block
from nuwa_search.service.api.problems import not_found
from nuwa_search.service.api.roots import is_inside
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.service.api.subnet_parts import CertificatePart, LatencyPart
from nuwa_search.store.lineage import LineageMeasurement, find_lineage
from nuwa_search.store.records import BaseRecord, SubnetRecord, TaskRecord
from nuwa_search.store.store import Store
from nuwa_search.store.wanted import SubnetFilter


def subnet_document(subnet_id: str, store: Store, settings: ServiceSettings) -> dict[str, Any]:
    """Put the document of a subnet together.

    Raises:
        HttpError: 404, if there is none of that id.
    """
    try:
        record = store.load_subnet(subnet_id)
    except NuwaError as error:
        raise not_found(error) from error
    base, task = store.load_base(record.base_id), store.load_task(record.task_id)
    stored = find_lineage(store, subnet_id)
    certificates = [_certificate(row, subnet_id, settings) for row in store.certificates.find(subnet_id=subnet_id)]
    bundle = bundle_document(subnet_id, stored, settings)
    latencies = _latencies(record, store)
    job = find_bundle_job(subnet_id, store)
    return {
        "schema": "nuwa.subnet/1",
        "subnet_id": subnet_id,
        "arch_id": record.arch.arch_id,
        **_cost(record.arch),
        "arch": dict_from_arch(record.arch),
        "base": {
            "name": base.name,
            "base_id": base.base_id,
            "arch_id": base.arch.arch_id,
            **_cost(base.arch),
            "arch": dict_from_arch(base.arch),
        },
        "blocks": [asdict(block) for block in block_parts(record.arch, base.arch)],
        "task": _task(task),
        "derivation": record.derivation,
        "study": record.study,
        "trial_number": record.trial_number,
        "latencies": [asdict(latency) for latency in latencies],
        "scores": [
            {
                **{"kind": s.kind, "split": s.split, "num_images": s.num_images, "seed": s.seed, "value": s.value},
                "interval": interval_of_share(s.value, s.num_images) if s.kind.startswith("top") else None,
            }
            for s in store.scores(subnet_id)
        ],
        "measurements": [_measurement(row) for row in stored.measurements],
        "lineage": [asdict(step) for step in lineage_steps(record, base, task, stored, certificates)],
        "certificates": [certificate.to_json() for certificate in certificates],
        "bundle": bundle,
        "bundle_job": None if job is None else bundle_job_document(job),
        "commands": [
            *_commands(
                record, latencies, certificates, stored.bundle_dir, about=_about(base, task), db=store.command_url
            ),
            *_cut_again(record, store),
        ],
    }


def _cost(arch: Arch) -> dict[str, int]:
    return {"params": count_params(arch), "macs": count_macs(arch)}


def _task(task: TaskRecord) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "data": task.data,
        "classes": list(task.classes),
        "splits": task.splits,
        "search_split_seen_by_base": task.search_split_seen_by_base,
    }


def _latencies(record: SubnetRecord, store: Store) -> list[LatencyPart]:
    known = [field.name for field in fields(LatencyPart) if field.name != "by_block"]
    rows: Sequence[Mapping[str, Any]] = store.subnets.find(SubnetFilter(subnet_ids=[record.subnet_id]))
    return [
        LatencyPart(
            **{name: row[name] for name in known},
            by_block=_by_block(record.arch, row["device_id"], row["predictor_id"], store=store),
        )
        for row in rows
        if row["device_id"] is not None
    ]


def _by_block(arch: Arch, device_id: str, predictor_id: str | None, *, store: Store) -> LatencyByBlock | None:
    """Split the latency by the predictor that predicted it, or by the device's newest."""
    stored = store.predictors(device_id)
    own = [record for record in stored if record.predictor_id == predictor_id]
    for record in (*own, *stored[:1]):
        found = latency_by_block(record, arch)
        if found is not None:
            return found
    return None


def _measurement(found: LineageMeasurement) -> dict[str, Any]:
    """Render a measurement, what its row tells in detail beside the rest."""
    return {
        "measurement_id": found.measurement_id,
        "device": found.device,
        "device_id": found.device_id,
        "provenance": found.provenance,
        "samples": found.samples,
        "created_at": moment(found.created_at),
        **found.details,
        "protocol": {"protocol_id": found.protocol_id, **found.protocol},
    }


def _certificate(row: Mapping[str, Any], subnet_id: str, settings: ServiceSettings) -> CertificatePart:
    """Read the file of a listed certificate, where the service may show it."""
    read_here = ("is_missing", "certificate")
    path = None if row["path"] is None else Path(row["path"])
    is_served = path is not None and is_inside(path, settings.roots)
    is_own = path is not None and path.is_file() and holds_subnet(path.parent, subnet_id)
    return CertificatePart(
        **{field.name: row[field.name] for field in fields(CertificatePart) if field.name not in read_here},
        is_missing=not is_own,
        certificate=object_in(path) if path is not None and is_own and is_served else None,
    )


def _cut_again(record: SubnetRecord, store: Store) -> list[dict[str, str]]:
    if record.derivation.get("origin") == "small-model":
        return []  # it was trained, not cut
    return [
        {"what": "cut it again, as it was scored", "command": derive_command(record.subnet_id, db=store.command_url)}
    ]


def _about(base: BaseRecord, task: TaskRecord) -> str:
    """Name base, images and classes on a command line; what a search takes by itself is left out."""
    words = [] if base.name == DEMO_BASE else ["--base", base.name]
    if task.data != DEMO_DATA or base.name not in (DEMO_BASE, PACKAGED_BASE):
        words += ["--data", task.data]
    if not any("," in name for name in task.classes):
        words += ["--classes", ",".join(task.classes)]
    return "".join(f" {shlex.quote(word)}" for word in words)


def _commands(
    record: SubnetRecord,
    latencies: list[LatencyPart],
    certificates: list[CertificatePart],
    folder: str | None,
    *,
    about: str,
    db: str,
) -> list[dict[str, str]]:
    device = next((row.device for row in latencies if row.measured_latency_ms is not None), None)
    device = device or next((row.device for row in latencies), "jetson-nano")
    commands = []
    if folder is not None:
        commands += [
            {
                "what": "run it on its sample images",
                "command": shlex.join(["python", f"{folder}/run.py", f"{folder}/samples"]),
            },
            {"what": "check it", "command": on_database("nuwa", "verify", folder, "--device", device, db=db)},
            {
                "what": "measure its latency",
                "command": on_database("nuwa", "measure", folder, "--device", device, db=db),
            },
        ]
    else:
        predict = on_database("nuwa", "predict", record.arch.arch_id, "--device", device, db=db)
        commands.append({"what": "predict its latency", "command": predict})
    if certificates:
        again = f"nuwa-search {budgets_again(certificates)}{about} --db {shlex.quote(db)}"
        commands.append({"what": "search again", "command": again})
    return commands


def budgets_again(certificates: list[CertificatePart]) -> str:
    """Name each device that a subnet is certified for with its newest budget, the first that was certified first."""
    newest: dict[str, float] = {}
    for one in certificates:
        newest.setdefault(one.device, one.budget_ms)
    if len(newest) == 1:
        ((device, budget_ms),) = newest.items()
        return f"--budget-ms {budget_ms:g} --device {shlex.quote(device)}"
    pairs = reversed(newest.items())
    return " ".join(f"--budget-ms {shlex.quote(f'{budget_ms:g}@{device}')}" for device, budget_ms in pairs)
