"""The licence of a base: who says it, and that nobody does."""

import json
from pathlib import Path

import pytest

from nuwa_search.core.base import load_base
from nuwa_search.core.licence import licence_of_card, licence_of_config, licence_of_folder, licence_of_package
from nuwa_search.deploy.bundle_facts import BundleFacts, dict_from_facts, facts_from_dict
from nuwa_search.deploy.bundle_readme import licence_sentence
from tests.support.toy_base import write_toy_base


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("---\nlicense: apache-2.0\ntags: []\n---\n# Card", "apache-2.0"),
        ("---\r\ntags: []\r\nlicense: 'mit'\r\n---\r\n", "mit"),
        ("---\nlicense: other\nlicense_name: dinov3-license\n---\n", "dinov3-license"),
        ("---\ntags: []\n---\nlicense: mit", "unknown"),  # below the front matter it is prose
        ("license: mit", "unknown"),
        ("---\nlicense: " + 200 * "x" + "\n---\n", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_model_card_names_it_in_its_front_matter(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(text.encode())
    assert licence_of_card(path).name == name


def test_a_config_comes_before_the_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert licence_of_folder(tmp_path, {}).name == "mit"
    inside = licence_of_folder(tmp_path, {"pretrained_cfg": {"license": "cc-by-nc-4.0"}, "license": "mit"})
    assert (inside.name, inside.source) == ("cc-by-nc-4.0", "config.json of the base")
    assert not licence_of_config({"license": ["mit"]}, source="x").is_known


def test_a_package_names_its_own_in_its_metadata() -> None:
    found = licence_of_package("timm")
    assert found.name == "Apache-2.0"
    assert found.source.startswith("metadata of the package timm ")
    assert not licence_of_package("no-such-package").is_known


def test_bases_carry_theirs_into_bundles(tmp_path: Path) -> None:
    assert load_base("default").licence.name == "apache-2.0"
    assert not load_base("random:vit_tiny_patch16_224").licence.is_known
    folder = write_toy_base(tmp_path / "toy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"license": "mit"}))
    assert load_base(str(folder), img_size=24).licence.name == "mit"
    facts = facts_from_dict(dict_from_facts(BundleFacts(base="b", base_licence="mit", base_licence_source="card")))
    assert licence_sentence(facts) == "Base `b` comes under mit, by the card; this model's weights are made of it."
    assert "is unknown" in licence_sentence(BundleFacts(base="b"))  # bundles of before
