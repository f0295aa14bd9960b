"""Estimates of answers made elsewhere: all that the pipeline computes of its own, and where it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from mpta_pipeline import metrics, report
from mpta_pipeline.core.errors import ConfigError, ValidationError
from mpta_pipeline.core.storage import write_atomic, write_text
from mpta_pipeline.core.study import EstimateRules, Study, TaskConfig
from mpta_pipeline.core.tables import ITEMS, MODEL_COMPARISON, POCKETS, SCORES, SUBGROUP_METRICS
from mpta_pipeline.external import numeric_answers as numeric
from mpta_pipeline.external.scoring_inputs import Answers
from mpta_pipeline.metrics.samples.groups import CROSS, ROW_DIMENSIONS
from mpta_pipeline.metrics.samples.item_features import COLUMNS as FACTS

POCKET_SEED = 2025
# Our own columns: a user's group of the same name gets a suffix.
_TAKEN = frozenset({*(c.name for c in ITEMS.columns if not c.optional), *SCORES.schema, *FACTS, *ROW_DIMENSIONS}) - {
    "stratum",
    "psu",
    "arm",
    "treated",
}
_FORMATS = (".csv", ".json", ".parquet")
OWN_NAME = " (of the file)"


@dataclass(frozen=True)
class Results:
    """All tables of one call.

    Attributes:
        estimates: SUBGROUP_METRICS.
        comparison: MODEL_COMPARISON; empty with one model.
        pockets: POCKETS; empty if no personas have groups.
        scores: SCORES of all models.
        items: ITEMS.
        numeric: Comparison of numeric answers; None if there are none.
        rules: The rules that were applied.
    """

    estimates: pl.DataFrame
    comparison: pl.DataFrame
    pockets: pl.DataFrame
    scores: pl.DataFrame
    items: pl.DataFrame
    numeric: pl.DataFrame | None
    rules: EstimateRules


def compute(answers: Answers, *, by: tuple[str, ...] = (), rules: EstimateRules | None = None) -> Results:
    """Compute all estimates of every model, for everyone, by category and by groups of personas.

    Args:
        answers: The answers with their items and groups.
        by: Dimensions: columns, or columns crossed with ×.
        rules: The study's rules, whose dimensions are used as well; None for the default rules without dimensions.

    Raises:
        ValidationError: No answer can be scored, or all requests failed.
    """
    groups = answers.groups
    if groups is None:
        groups = pl.DataFrame(schema={"respondent_id": pl.String, "survey": pl.String})
    renamed = {x: f"{x}{OWN_NAME}" for x in groups.columns if x in _TAKEN and x not in ("respondent_id", "survey")}
    groups = groups.rename(renamed)
    wanted = tuple(CROSS.join(renamed.get(base, base) for base in dimension.split(CROSS)) for dimension in by)
    own = (
        ()
        if rules is None
        else tuple(d for d in rules.dimensions if set(d.split(CROSS)) <= {*groups.columns, *ROW_DIMENSIONS})
    )
    dimensions = tuple(dict.fromkeys((*own, "category", *wanted)))
    rules = (
        EstimateRules(dimensions=dimensions) if rules is None else rules.model_copy(update={"dimensions": dimensions})
    )
    estimates, scored, pockets = [], [], []
    frame = answers.frame
    if frame.height:
        _refuse_failed(frame)
        for (_model,), part in frame.group_by(["model"], maintain_order=True):
            scores = metrics.score_answers(part, answers.items, answers.gold)
            scored.append(scores)
            for _, of_task in scores.group_by(["task"], maintain_order=True):
                estimates.append(
                    metrics.compute_estimates(of_task, groups, answers.gold, rules=rules, items=answers.items)
                )
                traits = [x for x in groups.columns if x not in ("respondent_id", "survey", "stratum", "psu")]
                if traits:
                    pockets.append(metrics.find_pockets(of_task, groups, answers.gold, rules=rules, seed=POCKET_SEED))
    every = pl.concat(scored) if scored else SCORES.empty()
    compared = (
        metrics.compare_models(every, rules=rules, groups=groups)
        if every["model"].n_unique() > 1
        else MODEL_COMPARISON.empty()
    )
    numbers = None
    if answers.numeric is not None and answers.numeric.height:
        numbers = numeric.numeric_estimates(answers.numeric, answers.numeric_people, groups, wanted, level=rules.level)
    if not estimates and numbers is None:
        why = f": {answers.left_out[0].text()}" if answers.left_out else ""
        raise ValidationError(
            f"No answer is left to be scored{why}",
            remedy="`mpta score FILE --look` shows how each column was understood and what was left out",
        )
    return Results(
        SUBGROUP_METRICS.conform(pl.concat(estimates)) if estimates else SUBGROUP_METRICS.empty(),
        compared,
        POCKETS.conform(pl.concat(pockets)) if pockets else POCKETS.empty(),
        every,
        answers.items,
        numbers,
        rules,
    )


def _refuse_failed(frame: pl.DataFrame) -> None:
    """Refuse a file in which no answer was given at all.

    Raises:
        ValidationError: All requests failed.
    """
    given = pl.col("answer").is_not_null()
    if "probabilities" in frame.columns:
        given |= pl.col("probabilities").is_not_null()
    if "status" in frame.columns:
        given &= pl.col("status").is_null() | (pl.col("status") != "error")
        given |= pl.col("status").is_in(["refused", "unparsed"])
    if frame.filter(given).is_empty():
        raise ValidationError(
            f"All {frame.height:,} answers are failed requests: nothing can be scored",
            variable="answer",
            remedy="send the requests again; an empty answer counts as a failed request",
        )


# What the terminal shows of each kind of task; everything else is in the file that --out writes.
BBQ_SHOWN = (
    "bbq_acc_amb",
    "bbq_acc_amb_answered",
    "bbq_s_amb",
    "bbq_bias_amb",
    "bbq_acc_dis",
    "bbq_acc_dis_answered",
    "bbq_s_dis",
    "bbq_bias_dis_diff",
)
SHOWN = (
    "accuracy",
    "accuracy_strict",
    "accuracy_answered",
    "mc2_mass",
    "label_macro_f1",
    "yes_bias",
    "mae_n",
    "qwk",
    "tv",
    "w1n",
    "js",
    "variance_ratio",
    "entropy_ratio",
)


def overview(estimates: pl.DataFrame) -> pl.DataFrame:
    """The estimates to read first, one row a model, condition and category (or group), with n.

    BBQ: accuracies over all replies and over readable ones, the paper's two bias scores and ours beside them. Accuracy
    stands beside chance and, where people answered, beside always giving the item's most frequent answer (item mode).
    """
    own = estimates.filter((pl.col("baseline") == "") & ~pl.col("weighted"))
    # A single category equals the whole.
    only = pl.col("subgroup").filter(pl.col("dimensions") == "category").n_unique().over("model", "task") == 1
    rows = own.filter(~((pl.col("dimensions") == "category") & only)) if own.height else own
    shown = [m for m in (*BBQ_SHOWN, *SHOWN, "parse_rate", "error_rate") if rows.filter(metric=m).height]
    if any(m in BBQ_SHOWN for m in shown):
        shown = [m for m in shown if m in (*BBQ_SHOWN, "parse_rate")]
        # Categories name the rows of BBQ's own tables.
        rows = own.filter(~(only & (pl.col("dimensions") == "all"))) if own.height else own
    # Strict accuracy and that of readable answers add nothing if all answers are readable and given once.
    key = ["model", "task", "survey", "condition", "dimensions", "subgroup"]
    table = rows.filter(pl.col("metric").is_in(shown)).group_by(key, maintain_order=True)

    def of(metric: str, column: str) -> pl.Expr:
        return pl.col(column).filter(pl.col("metric") == metric).first()

    made = table.agg(
        pl.col("n_answers").filter(pl.col("metric") == "parse_rate").first().alias("n"),
        *(e for m in shown for e in ((of(m, "n_answers").alias(f"{m}_n"),) if m.startswith("bbq_acc") else ())),
        *(
            e
            for m in shown
            for e in (
                of(m, "estimate").alias(m),
                of(m, "ci_low").alias(f"{m}_low"),
                of(m, "ci_high").alias(f"{m}_high"),
            )
        ),
    ).sort(pl.col("dimensions") != "all", *key)
    beside = (
        estimates.filter((pl.col("metric") == "accuracy") & ~pl.col("weighted"))
        .group_by(key, maintain_order=True)
        .agg(
            pl.col("baseline_estimate").filter(pl.col("baseline") == "chance").first().alias("chance"),
            pl.col("baseline_estimate").filter(pl.col("baseline") == "item_mode").first().alias("item_mode"),
            pl.col("effect").filter(pl.col("baseline") == "").first(),
            pl.col("effect_low").filter(pl.col("baseline") == "").first().alias("effect_from"),
            pl.col("effect_high").filter(pl.col("baseline") == "").first().alias("effect_to"),
        )
    )
    return made.join(beside, on=key, how="left", maintain_order="left")


def check_out(path: Path) -> None:
    """Check that results can be written there.

    Raises:
        ConfigError: The suffix names no format.
    """
    if path.suffix and path.suffix not in _FORMATS and not path.is_dir():
        raise ConfigError(
            "Estimates are not written in this format",
            file=path,
            variable="--out",
            value=path.suffix,
            remedy=f"use one of {', '.join(_FORMATS)}, or a folder's name",
        )


def _no_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """Put an apostrophe before each text that a spreadsheet would take for a formula; numbers stay."""
    text = pl.col(pl.String)
    formula = text.str.contains(r"^\s*[=+@\t\r-]") & ~text.str.contains(r"^[+-]?\d+(\.\d+)?$")
    return frame.with_columns(pl.when(formula).then(pl.lit("'") + text).otherwise(text).name.keep())


def write(results: Results, path: Path, *, title: str, notes: tuple[str, ...] = ()) -> list[Path]:
    """Write the estimates to a file, or everything to a folder.

    Args:
        results: The tables.
        path: A .csv, .json or .parquet file for the estimates; any other name is a folder that gets each table as
            Parquet, `numbers.csv` where answers were numbers, `notes.txt` and `report.html`.
        title: Title of the report.
        notes: What a reader should know about how the answers were read.

    Raises:
        ConfigError: The suffix names no format.
    """
    check_out(path)
    estimates = results.estimates
    flat = estimates.with_columns(pl.col("release_ids").list.join(";"))
    writers: Mapping[str, Callable[[Path], object]] = {
        ".csv": _no_formulas(flat).write_csv,
        ".json": flat.write_json,
        ".parquet": estimates.write_parquet,
    }
    if path.suffix in writers and not path.is_dir():
        return [write_atomic(path, writers[path.suffix])]
    path.mkdir(parents=True, exist_ok=True)
    tables = {
        "subgroup_metrics": estimates,
        "model_comparison": results.comparison,
        "pockets": results.pockets,
        "scores": results.scores,
        "items": results.items,
    }
    done = [write_atomic(path / f"{name}.parquet", frame.write_parquet) for name, frame in tables.items()]
    if results.numeric is not None:
        done.append(write_atomic(path / "numbers.csv", _no_formulas(results.numeric).write_csv))
    if notes:
        done.append(write_text("\n".join(notes) + "\n", path / "notes.txt"))
    if estimates.height:
        names = sorted(estimates["task"].unique())
        study = Study(
            name="answers made elsewhere",
            tasks={name: TaskConfig(kind="multiple_choice") for name in names},
            figures=results.rules,
        )
        page = report.render_report(
            tables,
            study=study,
            metrics=metrics.METRICS,
            title=title,
            generated=datetime.now(UTC).replace(microsecond=0),
            notes=notes,
        )
        done.append(write_text(page, path / "report.html"))
    return done
