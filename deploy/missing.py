"""What a bundle lacks until it is ready to ship, each with the command that makes it."""

from collections.abc import Collection

from nuwa_search.deploy.bundle_facts import BundleFacts


def missing_from(present: Collection[str], facts: BundleFacts, *, where: str) -> tuple[str, ...]:
    """Return what a bundle lacks, in sentences; empty for one that a whole search shipped.

    Args:
        present: Names of the files it holds.
        facts: What is known of its model.
        where: The bundle, for the commands.
    """
    lacks = []
    if "model.onnx" not in present:
        lacks.append(
            "model.onnx, which every program here runs, and certificate.json, which says how fast it is: "
            f"`nuwa export {where} --device DEVICE` writes both"
        )
    if facts.top1 is None and facts.pixel_scores is None:
        lacks.append(f"an accuracy on test images: `nuwa evaluate {where}`")
    if not facts.finetunes and facts.top1_derived is None and facts.miou_derived is None:
        lacks.append(f"a fine-tuning, the weights being as they were cut: `nuwa finetune {where}`")
    if facts.none_below is None and facts.metric != "miou":  # of images, not of pixels
        lacks.append('a threshold for "none of these": `nuwa-search` calibrates it for its winner')
    return tuple(lacks)
