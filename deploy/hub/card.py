"""The model card of a bundle or base: front matter for the Hub above the README that the folder holds."""

import json
import re

from nuwa_search.core.licence import UNKNOWN
from nuwa_search.deploy.bundle import Bundle
from nuwa_search.deploy.bundle_facts import BundleFacts

FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n\n?", re.DOTALL)
HUB_LICENCES = frozenset(
    """apache-2.0 mit bsd bsd-2-clause bsd-3-clause cc cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-nd-4.0
    cc-by-nc-sa-4.0 gpl gpl-2.0 gpl-3.0 agpl-3.0 lgpl-3.0 mpl-2.0 openrail unlicense unknown""".split()  # noqa: SIM905
)
"""Identifiers that the Hub has a name for, of its list; another licence is ``other`` with its own name."""
_HUB = "hf-hub:"
LIBRARY = "nuwa-search"


def front_matter(licence: str | None, facts: BundleFacts | None = None, *, name: str) -> str:
    """Write the front matter of a card.

    Args:
        licence: Of the base; None or ``unknown`` where nobody says.
        facts: Of a bundle; None for a base.
        name: Of the repository, for the results.
    """
    said = (licence or UNKNOWN).strip()
    lines = ["---"]
    if said.lower() in HUB_LICENCES:
        lines.append(f"license: {said.lower()}")
    else:
        lines += ["license: other", f"license_name: {json.dumps(said, ensure_ascii=False)}"]
    kind = "image-segmentation" if facts is not None and facts.metric == "miou" else "image-classification"
    lines += [f"library_name: {LIBRARY}", f"pipeline_tag: {kind}", "tags:"]
    lines += [f"- {tag}" for tag in (LIBRARY, "vision-transformer", *(["onnx", "edge"] if facts else ["base"]))]
    if facts is not None:
        base = facts.base or ""
        if base.startswith(_HUB):
            lines.append(f"base_model: {base.removeprefix(_HUB).partition('@')[0]}")
        lines += _results(facts, name)
    return "\n".join([*lines, "---", "", ""])


def _results(facts: BundleFacts, name: str) -> list[str]:
    """Write the accuracy with the split that it is of, as the Hub's model index; nothing where none is known.

    Of nets that answer for every pixel the README says it.
    """
    if facts.top1 is None or not facts.split:
        return []
    return [
        "model-index:",
        f"- name: {json.dumps(name)}",
        "  results:",
        "  - task:",
        "      type: image-classification",
        "    dataset:",
        "      name: the images it was searched on",
        "      type: image-classification",
        f"      split: {facts.split}",
        "    metrics:",
        "    - type: accuracy",
        f"      value: {facts.top1}",
    ]


def bundle_card(bundle: Bundle, *, name: str) -> str:
    """Write the card of a bundle: front matter, and its README as it is."""
    readme = (bundle.dir / "README.md").read_text(encoding="utf-8")
    return front_matter(bundle.facts.base_licence, bundle.facts, name=name) + readme


def without_front_matter(card: str) -> str:
    """Take the front matter of ``front_matter`` off again: what is left is the README that was pushed."""
    return FRONT_MATTER.sub("", card, count=1)


def base_card(readme: str | None, *, licence: str, name: str) -> str:
    """Write the card of a base: its own where it has one, which already says what it wants."""
    if readme is not None:
        return readme
    return front_matter(licence, name=name) + (
        f"# {name}\n\nA base Vision Transformer for nuwa-search, in timm's hub format.\n\n"
        f"    nuwa-search --budget-ms 30 --base hf-hub:{name}\n"
    )
