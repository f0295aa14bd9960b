"""File names, labels and replies that a terminal or Markdown would obey: shown as they stand, and nothing stops."""

import os

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.provenance import record_path
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.core.untrusted_text import markdown, printable, verbatim
from mpta_pipeline.orchestration.metadata import preview
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.publication import withdrawal
from tests.plain_run import bring_up_to_date

NAMES = [b"gss_\xff\xfe.sav", b"esc_\x1b]0;owned\x07.csv", b"\xe2\x80\xaetxt.csv", b"line\nbreak\x9b31m.csv"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["surveys", "doctor"])
def test_a_file_of_an_odd_name_is_told_and_hides_no_other(world, name, command):
    with open(os.path.join(os.fsencode(world.surveys), name), "wb") as file:  # noqa: PTH118, PTH123
        file.write(b"a,b\n1,2\n")
    done = CliRunner().invoke(cli.app, [command])
    assert done.exit_code == (0 if command == "surveys" else 1), done.output
    assert "\x1b" not in done.output.replace("\x1b[", "") and "\x9b" not in done.output
    assert "gss_extract" in done.output or command == "doctor"
    look = Deployment.from_env().look()
    assert set(look.waves) == {"gss_extract-2016", "gss_extract-2018"} and len(look.problems) == 1
    assert next(iter(look.problems)).isprintable()


@given(st.text())
def test_no_text_reaches_a_terminal_with_more_than_characters(text):
    shown = printable(text)
    assert all(c.isprintable() or c in "\n\t" or c.isspace() or ord(c) > 0x9F for c in shown)
    shown.encode()


@pytest.mark.parametrize(
    "text", ["![x](http://127.0.0.1:9/a.png)", "[x](javascript:alert(1))", "<img src=http://127.0.0.1:9/a>", "a | b"]
)
def test_nothing_of_a_reply_is_markdown(text):
    shown = preview(pl.DataFrame({"text": [text]})).value
    row = shown.splitlines()[2]
    assert "![" not in row and "](" not in row and "<img" not in row
    assert markdown(text) in row


def test_an_identifier_in_a_preview_is_still_found_when_its_person_withdraws():
    assert "r_0123456789abcdef" in preview(pl.DataFrame({"id": ["r_0123456789abcdef"]})).value


def test_a_code_block_cannot_be_ended_by_what_it_holds():
    assert verbatim("a ``` b").splitlines()[0] == "````"


def test_an_error_shows_what_it_names():
    assert "\x1b" not in str(MptaError("a label says \x1b[2J", remedy="none", file="odd\x1b.sav"))


@pytest.mark.usefixtures("finished")
def test_damaged_documents_are_absent_and_the_rest_goes_on(world, server):
    calls = server.calls
    layout = Layout.from_env()
    documents = [
        layout.catalogue,
        layout.root / "survey_files.json",
        layout.store / "tables" / "left_out.json",
        record_path(layout.table("personas")),
        record_path(layout.table("prompts", "value_alignment")),
        *layout.raw_store.glob("*/current.json"),
    ]
    for path in documents:
        kept = path.read_bytes()
        for damage in (b"", b"{", b"[]", b"null", b'{"a": 1}', b"\xff\xfe", kept[: len(kept) // 2], b"1"):
            path.write_bytes(damage)
            found = integrity.check_all(Deployment.from_env(), "in_step")
            assert not [f for f in found if f.subject == "the check itself"], (path, damage)
            done = CliRunner().invoke(cli.app, ["surveys"])
            assert done.exit_code in (0, 1) and (
                done.exception is None or isinstance(done.exception, SystemExit | MptaError)
            )
        path.write_bytes(kept)
    bring_up_to_date()
    assert server.calls == calls, "nothing is asked again"
    assert withdrawal.tables_with(layout, "r_nobody") == []
