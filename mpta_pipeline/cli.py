"""`mpta`: a thin command line over the same assets and domain code."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mpta_pipeline.core.configuration import config_dir
from mpta_pipeline.core.errors import ConfigError, MptaError
from mpta_pipeline.core.untrusted_text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mpta_pipeline import external
    from mpta_pipeline.inference import ModelSpec
    from mpta_pipeline.pipeline.deployment import Deployment

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Survey respondents as personas, and what language models make of them.",
)
# Tables need room: a pipe or a narrow window gets lines that a file or a pager shows whole.
_WIDTH = max(Console().width, 120)
_METRICS_A_TABLE = 5
_INTERRUPTED = 130  # exit code


class _Terminal(Console):
    """A console that shows the control characters of foreign text instead of obeying them."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's."""
        super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **options)


out = _Terminal(width=_WIDTH)
err = _Terminal(stderr=True, width=_WIDTH)


def main() -> None:
    """Entry point: a problem that a user can act on is one message, not a stack trace."""
    try:
        app()
    except MptaError as failure:
        err.print(f"[red]{type(failure).__name__}[/red]: {escape(str(failure))}", soft_wrap=True)
        sys.exit(1)
    except OSError as failure:
        err.print(
            f"[red]{type(failure).__name__}[/red]: {escape(str(failure))}. Remedy: see that the folder can be written "
            "and that the disk has room (`mpta doctor`); what was stored before is unchanged.",
            soft_wrap=True,
        )
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer makes an exit of an interrupt, without a word.
        if isinstance(end, SystemExit) and end.code != _INTERRUPTED:
            raise
        err.print("Stopped. Every answer that was received is kept; run the same command again to go on.")
        sys.exit(_INTERRUPTED)


# --- the pipeline ---------------------------------------------------------------------------------------------------


@app.command()
def demo() -> None:
    """Run the starter study end to end: real survey extracts, an embedded model, no key, no network."""
    from mpta_pipeline import surveys
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    for path in surveys.write_demo_surveys(deployment.layout.surveys):
        out.print(f"survey file {path.name}", style="dim")
    _run(deployment)


@app.command()
def run(
    models: Annotated[str | None, typer.Option(help="Models to ask, comma-separated; default: the study's.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Tasks to run, comma-separated; default: the study's.")] = None,
    until: Annotated[str | None, typer.Option(help="Last asset to make, e.g. prompts.")] = None,
    budget: Annotated[
        float | None,
        typer.Option(min=0, help="US dollars that this run may spend on all models; default: the study's."),
    ] = None,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Ask again what failed for good before.")
    ] = False,
) -> None:
    """Bring the configured study up to date: only what is out of step is made, only what is missing is asked."""
    from mpta_pipeline.pipeline.deployment import Deployment

    _run(
        Deployment.from_env(),
        models=_names(models),
        tasks=_names(tasks),
        until=until,
        budget=budget,
        retry_errors=retry_errors,
    )


def _names(option: str | None) -> list[str] | None:
    return [name.strip() for name in option.split(",") if name.strip()] if option else None


def _run(
    deployment: Deployment,
    *,
    models: list[str] | None = None,
    tasks: list[str] | None = None,
    until: str | None = None,
    budget: float | None = None,
    retry_errors: bool = False,
) -> None:
    started = time.monotonic()
    with _instance(deployment) as instance:
        # Imported here: Dagster takes half a second, which `mpta surveys` need not wait for.
        from mpta_pipeline import definitions
        from mpta_pipeline.orchestration.command_runs import ORDER, Runner, sole_command

        for name in models or ():
            deployment.model(name)
        for name in tasks or ():
            deployment.task(name)
        if until is not None and until not in ORDER:
            raise ConfigError(
                "There is no such asset", variable="--until", value=until, remedy=f"choose of {', '.join(ORDER)}"
            )
        runner = Runner(
            deployment,
            definitions.build(deployment),
            instance,
            announce=lambda line: out.print(f"{time.monotonic() - started:6.1f} s  {escape(line)}", style="dim"),
            models=models,
            tasks=tasks,
            until=until,
        )
        with sole_command(deployment, instance), _progress_bar(deployment, budget, retry_errors=retry_errors):
            outcome = runner.run()
    for name, problem in outcome.problems.items():
        err.print(f"[yellow]not used[/yellow] {escape(name)}: {escape(problem)}", soft_wrap=True)
    for label, message in outcome.failures.items():
        err.print(f"[red]failed[/red] {escape(label)}\n  {escape(message)}", soft_wrap=True)
    _show_told(deployment)
    _show_set_aside(deployment)
    _show_unanswered(deployment)
    _show_unreadable(deployment)
    seconds = time.monotonic() - started
    _show_headline(deployment)
    out.print(f"{len(outcome.made)} table(s) made in {seconds:.0f} s")
    if deployment.layout.report.exists():
        out.print(f"Report:    {deployment.layout.report}", soft_wrap=True)
        out.print(f"Warehouse: {deployment.layout.warehouse}", soft_wrap=True)
    if outcome.failures:
        raise typer.Exit(1)


def _home(deployment: Deployment) -> Path:
    """Dagster's home: `DAGSTER_HOME`, by default the configuration folder."""
    return Path(os.environ.get("DAGSTER_HOME") or deployment.config).resolve()


@contextmanager
def _instance(deployment: Deployment) -> Iterator[Any]:
    """The Dagster instance that the UI shows, too."""
    home = _home(deployment)
    if not home.is_dir() or not os.access(home, os.W_OK):
        raise ConfigError(
            "Dagster's home cannot be written" if home.is_dir() else "Dagster's home is not a folder",
            file=home,
            variable="DAGSTER_HOME",
            remedy="run in the folder that holds dagster_home/, set MPTA_CONFIG_DIR to it, or make it with `mpta init`",
        )
    os.environ["DAGSTER_HOME"] = str(home)
    import warnings

    import dagster as dg

    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    with dg.DagsterInstance.get() as instance:
        yield instance


