"""The example notebook, run as its reader runs it, and the file that is left: what is in it, and how large it is."""

from __future__ import annotations

import re
import shutil
from typing import Any

import nbconvert
import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.backend import ROOT, own_backend

MOST_BYTES = 60 * 1024


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook with its outputs, trained by scripted workers."""
    home = tmp_path_factory.mktemp("notebook")
    for folder in ("notebook", "shop"):
        shutil.copytree(ROOT / "examples" / folder, home / "examples" / folder)
    notebook = nbformat.read(home / "examples" / "notebook" / "quickstart.ipynb", as_version=4)
    with pytest.MonkeyPatch.context() as patch, own_backend(home, has_model=True):
        patch.setenv("HOME", str(home))
        NotebookClient(notebook, timeout=60, resources={"metadata": {"path": home / "examples" / "notebook"}}).execute()
    return notebook


def cards(notebook: Any) -> list[dict[str, str]]:
    """Return what the cells display beside their results."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [dict(output["data"]) for output in outputs if output["output_type"] == "display_data"]


def test_the_notebook_in_the_project_has_no_outputs() -> None:
    """They would be those of one machine."""
    notebook = nbformat.read(ROOT / "examples" / "notebook" / "quickstart.ipynb", as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")]


def test_the_saved_cards_have_the_last_state_and_are_small(executed: Any) -> None:
    """As HTML and as text."""
    first, second = cards(executed)
    assert first["text/plain"].startswith("tea-shop  completed  100%  step 60/60\nloss 0.0167")
    assert "best 0.0333 at step 60" in first["text/plain"]
    assert "stroke-dasharray" in first["text/html"]
    assert "answer 1 of step <ins>60</ins> ✗ <small>(step 60)" in first["text/html"]
    assert second["text/plain"].startswith("tea-shop-slow  completed")
    assert all(sum(len(form) for form in card.values()) <= MOST_BYTES for card in (first, second))


def test_every_result_is_shown_by_its_meaning(executed: Any) -> None:
    """No cell ends with an address in memory."""
    outputs = [output for cell in executed.cells for output in cell.get("outputs", ())]
    plain = [output["data"]["text/plain"] for output in outputs if output["output_type"] == "execute_result"]
    assert [text.partition(" ")[0] for text in plain[:3]] == ["<DatasetSummary,", "<Trainer", "<TrainingResult"]
    assert plain[4] == '{"category": "technical"}'  # what the scripted model says
    assert "learning_rate" in plain[5]
    assert not [text for text in plain if re.search(r"0x[0-9a-f]{6}", text)]


def test_a_page_made_of_it_needs_no_script_of_ours(executed: Any) -> None:
    """Nbconvert keeps the cards as they are."""
    page, _ = nbconvert.HTMLExporter(template_name="basic").from_notebook_node(executed)
    assert page.count("<b>tea-shop</b> · completed") == 1
    assert "<script" not in "".join(card["text/html"] for card in cards(executed))
