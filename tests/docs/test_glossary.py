"""Words that the glossary replaced stay out of code, columns, messages and documentation (`words.yaml`)."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORDS = yaml.safe_load((Path(__file__).parent / "words.yaml").read_text(encoding="utf-8"))
GLOSSARY = ROOT / "docs" / "glossary.md"
# The crosswalk's and sources' records quote questions and labels of the surveys, and the recorded replies quote models.
QUOTED = (
    "mpta_pipeline/harmonize/concepts/*",
    "mpta_pipeline/harmonize/wordings.yaml",
    "mpta_pipeline/tasks/replies.yaml",
)
LOOKED_AT = {
    "mpta_pipeline": (".py", ".yaml", ".html", ".jinja", ".css"),
    "sql": (".sql",),
    "dagster_home": (".yaml", ".env"),
    "docs": (".md",),
}
SINGLE = ("README.md", "CONTRIBUTING.md", "noxfile.py", "pyproject.toml", ".ci/run", "CITATION.cff")


def files() -> list[Path]:
    found = [ROOT / name for name in SINGLE]
    for folder, endings in LOOKED_AT.items():
        found += [p for p in sorted((ROOT / folder).rglob("*")) if p.suffix in endings]
    return [p for p in found if not any(fnmatch(str(p.relative_to(ROOT)), one) for one in QUOTED)]


def plain(line: str) -> str:
    """The words of a line, without case and with names taken apart: AskReport, ask_report → ask report."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", line)
    return re.sub(r"[_\-\s]+", " ", apart).lower()


@pytest.fixture(scope="module")
def lines() -> list[tuple[str, int, str, str]]:
    return [
        (str(path.relative_to(ROOT)), number, line, plain(line))
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    ]


@pytest.mark.parametrize("rule", WORDS, ids=[rule["word"] for rule in WORDS])
def test_an_old_word_does_not_occur(rule, lines):
    pattern = re.compile(rf"\b{re.escape(rule['word'])}\b")
    allowed = rule.get("except", [])
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, number, line, words in lines
        if pattern.search(words)
        and not any(fnmatch(path, one["path"]) and one.get("text", "") in line for one in allowed)
    ]
    if found and rule.get("pending"):
        pytest.xfail(f"{len(found)} places still say {rule['word']!r}")
    assert found == [], f"use {rule['use']!r} instead of {rule['word']!r}:\n" + "\n".join(found[:40])


def test_names_are_taken_apart():
    assert plain("class AskReport: persona_id, SHA-256Sum") == "class ask report: persona id, sha 256 sum"
    assert not re.search(r"\blane\b", plain("a planet"))


def test_every_exception_has_a_reason_and_is_needed(lines):
    for rule in WORDS:
        pattern = re.compile(rf"\b{re.escape(rule['word'])}\b")
        for one in rule.get("except", []):
            assert one["reason"]
            assert rule.get("pending") or any(
                fnmatch(path, one["path"]) and one.get("text", "") in line and pattern.search(words)
                for path, _, line, words in lines
            ), f"{rule['word']}: nothing in {one['path']} needs an exception"


def terms() -> dict[str, str]:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    return {term.strip(): meaning.strip() for term, meaning in rows if term.strip() not in {"term", "---"}}


def test_each_term_has_one_meaning():
    rows = re.findall(r"^\| ([^|]+) \|", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    named = [row.strip() for row in rows if row.strip() != "term"]
    assert len(named) == len(set(named))
    assert all(meaning[0].isupper() for meaning in terms().values())


def test_columns_and_files_that_the_glossary_names_exist():
    from mpta_pipeline.core import tables

    known = {table.name: table for table in vars(tables).values() if isinstance(table, tables.Table)}
    text = GLOSSARY.read_text(encoding="utf-8")
    for table, column in re.findall(r"`([a-z_]+)\.([a-z_]+)`", text):
        if column in {"duckdb", "html", "yaml"} or (table, column) == ("table", "column"):
            continue  # a file, such as models.yaml
        assert table in known and column in known[table].schema, f"{table}.{column}"
    for path in re.findall(r"`(mpta_pipeline/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