@contextmanager
def _progress_bar(deployment: Deployment, dollars: float | None, *, retry_errors: bool) -> Iterator[None]:
    """A bar per model: what is asked, at what rate, what was spent, and how long it will take; within a budget."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mpta_pipeline import inference
    from mpta_pipeline.pipeline import steps

    limit = deployment.study.budget if dollars is None else dollars
    budget = None if limit is None else inference.Budget(limit)
    with Progress(
        TextColumn("          {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=out,
        transient=True,
    ) as bar:
        rows: dict[str, Any] = {}
        said: set[tuple[str, str]] = set()

        def show(progress: Any) -> None:
            row = rows.get(progress.model)
            if row is None or bar.tasks[row].finished:
                row = rows[progress.model] = bar.add_task(progress.model, total=progress.total, rate="")
            for warning in progress.warnings:
                if (progress.model, warning) not in said:
                    said.add((progress.model, warning))
                    bar.console.print(f"[red]warning[/red] {escape(f'{progress.model}: {warning}')}", soft_wrap=True)
            rate = f"{progress.rate:.1f}/s" + (f"  {progress.spent:.2f} $" if progress.spent else "")
            bar.update(row, completed=progress.done, total=progress.total, rate=rate)

        with steps.asking(steps.Asking(show, budget, retry_errors)):
            yield


def _show_headline(deployment: Deployment) -> None:
    from mpta_pipeline import metrics
    from mpta_pipeline.pipeline import steps

    figures = steps.stacked(deployment, "subgroup_metrics")
    if figures.is_empty():
        return
    out.print()
    headline = metrics.headline(figures)
    title = "Accuracy in balanced option orders (of open text: ROUGE-L), with 95 % intervals"
    if figures.filter(metric=metrics.OPEN_TEXT).is_empty():
        title = title.replace(" (of open text: ROUGE-L)", "")
    _print_frame(_readable(headline), title=title)
    for model, task, survey, verdict in headline.select("model", "task", "survey", "verdict").iter_rows():
        out.print(f"  {escape(f'{model} on {task} ({survey}): {verdict}.')}", soft_wrap=True)
    weighted = figures.filter(pl.col("weighted"))["survey"].unique().to_list()
    if unweighted := sorted(set(figures["survey"]) - set(weighted)):
        out.print(f"No survey weights: figures of {', '.join(unweighted)} describe the panel, not the population.")


def _readable(headline: pl.DataFrame) -> pl.DataFrame:
    """The headline for a terminal: figures with their intervals in one column each."""

    def interval(name: str) -> pl.Expr:
        shown = pl.format("{}\n[{}, {}]", *(_two_digits(f"{name}{end}") for end in ("", "_low", "_high")))
        return pl.coalesce(shown, _two_digits(name)).alias(name.replace("_", " "))

    conditions = [c for c in ("persona", "demographics_only", "no_persona") if headline[c].is_not_null().any()]
    models = [] if headline["model"].n_unique() == 1 else [pl.col("model")]
    return headline.select(
        *models,
        pl.format("{}\n{}", "task", "survey").alias("task, survey"),
        *map(interval, conditions),
        _two_digits("chance"),
        _two_digits("item_mode").alias("most frequent"),
        pl.col("n_answers").alias("answers"),
        pl.col("n_personas").alias("personas"),
    )


def _two_digits(name: str) -> pl.Expr:
    """A share with two digits and a leading point, as survey tables print it."""
    return pl.col(name).round(2).cast(pl.Decimal(10, 2)).cast(pl.String)


def _print_frame(frame: pl.DataFrame, *, title: str = "") -> None:
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for name, dtype in frame.schema.items():
        table.add_column(name.replace("_", " "), justify="right" if dtype.is_numeric() else "left", overflow="fold")
    for row in frame.iter_rows():
        table.add_row(
            *("" if v is None else f"{v:.3f}" if isinstance(v, float) else escape(printable(str(v))) for v in row)
        )
    out.print(table)


# --- looking --------------------------------------------------------------------------------------------------------


@app.command(name="surveys")
def list_surveys(
    file: Annotated[Path | None, typer.Argument(help="One file, wherever it lies; default: the survey folder.")] = None,
    *,
    explain: Annotated[
        bool, typer.Option("--explain", help="For each source, how near the file is to being one of it.")
    ] = False,
) -> None:
    """What the survey folder holds: recognized as what, release, rows, licence, state. Or what one file is."""
    from mpta_pipeline import surveys
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    if explain:
        if file is None:
            raise ConfigError(
                "--explain is about one file", variable="FILE", remedy="name it: mpta surveys FILE --explain"
            )
        _explain(file, deployment)
        return
    if file is None:
        states = surveys.scan(surveys.folders(deployment.layout, deployment.sources), deployment.sources)
    else:
        states = [surveys.look_at(file, deployment.sources)]
    for line in deployment.own_records():
        out.print(escape(line), style="dim", soft_wrap=True)
    if not states:
        out.print(f"No survey file in {deployment.layout.surveys}. Drop one there, or run `mpta demo`.", soft_wrap=True)
        return
    _show_files(deployment, states)
    if file is None:
        _show_told(deployment)
        _show_set_aside(deployment)


def _show_files(deployment: Deployment, states: list[Any]) -> None:
    """What survey files are, which wave each gives or holds, and what is wrong with them."""
    from mpta_pipeline import surveys

    roles = {(found.wave, found.state.path): found for found in surveys.assign(states)}
    rows = [
        {
            "file": state.path.name,
            "recognized as": state.recognition.codebook,
            # A file without a stamp is told by the first digits of its SHA-256.
            "release": state.recognition.version or (state.sha256 or "")[:7],
            "wave": wave,
            "rows": part.rows,
            "countries": _some(part.countries),
            "years": _some(map(str, part.years)),
            "weight": part.weight or "none",
            "state": (roles[wave, state.path].role if (wave, state.path) in roles else state.status).replace("_", " "),
        }
        for state in states
        if state.recognition is not None
        for wave, part in state.recognition.parts.items()
    ]
    if rows:
        _print_frame(pl.DataFrame(rows, infer_schema_length=None))
    for source in {s.recognition.codebook: s.recognition.source for s in states if s.recognition}.values():
        reach = "any model" if deployment.sources.data_use(source) == "any" else "models on this machine only"
        out.print(f"{source.codebook}: {escape(source.licence)} Personas may go to: {reach}.", style="dim")
        if not source.crosswalk and source.note:
            out.print(f"{source.codebook} is not harmonized: {escape(' '.join(source.note.split()))}", style="dim")
    several = {wave for wave in (f.wave for f in roles.values()) if sum(f.wave == wave for f in roles.values()) > 1}
    for found in roles.values():
        if found.wave in several:
            out.print(
                f"{escape(found.state.path.name)}: {found.wave} {found.role}: {escape(found.reason)}",
                style="dim",
                soft_wrap=True,
            )
    for state in states:
        if state.recognition is not None and state.recognition.notes:
            out.print(f"{escape(state.path.name)}: {escape('; '.join(state.recognition.notes))}.", soft_wrap=True)
        if state.problem:
            out.print(f"[yellow]{escape(state.path.name)}[/yellow]: {escape(state.problem)}", soft_wrap=True)


def _explain(file: Path, deployment: Deployment) -> None:
    from mpta_pipeline import surveys

    verdicts = surveys.explain(file, deployment.sources)
    fitting = [v for v in verdicts if not v.reasons]
    try:
        found = surveys.recognize(file, deployment.sources)
        told = f"It is recognized as {found.codebook}: {', '.join(found.waves)}."
    except MptaError as failure:
        told = f"[yellow]It is not recognized.[/yellow] {escape(str(failure))}"
    out.print(told, soft_wrap=True)
    if refusal := next((deployment.sources.closed(deployment.sources[v.codebook]) for v in fitting), None):
        out.print(escape(str(refusal)), style="yellow", soft_wrap=True)
    table = Table(title_justify="left", header_style="bold", title="How near the file is to each source")
    for name in ("source", "conditions met", "what is missing"):
        table.add_column(name, justify="right" if "conditions" in name else "left", overflow="fold")
    for v in verdicts:
        met = f"{v.conditions - len(v.reasons)} of {v.conditions}"
        why = "; ".join(v.reasons[:6]) + (f"; {len(v.reasons) - 6} more" if len(v.reasons) > 6 else "")
        table.add_row(v.codebook, met, escape(why or "nothing"))
    out.print(table)


@app.command()
def describe(
    file: Annotated[Path, typer.Argument(help="A survey file.")],
    target: Annotated[
        Path | None, typer.Argument(help="Where to write; default: the file's name with .json.gz, in this folder.")
    ] = None,
) -> None:
    """Describe a survey file without its respondents, to attach to a report of a fault or to make a test of.

    Variables, labels, storage and how often each code occurs, counts below five as 1-4, with what the crosswalk makes
    of each variable.
    """
    from mpta_pipeline import harmonize, surveys
    from mpta_pipeline.core.storage import Layout, scratch
    from mpta_pipeline.pipeline.deployment import Deployment

    described = surveys.describe_file(file)
    try:
        registry = Deployment.from_env().sources
    except MptaError:  # a description needs no configuration
        registry = surveys.load_sources()
    by_name = {entry["name"].lower(): entry for entry in described["variables"]}
    counts: dict[str, int] = {}
    try:
        found = surveys.recognize(file, registry)
        described["recognized"] = {"source": found.codebook, "waves": list(found.waves), "version": found.version}
        with scratch() as folder:
            for wave in found.waves:
                raw = surveys.ingest(file, wave, Layout(folder), registry)
                for name, verdict in harmonize.variable_verdicts(raw, harmonize.load_crosswalk()).items():
                    by_name[name.lower()].setdefault("crosswalk", {})[wave] = verdict
    except MptaError as failure:
        described["not_read"] = failure.problem
        out.print(f"[yellow]It is not read:[/yellow] {escape(failure.problem)}", soft_wrap=True)
        described["sources"] = [
            {"source": v.codebook, "met": v.conditions - len(v.reasons), "of": v.conditions, "missing": list(v.reasons)}
            for v in surveys.explain(file, registry)
        ]
    for entry in described["variables"]:
        states = {verdict["state"] for verdict in entry.get("crosswalk", {}).values()}
        best = next((s for s in ("set aside", "matched", "identity", "unknown") if s in states), None)
        if best is not None:
            counts[best] = counts.get(best, 0) + 1
    path = surveys.write_description(described, target or Path(f"{file.name}.json.gz"))
    told = ", ".join(f"{n:,} {state}" for state, n in sorted(counts.items()))
    out.print(f"{described['rows']:,} rows, {described['columns']:,} variables" + (f": {told}" if told else ""))
    for entry in described["variables"]:
        verdicts = entry.get("crosswalk", {}).values()
        why = dict.fromkeys(w for v in verdicts if v["state"] == "set aside" for w in v["why"])
        if why:
            out.print(f"  set aside {escape(entry['name'])}: {escape('; '.join(why))}", soft_wrap=True)
    out.print(f"{path}: no respondent is in it, counts below five are masked. Attach it to a report.", soft_wrap=True)


def _show_told(deployment: Deployment) -> None:
    """What was unusual in reading the waves in use, and the files that a wave was made without."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline import steps

    for wave in deployment.catalogue().waves:
        record = steps.made(deployment, Node("raw_wave", wave))
        for name, notes in (record.notes.get("told", {}) if record else {}).items():
            out.print(f"{wave}, {escape(name)}: {escape('; '.join(notes))}.", soft_wrap=True)
        harmonized = steps.made(deployment, Node("harmonized_wave", wave))
        for name, problem in (harmonized.notes.get("left_out", {}) if harmonized else {}).items():
            out.print(f"[red]{wave} is made without {escape(name)}[/red]: {escape(problem)}", soft_wrap=True)


