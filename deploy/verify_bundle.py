"""Check a bundle on any machine: its files against their hashes, its graph against its weights."""

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor

from nuwa_search.core.device import Precision
from nuwa_search.core.errors import NuwaError
from nuwa_search.core.images import ImageSet, pixels
from nuwa_search.core.img_size import sides_of
from nuwa_search.core.runtime import Runtime
from nuwa_search.deploy.agreement import Agreement
from nuwa_search.deploy.bundle import SAMPLES, Bundle
from nuwa_search.deploy.certificate import Certificate
from nuwa_search.deploy.file_hashes import FileChanges, compare_hashes
from nuwa_search.deploy.runtimes.model_file import parse_model, read_model_bytes
from nuwa_search.deploy.verify import input_kind_of, verify_fp16, verify_onnx
from nuwa_search.deploy.verify_engine import verify_engine

NUM_RANDOM_IMAGES = 16
"""Images of noise that stand in where none are given."""
SHIFT_FRACTION = 16
"""Sample images are shifted by this fraction of their side: another image to the patches, the same to people."""


@dataclass(frozen=True)
class BundleCheck:
    """What ``verify_bundle`` found.

    Args:
        files: Files that are not as the certificate says.
        agreements: Exported model, and the engine where it can run here, against the weights, run now.
        certificate: Of the bundle.
        notes: What could not be checked on this machine, and why.
    """

    files: FileChanges
    agreements: tuple[Agreement, ...]
    certificate: Certificate
    notes: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether all files are intact and all comparisons hold; the budget is the certificate's matter."""
        return self.files.is_intact and all(a.is_met for a in self.agreements)

    @property
    def faults(self) -> tuple[str, ...]:
        """Return what is wrong, one sentence each; empty when all is well."""
        said = [f"{name} was changed" for name in self.files.changed]
        said += [f"{name} is missing" for name in self.files.missing]
        said += [
            f"{a.check} on {a.runtime} disagrees with PyTorch: largest logit error {a.max_abs_error:.3g},"
            f" same prediction on {100 * a.argmax_agreement:.1f} % of {a.num_images} images"
            for a in self.agreements
            if not a.is_met
        ]
        return tuple(said)


def verify_bundle(bundle: Bundle, *, images: Tensor | None = None, runtime: Runtime | None = None) -> BundleCheck:
    """Hash every file again and compare the exported model with the weights.

    A bundle with changed files is compared too as far as it can be read, so that one run names
    everything that is wrong.

    Args:
        bundle: With a certificate.
        images: (N, in_chans, H, W) uint8; None takes what ``check_images`` makes of the bundle.
        runtime: What runs the graph; ONNX Runtime by default.

    Raises:
        NuwaError: If the bundle has no certificate, so that there is nothing to check it against.
    """
    if bundle.certificate is None:
        raise NuwaError(f"bundle {bundle.dir} has no certificate", hint="`nuwa export DIR --device D` writes one")
    files = compare_hashes(bundle.dir, bundle.certificate.files)
    agreements: tuple[Agreement, ...] = ()
    notes: tuple[str, ...] = ()
    is_readable = not {"model.onnx", "model.safetensors"} & {*files.changed, *files.missing}
    if is_readable:
        has_samples = not any(name.startswith(f"{SAMPLES}/") for name in (*files.changed, *files.missing))
        given = random_images(bundle) if images is None and not has_samples else images
        agreements = check_numbers(bundle, images=given, runtime=runtime)
        try:
            agreements += check_engine(bundle, images=check_images(bundle) if given is None else given)
        except NuwaError as error:
            notes = (f"the engine was not run: {error.message}",)
    return BundleCheck(files, agreements, bundle.certificate, notes)


def check_engine(bundle: Bundle, *, images: Tensor) -> tuple[Agreement, ...]:
    """Compare the bundle's engine with the weights; empty where it has none.

    Raises:
        NuwaError: If the engine is of another TensorRT, or this machine has none or no GPU.
    """
    if bundle.engine_path is None:
        return ()
    batch = bundle.certificate.device.batch if bundle.certificate else 1
    kind = input_kind_of(read_model_bytes(bundle.onnx_path)) if bundle.onnx_path else "normalised"
    model = bundle.load_model()
    return (verify_engine(bundle.engine_path, model, images, bundle.preprocess, batch=batch, input_kind=kind),)


def check_numbers(
    bundle: Bundle, *, images: Tensor | None = None, runtime: Runtime | None = None
) -> tuple[Agreement, ...]:
    """Compare the exported model with the weights: as exported, and in FP16 where the device computes in it.

    Raises:
        NuwaError: If the bundle has no exported model, or a file cannot be read.
    """
    if bundle.onnx_path is None:
        raise NuwaError(f"bundle {bundle.dir} has no model.onnx", hint="`nuwa export DIR --device D` writes one")
    data = read_model_bytes(bundle.onnx_path)
    model = bundle.load_model()
    given = check_images(bundle) if images is None else images
    check = _check_of(parse_model(data, origin=str(bundle.onnx_path)))
    agreements = [verify_onnx(model, data, given, bundle.preprocess, runtime=runtime, check=check)]
    is_half = bundle.certificate is not None and bundle.certificate.device.precision == "fp16"
    if is_half and check != "int8":
        agreements.append(verify_fp16(model, data, given, bundle.preprocess))
    return tuple(agreements)


def check_images(bundle: Bundle) -> Tensor:
    """Make images to compare models on: the bundle's samples mirrored and shifted, or noise where there are none.

    Noise finds a wrong graph, but says little about INT8, whose ranges are those of real images.

    Returns:
        (N, in_chans, H, W) uint8.
    """
    folder = bundle.dir / SAMPLES
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    if not paths or bundle.arch.in_chans != 3:
        return random_images(bundle)
    samples = ImageSet(paths, np.zeros(len(paths), dtype=np.int64), ("",), str(folder))
    plain = torch.from_numpy(pixels(samples, bundle.preprocess))
    both = torch.cat([plain, plain.flip(-1)])
    down, across = (max(1, side // SHIFT_FRACTION) for side in sides_of(bundle.arch.img_size))
    shifts = ((0, 0), (down, across), (-down, across), (down, -across))
    return torch.cat([both.roll(shift, dims=(-2, -1)) for shift in shifts])


def random_images(bundle: Bundle, *, num_images: int = NUM_RANDOM_IMAGES, seed: int = 0) -> Tensor:
    """Draw noise images (num_images, in_chans, H, W) uint8 for a bundle."""
    arch = bundle.arch
    shape = (num_images, arch.in_chans, *sides_of(arch.img_size))
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def _check_of(model: onnx.ModelProto) -> Precision:
    """Tell by its nodes and constants in which precision a graph computes."""
    if any(node.op_type in ("QuantizeLinear", "QLinearMatMul", "DequantizeLinear") for node in model.graph.node):
        return "int8"
    is_half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    return "fp16" if is_half else "fp32"
