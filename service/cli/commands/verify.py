"""``nuwa verify``: check a bundle's files and numbers, and its latency on a device."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nuwa_search.core.emulator import device_label
from nuwa_search.core.errors import NoAnswerError, NuwaError
from nuwa_search.service.cli.board_line import board_line
from nuwa_search.service.cli.command import NuwaCommand
from nuwa_search.service.cli.figures import interval
from nuwa_search.service.cli.flags import with_flags
from nuwa_search.service.cli.laboratory import laboratory
from nuwa_search.service.cli.missed import missed_budget
from nuwa_search.service.cli.output import Output, output_from_flags
from nuwa_search.service.cli.verify_all import verify_all

if TYPE_CHECKING:
    from nuwa_search.core.device import DeviceSpec
    from nuwa_search.deploy.verify_answer import VerifyAnswer


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
    with laboratory(values, say=output.note) as lab:
        named = None if values["device"] is None else lab.device(values["device"])
        from nuwa_search.lab.verify import DamagedBundleError

        try:
            with _line(folder, named, output):
                found = lab.verify(folder, device=values["device"], seed=values["seed"])
        except DamagedBundleError as error:
            if output.json:
                faults = [str(error.__cause__)]
                output.document({"schema": "nuwa.verify/1", "dir": str(folder), "is_good": False, "faults": faults})
            raise
    if output.json:
        output.document(found.to_json())
    else:
        output.table(_rows(found.answer))
    folder = found.answer.dir
    for note in (*found.answer.notes, *_said_of_further(folder)):
        output.note(note)
    certificate, measured = found.certificate, found.measurement
    if found.spec is not None and found.spec.device_id != certificate.device.device_id:
        output.warn(
            f"the certificate is for {device_label(certificate.device)}: its budget says nothing about "
            f"{found.spec.name}"
        )
    if measured is not None and measured.board_interval_ms is not None:
        output.note(f"emulated; a real board: {interval(measured.board_interval_ms)} ms")
    if found.verdict_now is not None and not found.verdict_now.is_met:
        raise missed_budget(f"bundle {folder} does not keep its certified budget now", found.verdict_now)
    if not found.answer.is_good:
        said = "; ".join(found.answer.faults)
        raise NoAnswerError(f"bundle {folder} is not as it was certified: {said}", hint="copy or export it again")


def _line(folder: Path, named: "DeviceSpec | None", output: Output) -> AbstractContextManager[object]:
    """Break the silence while a board builds, or is kept busy for minutes."""
    if named is None:
        return nullcontext()
    from nuwa_search.lab.verify import is_judged_sustained

    return board_line(named, output, is_sustained=is_judged_sustained(folder, named))


def _said_of_further(folder: Path) -> list[str]:
    """Print which bundles of further devices lie inside this one: each has a certificate of its own."""
    from nuwa_search.deploy.bundle import read_bundle
    from nuwa_search.deploy.device_bundles import further_bundles

    certificates = [read_bundle(path).certificate for path in further_bundles(folder)]
    return [
        f"for {one.device.name} there is another inside: nuwa verify {folder} --device {one.device.name}"
        for one in certificates
        if one is not None
    ]


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
