"""The notebook of the documentation runs from top to bottom on a small finished deployment, and its entry is valid."""

from __future__ import annotations

import runpy

import jsonschema
import pytest

from mpta_pipeline.pipeline import configuration_schemas
from tests.docs.blocks import DOCS

NOTEBOOK = DOCS / "notebooks" / "first_look.py"


@pytest.mark.usefixtures("finished")
def test_every_cell_runs_and_the_figure_is_recomputed(world, monkeypatch):
    pytest.importorskip("marimo", reason="the notebook needs the extra `notebook`")
    monkeypatch.chdir(world.root)
    notebook = runpy.run_path(str(NOTEBOOK), run_name="notebook")
    _, defined = notebook["app"].run()
    assert defined["study"].file.parent == world.data
    assert defined["recomputed"] == pytest.approx(defined["first"]["estimate"])
    assert {"file_name", "native_label"} <= set(defined["trace"].columns)
    assert defined["scored"].estimates.height > 0
    schema = configuration_schemas.schemas()["models.yaml"]
    jsonschema.Draft7Validator(schema).validate(defined["entry"])


def test_it_holds_no_output():
    """A stored output could contain respondents' answers."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < 6000 and "data:image" not in text and "__marimo__" not in text