def _show_set_aside(deployment: Deployment) -> None:
    """The columns, or parts of them, that harmonized waves lack: their file says what the crosswalk does not know."""
    from mpta_pipeline.core.provenance import read_record
    from mpta_pipeline.core.storage import listed

    for path in sorted(listed(deployment.layout.store / "harmonized", "*.parquet")):
        record = read_record(path)
        problems = record.notes.get("set_aside", []) if record else []
        if problems:
            out.print(
                f"[yellow]{escape(path.stem)}: {len(problems)} column(s) set aside, whole or in part[/yellow]: "
                f"{escape('; '.join(problems))}. "
                "Nothing is guessed: add what the codebook says to the concept's file, then run again.",
                soft_wrap=True,
            )


def _show_unanswered(deployment: Deployment) -> None:
    """The requests that have no answer, by model and task, with the reason and what to do."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline import steps

    for cell in steps.cells(deployment):
        record = steps.made(deployment, Node("responses", cell))
        notes = record.notes if record else {}
        told = []
        if left := notes.get("left"):
            told.append(f"{left:,} not asked: {notes.get('stopped', 'stopped')}; run again to go on")
        if errors := notes.get("errors"):
            reasons = notes.get("error_reasons")
            told.append(f"{errors:,} failed{f' ({reasons})' if reasons else ''}; mpta run --retry-errors asks again")
        if withheld := notes.get("withheld"):
            told.append(f"{withheld:,} withheld: {notes.get('withheld_because', 'by the policy of their source')}")
        if told:
            name = escape(" on ".join(cell.rsplit("|", 1)))
            out.print(
                f"[yellow]{name}, of {notes['requests']:,} requests[/yellow] {escape('; '.join(told))}", soft_wrap=True
            )


def _show_unreadable(deployment: Deployment) -> None:
    """The models and tasks of which too few replies can be read, and what was noted while they were asked."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline import steps

    for cell in steps.cells(deployment):
        name = escape(" on ".join(cell.rsplit("|", 1)))
        asked, scored = (steps.made(deployment, Node(asset, cell)) for asset in ("responses", "scores"))
        if asked is not None and (notes := asked.notes.get("notes")):
            out.print(f"[dim]{name}: {escape(str(notes))}[/dim]", soft_wrap=True)
        if scored is not None and (warning := scored.notes.get("warning")):
            out.print(
                f"[red]warning[/red] {name}: {escape(str(warning))}. Its figures must not be quoted; "
                "`mpta models --probe` shows what the model can do.",
                soft_wrap=True,
            )


