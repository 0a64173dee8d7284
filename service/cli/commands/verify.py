"""``nuwa verify``: check a bundle's files and numbers, and its latency on a device."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nuwa_search.core.device import PROTOCOL
from nuwa_search.core.emulator import device_label
from nuwa_search.core.errors import NoAnswerError, NuwaError, OutsideError
from nuwa_search.latency.devices.find import find_device, opened_device
from nuwa_search.service.cli.board_line import board_line
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.database import database
from nuwa_search.service.cli.figures import interval
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.missed import missed_budget
from nuwa_search.service.cli.output import Output, output_from_flags
from nuwa_search.service.cli.verify_all import verify_all

if TYPE_CHECKING:
    import onnx

    from nuwa_search.core.device import Device, DeviceSpec
    from nuwa_search.deploy.verify import Agreement
    from nuwa_search.deploy.verify_bundle import BundleCheck
    from nuwa_search.service.workflow.verify_answer import VerifyAnswer


@click.command("verify", cls=NuwaCommand)
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@with_flags("device", "all", defaults={"device": None})
def command(folder: Path | None, **values: Any) -> None:
    """Check bundle FOLDER: file hashes, ONNX against weights, and with --device its latency and its engine there.

    With --all: which of the bundles certified for --device have to be built again because another TensorRT or GPU is
    there by now (exit status 1), and which to be measured again; those of the database, or those below FOLDER.
    """
    output = output_from_flags(values)
    if values["all"]:
        verify_all(folder, values, output)
        return
    if folder is None:
        raise NuwaError("no bundle was named", hint="nuwa verify DIR, or --all --device D for every shipped one")
    _verify(folder, values, output)


def _verify(folder: Path, values: Mapping[str, Any], output: Output) -> None:
    named = _device(values)  # a mistyped one is told before anything heavy is loaded
    from nuwa_search.service.workflow.verify_answer import answer_of_check

    if named is not None:
        from nuwa_search.deploy.device_bundles import bundle_for

        folder = bundle_for(folder, named.name)
    check = _check(folder, output)
    measured = now = None
    if named is not None:
        from nuwa_search.core.measuring.sustained import judged_by
        from nuwa_search.service.workflow.models import onnx_from_text
        from nuwa_search.service.workflow.precision import spec_of_bundle

        spec = spec_of_bundle(named, check.certificate.device)
        with database(values) as store:
            model = onnx_from_text(str(folder), store, spec)
        budget = check.certificate.budget if spec.device_id == check.certificate.device.device_id else None
        is_sustained = budget is not None and budget.statistic == "sustained"
        line = board_line(spec, output, is_sustained=is_sustained)
        with opened_device(spec, seed=values["seed"]) as opened, line:
            device = judged_by(opened, budget.statistic if budget else None)
            measured = device.measure(model, protocol=PROTOCOL)
            if check.agreements:  # the files could be read
                check = dataclasses.replace(check, agreements=(*check.agreements, *_on_device(device, model, folder)))
        now = budget.check(measured) if budget else None
    answer = answer_of_check(folder, check, measured=measured, now=now)
    if output.json:
        output.document(answer.to_json())
    else:
        output.table(_rows(answer))
    for note in (*check.notes, *_said_of_further(folder)):
        output.note(note)
    certificate = check.certificate
    if measured is not None and spec.device_id != certificate.device.device_id:
        output.warn(
            f"the certificate is for {device_label(certificate.device)}: its budget says nothing about {spec.name}"
        )
    if measured is not None and measured.board_interval_ms is not None:
        output.note(f"emulated; a real board: {interval(measured.board_interval_ms)} ms")
    if now is not None and not now.is_met:
        raise missed_budget(f"bundle {folder} does not keep its certified budget now", now)
    if not check.is_good:
        raise NoAnswerError(
            f"bundle {folder} is not as it was certified: {'; '.join(check.faults)}", hint="copy or export it again"
        )


def _said_of_further(folder: Path) -> list[str]:
    """Say which bundles of further devices lie inside this one: each has a certificate of its own."""
    from nuwa_search.deploy.bundle import read_bundle
    from nuwa_search.deploy.device_bundles import further_bundles

    certificates = [read_bundle(path).certificate for path in further_bundles(folder)]
    return [
        f"for {one.device.name} there is another inside: nuwa verify {folder} --device {one.device.name}"
        for one in certificates
        if one is not None
    ]


def _on_device(device: "Device", graph: "onnx.ModelProto", folder: Path) -> "tuple[Agreement, ...]":
    """Compare what the device compiled, the very file that was timed, with the weights."""
    from nuwa_search.deploy.bundle import read_bundle
    from nuwa_search.deploy.verify_bundle import check_images
    from nuwa_search.service.workflow.on_device import agreement_on_device

    bundle = read_bundle(folder)
    return agreement_on_device(
        device, graph, model=bundle.load_model(), images=check_images(bundle), preprocess=bundle.preprocess
    )


def _device(values: Mapping[str, Any]) -> "DeviceSpec | None":
    if values["device"] is None:
        return None
    with database(values) as store:
        return find_device(values["device"], store)


def _check(folder: Path, output: Output) -> "BundleCheck":
    """Read and check a bundle; one that cannot even be read failed the check.

    Raises:
        NuwaError: If the folder is no bundle.
        NoAnswerError: If a part of the bundle is missing or damaged, its certificate included.
    """
    from nuwa_search.deploy.bundle import ARCH, WEIGHTS, read_bundle
    from nuwa_search.deploy.file_hashes import CERTIFICATE
    from nuwa_search.deploy.verify_bundle import verify_bundle

    try:
        return verify_bundle(read_bundle(folder))
    except OutsideError:
        raise
    except NuwaError as error:
        if not any((folder / name).exists() for name in (ARCH, WEIGHTS, CERTIFICATE)):
            raise
        if output.json:
            output.document(
                {"schema": "nuwa.verify/1", "dir": str(folder), "is_good": False, "faults": [error.message]}
            )
        raise NoAnswerError(f"bundle {folder} is not as it was certified: {error.message}", hint=error.hint) from error


def _rows(answer: "VerifyAnswer") -> list[dict[str, str]]:
    rows = [{"check": "files", "result": "; ".join(answer.faults) or "as certified"}]
    rows += [
        {
            "check": f"{a.check} against PyTorch",
            "result": f"argmax {100 * a.argmax_agreement:.1f} %, largest error {a.max_abs_error:.2g} ({a.runtime})",
        }
        for a in answer.agreement
    ]
    rows.append({"check": "certificate", "result": f"{answer.verdict}, budget {answer.budget_ms} ms"})
    if answer.latency_ms is not None:
        rows.append({"check": "latency now", "result": f"{answer.latency_ms.median:.2f} ms {answer.provenance}"})
    return rows
