"""Every code cell of the notebook runs, in order, on the toy base."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "own_images.ipynb"


def test_the_notebook_runs(
    tmp_path: Path,
    toy_db: Path,
    toy_base: Path,
    toy_images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    mine = {
        "base": str(toy_base),
        "images": str(toy_images),
        "bundle": str(tmp_path / "bundle"),
        "database": str(toy_db),
        "budget_ms": 1.5,
        "size": {"trials": 4, "finetune_steps": 2},
    }
    space: dict[str, object] = {}
    monkeypatch.chdir(tmp_path)
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == []
        exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}:{cell['id']}", "exec"), space)
        if "parameters" in cell["metadata"].get("tags", []):
            assert set(mine) == {name for name in space if not name.startswith("__")}
            space |= mine
    said = capsys.readouterr().out
    assert "study: begins" in said
    assert said.count(" -> ") == 5
    assert (tmp_path / "bundle" / "certificate.json").is_file()
    assert (tmp_path / "bundle-fastest" / "model.onnx").is_file()
