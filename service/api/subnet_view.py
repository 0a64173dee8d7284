"""Everything about one subnet as one document."""

import shlex
from pathlib import Path
from typing import Any

from nuwa_search.core.arch import EMPTY_BLOCK, Arch, dict_from_arch
from nuwa_search.core.cost import count_macs, count_params
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.proportion import interval_of_share
from nuwa_search.core.source_name import DEMO_BASE, DEMO_DATA, PACKAGED_BASE
from nuwa_search.service.api.bundle_view import bundle_document, read_certificate
from nuwa_search.service.api.context import with_moments
from nuwa_search.service.api.lineage_view import lineage_steps
from nuwa_search.service.api.predictions import latency_by_block
from nuwa_search.service.api.problems import not_found
from nuwa_search.service.api.roots import is_inside
from nuwa_search.service.api.settings import ServiceSettings
from nuwa_search.service.derive_command import derive_command, on_database
from nuwa_search.store.lineage import find_lineage
from nuwa_search.store.lists import query_certificates
from nuwa_search.store.query import find_subnets
from nuwa_search.store.records import BaseRecord, JsonDict, SubnetRecord, TaskRecord
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
    certificates = [_certificate(row, settings) for row in query_certificates(store, subnet_id=subnet_id)]
    bundle = bundle_document(subnet_id, stored["bundle_dir"], settings)
    latencies = _latencies(record, store)
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
        "blocks": block_rows(record.arch, base.arch),
        "task": _task(task),
        "derivation": record.derivation,
        "study": record.study,
        "trial_number": record.trial_number,
        "latencies": latencies,
        "scores": [
            {
                **{"kind": s.kind, "split": s.split, "num_images": s.num_images, "seed": s.seed, "value": s.value},
                "interval": interval_of_share(s.value, s.num_images) if s.kind.startswith("top") else None,
            }
            for s in store.scores(subnet_id)
        ],
        "measurements": [_measurement(row) for row in stored["measurements"]],
        "lineage": lineage_steps(record, base, task, stored, certificates),
        "certificates": certificates,
        "bundle": bundle,
        "commands": [
            *_commands(
                record, latencies, certificates, stored["bundle_dir"], about=_about(base, task), db=store.command_url
            ),
            *_cut_again(record, store),
        ],
    }


def _cost(arch: Arch) -> dict[str, int]:
    return {"params": count_params(arch), "macs": count_macs(arch)}


def block_rows(arch: Arch, base: Arch) -> list[dict[str, Any]]:
    """Put each block of a positional arch beside the base's; shares are of widths, 0 to 1."""
    rows = []
    for index, theirs in enumerate(base.blocks):
        mine = arch.blocks[index] if index < len(arch.blocks) else EMPTY_BLOCK
        whole = theirs.num_heads * (theirs.qk_dim + theirs.v_dim)
        rows.append(
            {
                "index": index,
                "kept": not mine.is_empty,
                **{name: getattr(mine, name) for name in ("num_heads", "qk_dim", "v_dim", "mlp_width")},
                **{f"base_{name}": getattr(theirs, name) for name in ("num_heads", "qk_dim", "v_dim", "mlp_width")},
                "attn_share": mine.num_heads * (mine.qk_dim + mine.v_dim) / whole if whole else 0.0,
                "mlp_share": mine.mlp_width / theirs.mlp_width if theirs.mlp_width else 0.0,
            }
        )
    return rows


def _task(task: TaskRecord) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "data": task.data,
        "classes": list(task.classes),
        "splits": task.splits,
        "search_split_seen_by_base": task.search_split_seen_by_base,
    }


def _latencies(record: SubnetRecord, store: Store) -> list[dict[str, Any]]:
    names = (
        *("device", "device_id", "predicted_latency_ms", "predicted_interval_ms", "measured_latency_ms"),
        *("provenance", "measurement_id", "predictor_id"),
    )
    rows = find_subnets(store, SubnetFilter(subnet_ids=[record.subnet_id]))
    return [
        {name: row[name] for name in names} | {"by_block": _by_block(record.arch, row, store)}
        for row in rows
        if row["device_id"] is not None
    ]


def _by_block(arch: Arch, row: JsonDict, store: Store) -> dict[str, Any] | None:
    stored = store.predictors(row["device_id"])
    own = [record for record in stored if record.predictor_id == row["predictor_id"]]
    for record in (*own, *stored[:1]):
        found = latency_by_block(record, arch)
        if found is not None:
            return found
    return None


def _measurement(row: JsonDict) -> dict[str, Any]:
    values: dict[str, Any] = with_moments(row)
    protocol = {"protocol_id": values.pop("protocol_id"), **values.pop("protocol")}
    details: dict[str, Any] = values.pop("details")
    return values | details | {"protocol": protocol}


def _certificate(row: JsonDict, settings: ServiceSettings) -> dict[str, Any]:
    names = (
        *("certificate_id", "verdict", "budget_ms", "measured_latency_ms", "provenance", "device", "measurement_id"),
        *("created_at", "path"),
    )
    path = None if row["path"] is None else Path(row["path"])
    is_served = path is not None and is_inside(path, settings.roots)
    return {name: row[name] for name in names} | {
        "is_missing": path is None or not path.is_file(),
        "certificate": read_certificate(path) if path is not None and is_served else None,
    }


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
    latencies: list[dict[str, Any]],
    certificates: list[dict[str, Any]],
    folder: str | None,
    *,
    about: str,
    db: str,
) -> list[dict[str, str]]:
    device = next((row["device"] for row in latencies if row["measured_latency_ms"] is not None), None)
    device = device or next((row["device"] for row in latencies), "jetson-nano")
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
        budget = f"{certificates[0]['budget_ms']:g}"
        again = f"nuwa-search --budget-ms {budget} --device {device}{about} --db {shlex.quote(db)}"
        commands.append({"what": "search again", "command": again})
    return commands