def _some(values: Iterable[str], most: int = 3) -> str:
    """The first few of many values, with how many there are."""
    every = list(values)
    return ", ".join(every[:most]) + (f" … ({len(every)})" if len(every) > most else "")


@app.command(name="models")
def list_models(
    *,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask each model three tiny questions and show what it can do.")
    ] = False,
    models: Annotated[str | None, typer.Option(help="Models to probe, comma-separated; default: the study's.")] = None,
) -> None:
    """The registered models and whether each can be used now; with --probe what each can do and what will be sent."""
    from mpta_pipeline import inference
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    specs = [deployment.model(name) for name in _names(models) or deployment.models]
    _print_frame(pl.DataFrame([inference.overview(spec) for spec in specs]))
    if probe and not _probe_models(deployment, specs):
        raise typer.Exit(1)


def _probe_models(deployment: Deployment, specs: Sequence[ModelSpec]) -> bool:
    """Probe models one by one and show what was found; whether all can be asked."""
    from mpta_pipeline import inference

    found = []
    for spec in specs:
        with out.status(f"{spec.name} …"):
            one = inference.probe(spec, deployment.layout.ledger(spec.name), cache_dir=deployment.layout.models)
        found.append(one)
        table = Table(title=escape(spec.name), title_justify="left", show_header=False)
        table.add_column(no_wrap=True, style="bold")
        table.add_column(overflow="fold")
        shown = {"problem": one.problem} if one.problem else one.shown()
        for name, words in shown.items():
            marked = name == "problem" or (name == "to do" and one.to_do)
            table.add_row(name, f"[yellow]{escape(words)}[/yellow]" if marked else escape(words))
        out.print(table)
    if _home(deployment).is_dir():
        with _instance(deployment) as instance:
            from mpta_pipeline.orchestration.source_observations import report_probes

            report_probes(deployment, instance, found)
    return all(one.problem is None for one in found)


@app.command()
def plan() -> None:
    """Calls, tokens and price of the study for each model, before anything is asked."""
    from mpta_pipeline import inference
    from mpta_pipeline.pipeline import steps
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    prompts = steps.stacked(deployment, "prompts")
    if prompts.is_empty():
        out.print("There are no prompts yet: `mpta run --until prompts` makes them without asking any model.")
        return
    rows = [
        {"model": name} | inference.plan(spec, prompts, deployment.layout.ledger(name)).as_row()
        for name, spec in deployment.models.items()
    ]
    _print_frame(pl.DataFrame(rows))
    for task, told in steps.items_left_out(deployment):
        out.print(f"[yellow]{escape(task)}[/yellow]: {escape(told)}", soft_wrap=True)


