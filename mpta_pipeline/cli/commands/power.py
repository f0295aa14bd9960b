"""`mpta power`: how small a difference the study would find, and what more people or questions would buy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result

if TYPE_CHECKING:
    import polars as pl


@command(
    Group.STUDY,
    examples=[
        "mpta power",
        "mpta power --accuracy 0.8 --without-persona 0.7  # what you expect of the model",
        "mpta power --json  # every subgroup and every multiple as JSON",
    ],
)
def power(
    accuracy: Annotated[
        float, typer.Option("--accuracy", min=0.01, max=0.99, help="Share of right answers that you expect.")
    ] = 0.6,
    without_persona: Annotated[
        float, typer.Option("--without-persona", min=0.01, max=0.99, help="The same without a persona.")
    ] = 0.5,
    person_sd: Annotated[
        float, typer.Option("--person-sd", min=0.0, max=0.5, help="How much it varies between persons, beyond chance.")
    ] = 0.1,
    question_sd: Annotated[
        float,
        typer.Option(
            "--question-sd", min=0.0, max=0.5, help="How much a gap, or an arm's effect, varies between questions."
        ),
    ] = 0.05,
) -> Result:
    """Compute the smallest differences that the study finds with 80 % power, and what more people or questions buy.

    It follows from the panel, the questions and the groups of the study, before anything is sent.
    """
    import polars as pl

    from mpta_pipeline.cli.labels import names_of
    from mpta_pipeline.core.multiverse import VARIANT
    from mpta_pipeline.core.power import why_more_finds_less
    from mpta_pipeline.metrics import detectable
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.pipeline.stored import read, stacked

    deployment = Deployment.from_env()
    result = Result()
    prompts = stacked(deployment, "prompts").filter(~pl.col("task").str.contains(VARIANT, literal=True))
    if prompts.is_empty():
        result.table("power", [], shown=())
        result.info("There are no prompts yet: `mpta run --until prompts` builds them without any request to a model.")
        return result
    assumed = detectable.Assumed(
        accuracy=accuracy, without_persona=without_persona, person_sd=person_sd, gap_sd=question_sd
    )
    rows = detectable.grid(
        prompts,
        read(deployment, "groups"),
        rules=deployment.study.figures,
        assumed=assumed,
        people=detectable.PEOPLE,
        questions=detectable.QUESTIONS,
    )
    table = detectable.power_table(rows)
    names = names_of(deployment)
    chosen = detectable.what_more_buys(table)
    shown = [_shown(part) for _, part in chosen.group_by(["task", "survey", "what"], maintain_order=True)]
    for row in shown:
        row |= {"task": names.task(str(row["task"])), "survey": names.survey(str(row["survey"]))}
        if row["of"] != "everyone":
            row["of"] = names.subgroup(*str(row["of"]).split("\x1f"))
    result.table(
        "power",
        table.to_dicts(),
        title="Smallest difference found with 80 % power, in percentage points",
        shown=shown,
    )
    result.facts["assumed"] = vars(assumed)
    result.info(
        f"Assumed: {100 * accuracy:g} % of the answers are right, {100 * without_persona:g} % without a persona; "
        f"persons differ by {100 * person_sd:g} points (standard deviation), gaps by {100 * question_sd:g} between "
        "questions. Of several subgroups, the one in the middle is shown; `--json` has all."
    )
    for why in why_more_finds_less(table):
        result.info(why)
    return result


def _shown(part: pl.DataFrame) -> dict[str, Any]:
    """One kind of difference as a row for the terminal."""
    first = part.filter(people=1, questions=1).row(0, named=True)
    everyone = first["subgroup"] == "all"
    row = {
        "task": first["task"],
        "survey": first["survey"],
        "difference": first["what"],
        "of": "everyone" if everyone else f"{first['dimensions']}\x1f{first['subgroup']}",
        "people": f"{first['n_personas']:,}",
        "batteries": f"{first['n_clusters']:,}",
    }
    for label, people, questions in (
        ("now", 1, 1),
        ("people × 2", 2, 1),
        ("people × 4", 4, 1),
        ("questions × 2", 1, 2),
        ("questions × 4", 1, 4),
        ("both × 2", 2, 2),
    ):
        value = part.filter(people=people, questions=questions)["detectable"].to_list()
        row[label] = points(value[0] if value else None)
    return row


def points(value: float | None) -> str:
    """A difference in points; a dash if none of at most 100 points is found."""
    return "–" if value is None or value > 1 else f"{100 * value:.1f}"
