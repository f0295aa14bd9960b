"""Write the pages of docs/ that are made from code: `python tools/pages.py`, or `--check` to compare only."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mpta_pipeline.cli import app
from mpta_pipeline.core.configuration import key_meanings
from mpta_pipeline.core.published_figures import PublishedStudy
from mpta_pipeline.core.study import Study
from mpta_pipeline.core.tables import PUBLISHED, VIEWS, Column, Table
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.provider_registry import providers_of
from mpta_pipeline.metrics.metric import describe
from mpta_pipeline.pipeline import configuration_schemas
from mpta_pipeline.pipeline.graph import document
from mpta_pipeline.surveys.source_registry import SurveyConfig
from mpta_pipeline.tasks.example_prompts import showcase

DOCS = Path(__file__).parents[1] / "docs"


def metrics() -> str:
    """Every metric with definition, unit, range, direction and source."""
    return f"""# The metrics

Every metric has one record, from which the UI, the report and this table are made. [How to read an
estimate](../methods/estimates.md) explains intervals, baselines and tests.

<!-- Metrics: made by python -m mpta_pipeline.metrics -->
{describe().strip()}
<!-- end of the metrics -->
"""


def example_prompts() -> str:
    """A persona in every style, and one prompt of each kind of task."""
    return f"# Example prompts\n\n{showcase()}\n"


def tables() -> str:
    """Every published table with its columns."""
    return "\n".join(
        [
            "# Tables",
            "",
            "The tables of `data/warehouse.duckdb`. Each is declared once, in `mpta_pipeline/core/tables/`; checks,",
            "descriptions in the UI, comments in the file and this page are made from that. The file also has",
            "[views](views.md).",
            *(line for table in PUBLISHED for line in _table(table)),
            "",
        ]
    )


def _table(table: Table) -> Iterator[str]:
    yield from ("", f"## {table.name}", "", table.description, "")
    yield f"Key: {', '.join(f'`{name}`' for name in table.key)}." + (" Further columns follow." if table.open else "")
    yield from ("", "| column | type | meaning |", "|---|---|---|")
    for column in table.columns:
        yield f"| `{column.name}` | {_type(column)} | {_cell(column.description)} |"


def _type(column: Column) -> str:
    name = str(column.dtype() if isinstance(column.dtype, type) else column.dtype)
    name = name.partition("(")[0] if name.startswith("Struct") else name
    name = "List(Struct)" if name.startswith("List(Struct") else name
    return f"`{name}`" + (", may be null" if column.nullable or column.optional else "")


def configuration() -> str:
    """Every key of the configuration files."""
    lines = [
        "# Configuration",
        "",
        "The keys of the files in `MPTA_CONFIG_DIR` (by default `dagster_home/`). `mpta init` writes these files and,",
        "beside them, their JSON schemas ([study](../../dagster_home/study.schema.json),",
        "[models](../../dagster_home/models.schema.json), [surveys](../../dagster_home/surveys.schema.json)). Editors",
        "with a YAML language server (VS Code's YAML extension, Neovim, Emacs) then complete keys, show the meanings",
        "below, and mark mistakes. In a file of your own, the first line names the schema:",
        "`# yaml-language-server: $schema=study.schema.json`.",
    ]
    for file, what, model in (
        ("study.yaml", "The study: personas, conditions, tasks, and the estimates that are made.", Study),
        ("models.yaml", "The entries below `models:`.", ModelSpec),
        ("surveys.yaml", "Where survey files are searched, and what you may do with each source.", SurveyConfig),
        (
            "published.yaml",
            "Optional: a published study beside yours, whose figures the report compares with your own. "
            "[Start from a published study](../how-to/start-from-a-study.md) explains it.",
            PublishedStudy,
        ),
    ):
        lines += ["", f"## {file}", "", what, *_keys(model)]
        for name, nested in _nested(model).items():
            lines += [
                "",
                f"### {file}: {name}",
                "",
                _cell((nested.__doc__ or "").split("Attributes:")[0]),
                *_keys(nested),
            ]
        for name, options in _provider_options().items() if model is ModelSpec else ():
            lines += ["", f"### {file}: provider {name}", "", _cell((options.__doc__ or "").split("Attributes:")[0])]
            lines += _keys(options)
    return "\n".join([*lines, ""])


def _provider_options() -> dict[str, type[BaseModel]]:
    """Provider → the class of the fields that only its entries have, for providers that have some."""
    providers = providers_of(Path()).by_name
    return {name: one.Options for name, one in providers.items() if one.Options.model_fields}


def _keys(model: type[BaseModel]) -> Iterator[str]:
    meanings = key_meanings(model)
    yield from ("", "| key | default | meaning |", "|---|---|---|")
    for name, field in model.model_fields.items():
        if field.exclude:  # not a key of the file
            continue
        yield f"| `{name}` | {_default(field)} | {_cell(meanings.get(name, ''))} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    return f"`{json.dumps(value, ensure_ascii=False, default=str)}`"


def _nested(model: type[BaseModel], path: str = "") -> dict[str, type[BaseModel]]:
    """Mappings within a configuration file: their key → the class that describes it."""
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        for one in () if field.exclude else _classes(field.annotation):
            found[path + name] = one
            found |= _nested(one, f"{path}{name}.")
    return found


def _classes(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _classes(argument)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def commands() -> str:
    """Every command with its arguments, options and examples; options that all commands have are listed once."""
    found = dict(_leaves(typer.main.get_command(app), "mpta"))
    options = {path: _options(command, path) for path, command in found.items()}
    named = Counter(one for rows in options.values() for one in rows)
    shared = [one for one, count in named.items() if count > len(found) / 2]
    lines = ["# Commands", "", "`mpta COMMAND --help` shows the same in the terminal."]
    if shared:
        without = [f"`{path}`" for path, rows in options.items() if not set(shared) <= set(rows)]
        lines += ["", f"Every command{' but ' if without else ''}{', '.join(without)} has these options:", ""]
        lines += _option_table(shared)
    for path, command in found.items():
        usage = " ".join(command.collect_usage_pieces(typer.Context(command, info_name=path)))
        lines += ["", f"## {path}", "", _cell(command.help or ""), "", "```text", f"{path} {usage}".strip(), "```"]
        examples = [line.strip() for line in (command.epilog or "").splitlines() if " mpta " in f" {line}"]
        lines += ["", "Examples:", "", "```sh", *examples, "```"] if examples else []
        if own := [one for one in options[path] if one not in shared]:
            lines += ["", *_option_table(own)]
    return "\n".join([*lines, ""])


def _options(command: Any, path: str) -> list[tuple[str, str]]:
    """Names and meaning of a command's arguments and options."""
    context = typer.Context(command, info_name=path)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    return [(name, text) for name, text in filter(None, records) if "--help" not in name]