@app.command()
def trace(
    identifier: Annotated[
        str,
        typer.Argument(help="A figure, pocket, prompt, response, persona, respondent, wave, file, or wave:variable."),
    ],
) -> None:
    """Follow a figure, pocket, response, prompt or persona back to person, variable and file; or these forward."""
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.publication import warehouse

    out.print(warehouse.trace(Deployment.from_env().layout, identifier).text(), soft_wrap=True)


@app.command()
def score(
    files: Annotated[
        list[Path],
        typer.Argument(help="CSV, TSV, JSON, JSON lines, Parquet; logs of inspect_ai and lm-evaluation-harness."),
    ],
    *,
    items: Annotated[
        Path | None, typer.Option(help="The benchmark's own item file or folder, or Parquet of the table items.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="A task of the study, whose items the answers are to.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Kind of the items of --items, where their file does not say.")
    ] = None,
    people: Annotated[
        Path | None, typer.Option(help="What people answered: respondents' answers or published shares.")
    ] = None,
    answer: Annotated[str | None, typer.Option(help="Columns that hold answers, comma-separated.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="What columns are, e.g. item_id=qid,own_answer=truth,respondent_id=case.")
    ] = None,
    questions: Annotated[
        str | None, typer.Option(help="Questions that stand in a column each, comma-separated.")
    ] = None,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="The options, in the order given, are steps of a scale.")
    ] = False,
    count_from: Annotated[
        int | None, typer.Option(min=0, max=1, help="What numbers count options from: 0 or 1.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Columns that group the personas, comma-separated; sex×age (or sex*age) crosses.")
    ] = None,
    metadata: Annotated[Path | None, typer.Option(help="BBQ's additional_metadata.csv (in supplemental/).")] = None,
    look: Annotated[
        bool, typer.Option("--look", help="Say how the file is understood and what will be computed; compute nothing.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option("--out", help="A .csv, .parquet or .json file for the figures, or a folder for everything."),
    ] = None,
) -> None:
    """Figures for answers made elsewhere: own tables, BBQ's files, logs of inspect_ai and lm-evaluation-harness.

    A row per answer: item_id (or question) and answer (option text, letter or number); what is right: own_answer of the
    person, key, --people FILE, or --items FILE. A table with one column per question is read, too. Look first: --look.
    """
    from mpta_pipeline import external

    if save is not None:
        external.check_out(save)
    reading = external.Reading(
        answers=tuple(_names(answer) or ()),
        columns=_roles(columns),
        by=tuple(name.replace("*", "×") for name in _names(by) or ()),
        questions=tuple(_names(questions) or ()),
        count_from=count_from,
        ordered=ordered,
    )
    known, rules = None, None
    if items is not None:
        known = external.known_items(items, kind=kind, metadata=metadata)
    elif task is not None:
        from mpta_pipeline.pipeline.deployment import Deployment

        deployment = Deployment.from_env()
        known, rules = _items_of_task(deployment, task), deployment.study.figures
    found: list[str] = []
    parts = [
        external.load(
            file,
            known=known,
            find=lambda frame: _of_study(frame, found),
            reading=reading,
            people=people,
            metadata=metadata,
        )
        for file in files
    ]
    given = external.together(parts)
    if found:
        from mpta_pipeline.pipeline.deployment import Deployment

        rules = Deployment.from_env().study.figures
    if look:
        for heading, lines in external.look(given, reading.by):
            out.print(f"[bold]{escape(heading)}[/bold]")
            for line in lines:
                out.print(f"  {escape(line)}", soft_wrap=True)
        return
    results = external.compute(given, by=reading.by, rules=rules)
    _show_scores(external.overview(results.figures))
    if results.figures.filter("weighted").height:
        compared = "; the comparison of models is weighted" if results.comparison.height else ""
        out.print(
            f"These figures are unweighted{compared}. Weighted ones stand beside them in what --out writes.",
            soft_wrap=True,
        )
    _show_numbers(results.numeric)
    _show_comparison(results.comparison)
    _show_pockets(results.pockets, searched=bool(reading.by))
    notes = (*(aside.text() for aside in given.left_out), *given.notes)
    for aside in given.left_out:
        out.print(f"[yellow]{escape(aside.text())}[/yellow]", soft_wrap=True)
    for note in given.notes:
        out.print(escape(note), style="dim", soft_wrap=True)
    if save is not None:
        title = f"Answers of {', '.join(file.name for file in files[:3])}{' …' if len(files) > 3 else ''}"
        for path in external.write(results, save, title=title, notes=notes):
            out.print(str(path), soft_wrap=True)


def _roles(option: str | None) -> dict[str, str]:
    """ROLE=COLUMN pairs."""
    pairs = {}
    for part in _names(option) or ():
        role, mark, column = part.partition("=")
        if not mark or not column.strip():
            raise ConfigError(
                "This does not say what a column is",
                variable="--columns",
                value=part,
                remedy="write ROLE=COLUMN, e.g. item_id=qid,own_answer=truth",
            )
        pairs[role.strip()] = column.strip()
    return pairs


def _of_study(frame: pl.DataFrame, found: list[str]) -> external.Known | None:
    """The items of the study's task that a table's item ids belong to; None where there is none."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline import steps
    from mpta_pipeline.pipeline.deployment import Deployment

    if not (config_dir() / "study.yaml").exists():
        return None
    deployment = Deployment.from_env()
    asked = set(frame["item_id"].cast(pl.String).drop_nulls())
    for name in deployment.study.tasks:
        if steps.made(deployment, Node("items", name)) and asked <= set(
            steps.read(deployment, "items", name)["item_id"]
        ):
            found.append(name)
            return _items_of_task(deployment, name)
    return None


def _items_of_task(deployment: Deployment, task: str) -> external.Known:
    """Items, people's own answers and groups of a task of the study, as they are stored."""
    from mpta_pipeline import external
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline import steps

    if task not in deployment.study.tasks:
        raise ConfigError(
            "There is no such task in this study",
            file=deployment.config / "study.yaml",
            variable="--task",
            value=task,
            remedy=f"choose of {', '.join(deployment.study.tasks)}, or give the item file with --items",
        )
    if not steps.made(deployment, Node("items", task)):
        raise ConfigError(
            "The items of this task have not been made yet",
            variable="--task",
            value=task,
            remedy="run `mpta run --until prompts`, which asks no model, or give the item file with --items",
        )
    groups = steps.read(deployment, "groups") if steps.path_of(deployment, Node("groups")).exists() else None
    return external.Known(steps.read(deployment, "items", task), steps.read(deployment, "gold", task), groups)


def _show_scores(overview: pl.DataFrame) -> None:
    """Tables of a model: a line a group, figures with their intervals below them, few enough to be read in one line."""
    metrics = [c for c in overview.columns if f"{c}_low" in overview.columns]
    for (model,), part in overview.group_by("model", maintain_order=True):
        shown = [name for name in metrics if part[name].is_not_null().any()]
        # What says the same as accuracy, or that nothing failed, is left to the file.
        shown = [
            name
            for name in shown
            if not (
                name.startswith("accuracy_") and "accuracy" in shown and part[name].equals(part["accuracy"].alias(name))
            )
            and not (name == "error_rate" and part[name].sum() == 0)
        ]
        for start in range(0, len(shown), _METRICS_A_TABLE):
            _show_part(
                str(model) if start == 0 else f"{model}, continued", part, shown[start : start + _METRICS_A_TABLE]
            )


def _show_part(title: str, part: pl.DataFrame, metrics: list[str]) -> None:
    table = Table(title=title, title_justify="left", header_style="bold")
    table.add_column("group", overflow="fold")
    table.add_column("answers", justify="right", no_wrap=True)
    beside = [c for c in ("chance", "item_mode") if "accuracy" in metrics and part[c].is_not_null().any()]
    effects = "accuracy" in metrics and part["effect"].is_not_null().any()
    for name in metrics:
        table.add_column(name.removeprefix("bbq_").replace("_", " "), justify="right", no_wrap=True)
        if name == "accuracy":
            for column in beside:
                table.add_column(column.replace("item_mode", "most frequent"), justify="right", style="dim")
            if effects:
                table.add_column("persona's effect", justify="right")
    for row in part.iter_rows(named=True):
        label = (
            row["subgroup"] if row["dimensions"] in ("all", "category") else f"{row['dimensions']} {row['subgroup']}"
        )
        label += "".join(f"\n{row[c]}" for c in ("survey", "condition") if part[c].n_unique() > 1)
        cells = [escape(label), f"{row['n']:,}"]
        for name in metrics:
            n = row.get(f"{name}_n")
            shown = [_four(row[name])]
            if row[f"{name}_low"] is not None:
                shown.append(f"[{_four(row[f'{name}_low'], 2)}, {_four(row[f'{name}_high'], 2)}]")
            cells.append(escape("\n".join([*shown, *([f"n {n:,}"] if n else [])])))
            if name == "accuracy":
                cells += [_four(row[c]) for c in beside]
                if effects:
                    cells.append(_effect(row))
        table.add_row(*cells)
    out.print(table)


def _effect(row: dict[str, Any]) -> str:
    """The persona's effect on accuracy: with it less without, on the same questions; with its interval."""
    if row["effect"] is None:
        return ""
    ends = "" if row["effect_from"] is None else f"\n[{row['effect_from']:+.2f}, {row['effect_to']:+.2f}]"
    return escape(f"{row['effect']:+.4f}{ends}")


def _show_numbers(numbers: pl.DataFrame | None) -> None:
    """Means of the answers that are numbers, one block a model."""
    if numbers is None:
        return
    for (model,), part in numbers.group_by(["model"], maintain_order=True):
        shown = part.select(
            pl.when(pl.col("dimensions") == "all")
            .then(pl.lit("all"))
            .otherwise(pl.format("{} {}", "dimensions", "subgroup"))
            .alias("group"),
            pl.col("item_id").alias("question"), "n_answers", "n_people", "mean_model", "mean_people",
            pl.coalesce(
                pl.format("{}\n[{}, {}]", *(pl.col(c).round(2) for c in ("difference", "ci_low", "ci_high"))),
                pl.col("difference").round(2).cast(pl.String),
            ).alias("difference"),
            "mae", "mae_n", "pearson", "sd_ratio",
        )  # fmt: skip
        _print_frame(
            shown, title=f"{model}: answers that are numbers (difference of question `all`: in standard deviations)"
        )


def _show_comparison(comparison: pl.DataFrame) -> None:
    """Models by accuracy, with the groups that cannot be told apart."""
    own = comparison.filter((pl.col("metric") == "accuracy") & (pl.col("model") == pl.col("other_model")))
    if own.is_empty():
        return
    shown = own.sort("task", "survey", "condition", "tie_group", pl.col("estimate"), descending=[False] * 4 + [True])
    _print_frame(
        shown.select("model", "survey", "condition", pl.col("estimate").alias("accuracy"), "n_answers",
                     pl.col("tie_group").alias("tie group")),
        title="Models compared on the answers that both gave; those of one tie group cannot be told apart",
    )  # fmt: skip


def _show_pockets(pockets: pl.DataFrame, *, searched: bool) -> None:
    """Confirmed pockets, or that none was found."""
    if pockets.is_empty():
        if searched:
            out.print(
                "Pockets: no group has enough personas on both halves of the answers to be tested.", soft_wrap=True
            )
        return
    confirmed = pockets.filter("confirmed")
    if confirmed.is_empty():
        out.print(
            f"No pocket: none of {pockets.height} groups tested is confirmed as worse than the rest.", soft_wrap=True
        )
        return
    shown = confirmed.select(
        "model", "condition", "outcome", pl.format("{} = {}", "dimensions", "subgroup").alias("pocket"), "n_personas",
        "estimate", "rest_estimate", "difference", "q_value",
    )  # fmt: skip
    _print_frame(shown, title="Pockets: groups found on one half of the answers and confirmed on the other")


def _four(value: float | None, digits: int = 4) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder to write to; made where it is absent.")],
    *,
    format: Annotated[
        str, typer.Option(help="huggingface: Parquet with a data card; reference_json: the MPTA reference's file.")
    ] = "huggingface",
    surveys: Annotated[str | None, typer.Option(help="Surveys, comma-separated; default: all of the study.")] = None,
    min_k: Annotated[int, typer.Option(help="Leave out who shares their demographics with fewer people.", min=1)] = 1,
    panel: Annotated[bool, typer.Option("--panel", help="The personas of the panel alone.")] = False,
) -> None:
    """Write the personas for other tools. Sources whose policy keeps them on this machine are left out and named."""
    from mpta_pipeline import personas
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline import steps
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    if steps.made(deployment, Node("personas")) is None:
        raise ConfigError(
            "There are no personas yet",
            file=deployment.config / "study.yaml",
            remedy="`mpta run --until panel` makes them without asking any model",
        )
    frame = steps.read(deployment, "personas")
    if panel:
        frame = frame.join(steps.read(deployment, "panel"), on="respondent_id", how="semi")
    known = sorted(frame["survey"].unique())
    for name in _names(surveys) or ():
        if name not in known:
            raise ConfigError(
                "There are no personas of this survey",
                variable="--surveys",
                value=name,
                remedy=f"choose of {', '.join(known)}",
            )
    frame = frame.filter(pl.col("survey").is_in(_names(surveys) or known))
    # Today's policy counts, not the one that held when the personas were made.
    frame = frame.with_columns(deployment.permitted_use("codebook"))
    facts = personas.column_facts(deployment.crosswalk).filter(pl.col("question").is_not_null())
    done = personas.export_personas(
        frame,
        folder,
        format=format,
        min_k=min_k,
        questions=dict(facts.unique("column", keep="first", maintain_order=True).select("column", "question").rows()),
    )
    for survey, why in done.left_out.items():
        err.print(f"[yellow]left out[/yellow] {escape(survey)}: {escape(why)}", soft_wrap=True)
    shared = frame.filter((pl.col("data_use") == "any") & (pl.col("k_anonymity") < min_k)).height
    out.print(f"{done.personas:,} personas" + (f"; {shared:,} left out by k-anonymity below {min_k}" if shared else ""))
    for path in done.files:
        out.print(str(path), soft_wrap=True)


