"""Check a bundle: its files, its models against the weights, and its latency on a device now."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from nuwa_search.core.budget import Budget, Verdict
from nuwa_search.core.device import PROTOCOL, Device, DeviceSpec, Measurement
from nuwa_search.core.errors import NoAnswerError, NuwaError, OutsideError
from nuwa_search.core.measuring.sustained import judged_by
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.bundle import ARCH, WEIGHTS, read_bundle
from nuwa_search.deploy.certificate import Certificate
from nuwa_search.deploy.device_bundles import bundle_for
from nuwa_search.deploy.file_hashes import CERTIFICATE
from nuwa_search.deploy.models import onnx_from_text
from nuwa_search.deploy.on_device import agreement_on_device
from nuwa_search.deploy.precision import spec_of_bundle
from nuwa_search.deploy.verify_answer import VerifyAnswer, answer_of_check
from nuwa_search.deploy.verify_bundle import BundleCheck, check_images, verify_bundle
from nuwa_search.latency.devices.find import opened_device
from nuwa_search.store.store import Store


class DamagedBundleError(NoAnswerError):
    """A bundle that cannot even be read: a part is missing or damaged."""


@dataclass(frozen=True)
class Verified:
    """What a check of a bundle found; ``answer`` is the `nuwa.verify/1` document.

    Args:
        answer: All of it, as values.
        certificate: Of the bundle.
        spec: Device that it was measured on now; None where none was named.
        measurement: Taken there; None likewise.
        verdict_now: On that measurement; None where the certificate's budget is not about that device.
    """

    answer: VerifyAnswer
    certificate: Certificate
    spec: DeviceSpec | None = None
    measurement: Measurement | None = None
    verdict_now: Verdict | None = None

    @property
    def is_good(self) -> bool:
        """Whether files and models are as certified, and the budget is kept where it was measured again."""
        return self.answer.is_good and (self.verdict_now is None or self.verdict_now.is_met)

    def to_json(self) -> dict[str, Any]:
        """Render the `nuwa.verify/1` answer."""
        return self.answer.to_json()


def read_check(folder: Path) -> BundleCheck:
    """Read and check a bundle.

    Raises:
        NuwaError: If the folder is no bundle.
        DamagedBundleError: If a part of the bundle is missing or damaged, its certificate included.
    """
    try:
        return verify_bundle(read_bundle(folder))
    except OutsideError:
        raise
    except NuwaError as error:
        if not any((folder / name).exists() for name in (ARCH, WEIGHTS, CERTIFICATE)):
            raise
        said = f"bundle {folder} is not as it was certified: {error.message}"
        raise DamagedBundleError(said, hint=error.hint) from error


def verify(store: Store, folder: Path, named: DeviceSpec | None, *, seed: int) -> Verified:
    """Check a bundle, and measure it on a device if one is named.

    Args:
        store: The database.
        folder: The bundle; the one inside it for ``named`` where it has one.
        named: The device; None checks files and models alone.
        seed: Of an emulated device's noise.

    Raises:
        NuwaError: If the folder is no bundle.
        DamagedBundleError: If a part of it is missing or damaged.
        OutsideError: If the device failed.
    """
    if named is not None:
        folder = bundle_for(folder, named.name)
    check = read_check(folder)
    if named is None:
        return Verified(answer_of_check(folder, check, measured=None, now=None), check.certificate)
    spec = spec_of_bundle(named, check.certificate.device)
    model = onnx_from_text(str(folder), store, spec)
    budget = budget_there(check.certificate, spec)
    with opened_device(spec, seed=seed, store=store) as opened:
        device = judged_by(opened, budget.statistic if budget else None)
        measured = device.measure(model, protocol=PROTOCOL)
        if check.agreements:  # the files could be read
            check = dataclasses.replace(check, agreements=(*check.agreements, *_on_device(device, model, folder)))
    now = budget.check(measured) if budget else None
    answer = answer_of_check(folder, check, measured=measured, now=now)
    return Verified(answer, check.certificate, spec, measured, now)


def budget_there(certificate: Certificate, spec: DeviceSpec) -> Budget | None:
    """Return the certified budget where it speaks of ``spec``; None where there is none, or of another device."""
    return certificate.budget if spec.device_id == certificate.device.device_id else None


def is_judged_sustained(folder: Path, named: DeviceSpec) -> bool:
    """Whether a check there keeps the device busy for minutes; False for what cannot be read, which is told later."""
    try:
        certificate = read_bundle(bundle_for(folder, named.name)).certificate
    except NuwaError:
        return False
    if certificate is None:
        return False
    budget = budget_there(certificate, spec_of_bundle(named, certificate.device))
    return budget is not None and budget.statistic == "sustained"


def _on_device(device: Device, graph: onnx.ModelProto, folder: Path) -> tuple[Agreement, ...]:
    """Compare what the device compiled, the very file that was timed, with the weights."""
    bundle = read_bundle(folder)
    return agreement_on_device(
        device, graph, model=bundle.load_model(), images=check_images(bundle), preprocess=bundle.preprocess
    )