def _option_table(options: list[tuple[str, str]]) -> list[str]:
    return ["| option | meaning |", "|---|---|", *(f"| `{_cell(name)}` | {_cell(text)} |" for name, text in options)]


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The commands of a group, and of the groups in it, with what is typed to run them."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        if not child.hidden:
            yield from _leaves(child, f"{path} {name}")


def views() -> str:
    """Every published view with its columns."""
    lines = [
        "# Views",
        "",
        "Views over the [tables](tables.md), in the same file. Begin with `reported_estimates`: it has each estimate",
        "once, weighted where the survey has weights, with its baselines in the same row. The schema `before_0_2` has",
        "the tables and views with the column names of versions before 0.2, and `figures` is `estimates` with them.",
    ]
    for view in (view for view in VIEWS if view.name != "figures"):
        lines += ["", f"## {view.name}", "", view.description, "", f"Key: {', '.join(f'`{k}`' for k in view.key)}.", ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{c.name}` | {_type(c)} | {_cell(c.description)} |" for c in view.columns]
    return "\n".join([*lines, ""])


def schema(name: str) -> str:
    """The JSON schema of a configuration file."""
    return configuration_schemas.text(configuration_schemas.schemas()[name])


PAGES: dict[str, Callable[[], str]] = {
    "graph.md": document,
    "reference/metrics.md": metrics,
    "reference/example-prompts.md": example_prompts,
    "reference/tables.md": tables,
    "reference/commands.md": commands,
    "reference/views.md": views,
    "reference/configuration.md": configuration,
    **{
        f"../dagster_home/{configuration_schemas.file_name(name)}": partial(schema, name)
        for name in ("study.yaml", "models.yaml", "surveys.yaml")
    },
}


def main(check: bool) -> int:
    """Write the pages, or tell which of them are not as the code makes them."""
    behind = []
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            behind.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if behind:
        print(f"{'not up to date' if check else 'written'}: {', '.join(behind)}")
    return 1 if behind and check else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv))