# --- upkeep ---------------------------------------------------------------------------------------------------------


@app.command()
def watch() -> None:
    """Ask the sources' addresses for new releases; fetch what may be fetched, tell what to download by hand."""
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.surveys import release_watch as releases

    deployment = Deployment.from_env()
    deployment.look()
    findings = releases.watch(deployment.sources, deployment.layout, deployment.in_use())
    if not findings:
        out.print("No source in use has an address to ask. `watch:` in surveys.yaml names one.", soft_wrap=True)
        return
    for found in findings:
        colour = "green" if found.good else "yellow"
        out.print(f"[{colour}]{found.outcome.replace('_', ' ')}[/{colour}] {escape(found.message)}", soft_wrap=True)
        out.print(f"  {escape(found.address)}", style="dim", soft_wrap=True)


@app.command()
def report() -> None:
    """Publish the warehouse and the report anew from the figures as they are stored. Asks no model."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline import steps
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    if steps.made(deployment, Node("model_comparison")) is None:
        raise ConfigError(
            "There are no figures yet",
            file=deployment.layout.store,
            remedy="`mpta run` makes them, and the report at its end",
        )
    with _instance(deployment) as instance:
        from mpta_pipeline import definitions
        from mpta_pipeline.orchestration.command_runs import Runner, sole_command

        runner = Runner(deployment, definitions.build(deployment), instance)
        with sole_command(deployment, instance):
            runner.publish_again()
    for label, message in runner.outcome.failures.items():
        err.print(f"[red]failed[/red] {escape(label)}\n  {escape(message)}", soft_wrap=True)
    if runner.outcome.failures:
        raise typer.Exit(1)
    _show_headline(deployment)
    out.print(f"Report:    {deployment.layout.report}", soft_wrap=True)
    out.print(f"Warehouse: {deployment.layout.warehouse}", soft_wrap=True)


@app.command()
def init() -> None:
    """Write the configuration files that are absent, to edit: study, models, surveys, Dagster's settings."""
    import shutil

    from mpta_pipeline.core.configuration import templates

    folder = config_dir()
    folder.mkdir(parents=True, exist_ok=True)
    for template in templates():
        target = folder / template.name
        there = target.exists()
        if not there:
            shutil.copyfile(template, target)
        out.print(f"{'left as it is' if there else 'written':13} {target}", soft_wrap=True)
    out.print(
        "Next: `mpta doctor` says whether all is there, `mpta demo` shows it at work, `mpta run` runs your study."
    )


@app.command()
def doctor() -> None:
    """Say whether this deployment can work: folders, configuration, models, survey files. Asks nobody."""
    from mpta_pipeline.orchestration.doctor import examine
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    found = list(examine(deployment, _home(deployment)))
    for finding in found:
        mark = "[green]good [/green]" if finding.good else "[red]wrong[/red]"
        out.print(f"{mark} {escape(finding.what)}: {escape(finding.message)}", soft_wrap=True)
    if not all(finding.good for finding in found):
        raise typer.Exit(1)


@app.command()
def check(
    only: Annotated[str | None, typer.Option(help="One check alone, e.g. ledgers.")] = None,
) -> None:
    """Look through everything that is stored: tables, records, ledgers, waves, the published file. Changes nothing.

    Ends with code 1 if something stored is wrong; what only waits for a run is told and ends with 0.
    """
    from mpta_pipeline.pipeline import integrity
    from mpta_pipeline.pipeline.deployment import Deployment

    if only is not None and only not in integrity.CHECKS:
        raise ConfigError(
            "There is no such check", variable="--only", value=only, remedy=f"choose of {', '.join(integrity.CHECKS)}"
        )
    found = integrity.check_all(Deployment.from_env(), only)
    rows = []
    for name, (_, meaning) in integrity.CHECKS.items():
        mine = [f for f in found if f.check == name]
        failed = [f for f in mine if not f.passed]
        wrong = any(f.severity == "error" for f in failed)
        state = "holds" if not failed else "WRONG" if wrong else "to look at"
        if only in (None, name):
            rows.append({"check": name, "looked at": len(mine), "failed": len(failed), "state": state, "": meaning})
    _print_frame(pl.DataFrame(rows))
    for f in found:
        if not f.passed:
            colour = "red" if f.severity == "error" else "yellow"
            out.print(f"[{colour}]{f.check}[/{colour}] {escape(f.subject)}: {escape(f.message)}", soft_wrap=True)
    if any(not f.passed and f.severity == "error" for f in found):
        raise typer.Exit(1)


@app.command()
def forget(
    respondent: Annotated[
        str, typer.Argument(help="The respondent's id (r_…), or wave and own key, e.g. gss-2018:317.")
    ],
    *,
    rebuild: Annotated[
        bool, typer.Option("--run/--no-run", help="Run afterwards, or leave that to the daemon.")
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether this is meant.")] = False,
) -> None:
    """Take a respondent who withdrew out of everything, with what was made from their answers. It cannot be undone."""
    from datetime import UTC, datetime

    from mpta_pipeline import inference
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.publication import withdrawal

    deployment = Deployment.from_env()
    who = withdrawal.find(deployment.layout, deployment.sources, respondent.strip())
    if not yes:
        typer.confirm(f"Take {who.id} of {', '.join(who.waves)} out for good?", abort=True)
    with _instance(deployment) as instance:
        from mpta_pipeline.core.storage import alone, sweep_half_written
        from mpta_pipeline.orchestration.command_runs import sole_command
        from mpta_pipeline.orchestration.event_log import purge

        def waiting() -> None:
            out.print("Waiting for what is being made or asked to end; cancel it in the UI, or stop this with Ctrl-C.")

        with sole_command(deployment, instance), alone(deployment.layout, waiting):
            texts = withdrawal.texts_of(deployment.layout, who.id, deployment.study)
            models = inference.load_models(deployment.config / "models.yaml")
            outcome = withdrawal.forget(deployment.layout, deployment.sources, models, who, on=datetime.now(UTC).date())
            runs = purge(instance, texts)
            sweep_half_written(deployment.layout)
    if outcome.again:
        out.print("This respondent had withdrawn before; what was left is done now.")
    rows = [{"what": f"rows of {table}", "taken out": n} for table, n in sorted(outcome.rows.items())]
    rows += [{"what": f"answers of {model}", "taken out": n} for model, n in outcome.answers.items()]
    rows += [{"what": "runs whose previews showed them", "taken out": runs}]
    _print_frame(pl.DataFrame(rows))
    for note in outcome.notes:
        out.print(f"{escape(note)}.", style="yellow", soft_wrap=True)
    if rebuild:
        _run(Deployment.from_env())
    left = withdrawal.tables_with(deployment.layout, who.id, [_home(deployment) / "history"])
    for path in left:
        err.print(f"[red]still there, or not to be looked into[/red] {escape(str(path))}", soft_wrap=True)
    if left:
        err.print(
            "Delete what was exported or put there by hand; for anything else run this command again.", soft_wrap=True
        )
        raise typer.Exit(1)
    out.print("No stored file holds them any more.")
    if not rebuild:
        out.print("The daemon, or `mpta run`, will rebuild what they were part of.")


def _bury_killed_commands() -> None:
    """Let the daemon see that nothing of a killed command is in progress; one that is at work is left alone."""
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    with _instance(deployment) as instance, suppress(ConfigError):
        from mpta_pipeline.orchestration.command_runs import sole_command

        with sole_command(deployment, instance):
            pass


def _taken(host: str, port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    import socket

    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host if host != "0.0.0.0" else "127.0.0.1", port)) == 0


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open Dagster's UI, with its daemon, on the same instance (`dagster dev`)."""
    config = config_dir()
    if not config.is_dir():
        raise ConfigError(
            "The configuration folder is absent",
            file=config,
            remedy="run in the folder that holds dagster_home/, or set MPTA_CONFIG_DIR to it",
        )
    if _taken(host, port):
        raise ConfigError(
            "Another program listens on this port",
            variable="--port",
            value=f"{host}:{port}",
            remedy=f"open http://{host}:{port} if that is the UI already, or choose another port",
        )
    _bury_killed_commands()  # it sets DAGSTER_HOME, as every command does
    workspace = config.parent / "workspace.yaml"
    if not workspace.exists():
        workspace = Path(__file__).with_name("orchestration") / "workspace.yaml"
    executable = Path(sys.executable).with_name("dagster")
    os.execv(executable, [str(executable), "dev", "-w", str(workspace), "-h", host, "-p", str(port)])


if __name__ == "__main__":
    main()
