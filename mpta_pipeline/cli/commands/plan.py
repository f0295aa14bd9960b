"""`mpta plan`: requests, tokens, price and time of the study before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.labels import duration
from mpta_pipeline.cli.result import Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mpta_pipeline.inference import Plan
    from mpta_pipeline.pipeline.deployment import Deployment


@command(
    Group.STUDY,
    examples=[
        "mpta plan",
        "mpta plan --calibrate  # measure the speed of models on this machine first",
        "mpta plan --budget 20  # the design of the multiverse that this pays for and that tells most",
        "mpta plan --json  # the same as JSON",
    ],
)
def plan(
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="First send up to 24 requests of the study to each model that runs in this process and has not "
            "answered yet. Their responses are kept.",
        ),
    ] = False,
    budget: Annotated[
        float | None,
        typer.Option(min=0, help="US dollars: compare the designs of the multiverse that the study can ask for them."),
    ] = None,
    requests: Annotated[
        int | None, typer.Option(min=0, help="The same by the number of requests, e.g. for models without a price.")
    ] = None,
    figure: Annotated[
        str | None,
        typer.Option(help="Figure whose interval is to be narrow, by its name; default: the first of the multiverse."),
    ] = None,
    choice_sd: Annotated[
        float,
        typer.Option(
            "--choice-sd",
            min=0.0,
            max=0.5,
            help="How much you expect the figure to vary between configurations (standard deviation), until some were "
            "asked.",
        ),
    ] = 0.03,
) -> Result:
    """Estimate requests, tokens, price and time of the study, and how small a gap it can find, before anything is sent.

    The time has a range: from the model's earlier responses, or else from an assumed speed. The smallest gap follows
    from the panel, the questions, the weights and the groups of the study.
    """
    from mpta_pipeline import inference
    from mpta_pipeline.cli.designs import Wanted, add_designs
    from mpta_pipeline.core.multiverse import is_variant
    from mpta_pipeline.core.storage import at_work
    from mpta_pipeline.pipeline.configuration_problems import configuration_problems
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.pipeline.steps.inference import groups_left_out, planned_prompts
    from mpta_pipeline.pipeline.steps.tasks import items_left_out, redrawn_arms
    from mpta_pipeline.pipeline.stored import chunks_of, partitions

    deployment = Deployment.from_env()
    layout = deployment.layout
    prompted = partitions(deployment, "prompts")
    result = Result()
    if not any(chunk.rows for task in prompted for chunk in chunks_of(deployment, "prompts", task)):
        result.table("plan", [], shown=())
        for problem in configuration_problems(deployment):
            result.warning(str(problem))
        result.info("There are no prompts yet: `mpta run --until prompts` builds them without any request to a model.")
        return result
    told = {name: planned_prompts(deployment, spec, prompted) for name, spec in deployment.models.items()}
    if calibrate:
        with at_work(layout):
            for name, spec in deployment.models.items():
                if sent := inference.calibrate(spec, told[name], layout.ledger(name), layout.models):
                    result.info(
                        f"{sent} requests were sent to measure its speed; their responses are kept.", subject=name
                    )
    plans = [inference.plan(spec, told[name], layout.ledger(name)) for name, spec in deployment.models.items()]
    result.table("plan", [one.as_row() for one in plans], shown=[_shown(one) for one in plans])
    own = [task for task in prompted if not is_variant(task)]
    prices = _add_by_task(result, deployment)
    _add_by_condition(result, deployment, own)
    _add_by_arm(result, deployment, own)
    _add_orders(result, deployment)
    _add_together(result, deployment)
    _add_conversations(result, deployment)
    _add_multiverse(result, deployment, prompted, plans, prices)
    if (budget, requests, figure) != (None, None, None):
        add_designs(result, deployment, Wanted(budget, requests, figure, choice_sd))
    _add_total(result, deployment, plans)
    _add_jobs(result, deployment, prompted)
    _add_detectable(result, deployment, own)
    for task, message in (*redrawn_arms(deployment), *items_left_out(deployment)):
        result.warning(message, subject=task)
    for pair, said in groups_left_out(deployment):
        result.warning(said, subject=pair.label)
    for problem in configuration_problems(deployment):
        result.warning(str(problem))
    return result


def _add_by_task(result: Result, deployment: Deployment) -> dict[tuple[str, str], Plan]:
    """Add requests, price and time per model and task; the terminal shows them if there are several tasks.

    Returns:
        Model and task → plan, with those of configurations.
    """
    from mpta_pipeline.core.errors import MptaError
    from mpta_pipeline.core.multiverse import is_variant
    from mpta_pipeline.pipeline.status import to_send

    plans = {(pair.model, pair.task): one for pair, one in to_send(deployment) if not isinstance(one, MptaError)}
    rows: list[dict[str, Any]] = [
        {
            "model": model,
            "task": task,
            "requests": one.requests,
            "to send": one.calls,
            "dollars": one.price,
            "seconds": one.seconds,
        }
        for (model, task), one in plans.items()
        if not is_variant(model) and not is_variant(task)  # configurations have a table of their own
    ]
    shown = [
        {
            "model": row["model"],
            "task": row["task"],
            "requests": f"{row['requests']:,}",
            "to send": f"{row['to send']:,}",
            "US$": "" if row["dollars"] is None else f"{row['dollars']:.2f}",
            "time": duration(row["seconds"]) if row["to send"] else "",
        }
        for row in rows
    ]
    several = len({row["task"] for row in rows}) > 1
    result.table("by_task", rows, title="Per task", shown=shown if several else ())
    return plans


def _add_by_condition(result: Result, deployment: Deployment, prompted: Sequence[str]) -> None:
    """Add what each condition and framing takes; the terminal shows it for several framings, or with `group`."""
    import polars as pl

    from mpta_pipeline.core.vocabulary import GROUP_CONDITION
    from mpta_pipeline.pipeline.stored import reduced

    # 64 bits of each content's hash: they count ten million, and take an eighth of the memory.
    by, content = ("task", "condition", "framing"), pl.col("content_hash").hash().unique().alias("requests")
    found = [reduced(deployment, "prompts", task, lambda part: part.group_by(by).agg(content)) for task in prompted]
    distinct = pl.col("requests").list.explode().n_unique()
    counts = pl.concat(found).group_by(by).agg(distinct).sort(by).to_dicts()
    several = len(deployment.study.framings) > 1 or any(row["condition"] == GROUP_CONDITION for row in counts)
    title = "Requests per model, by condition and framing; equal ones are sent once"
    shown = [row | {"requests": f"{row['requests']:,}"} for row in counts]
    result.table("by_condition", counts, title=title, shown=shown if several else ())


def _add_by_arm(result: Result, deployment: Deployment, prompted: Sequence[str]) -> None:
    """Add the personas and requests of each arm of the study's experiments."""
    import polars as pl

    from mpta_pipeline.core.described_groups import of_people
    from mpta_pipeline.pipeline.stored import reduced

    by = ("task", "arm", "treated")
    personas, requests = (pl.col(name).hash().unique().alias(name) for name in ("respondent_id", "content_hash"))

    def of_arms(part: pl.DataFrame) -> pl.DataFrame:
        return of_people(part).drop_nulls("arm").group_by(by).agg(personas, requests)

    experiments = [task for task in prompted if deployment.study.tasks[task].arms]
    found = [reduced(deployment, "prompts", task, of_arms) for task in experiments]
    rows: list[dict[str, Any]] = []
    if found:
        distinct = [pl.col(name).list.explode().n_unique() for name in ("respondent_id", "content_hash")]
        counts = pl.concat(found).group_by(by).agg(distinct).sort("task", "treated", "arm")
        counts = counts.rename({"respondent_id": "personas", "content_hash": "requests"})
        people = _people_by_arm(deployment, experiments)
        rows = [
            row | {"people": people.get((row["task"], row["arm"]))}
            for row in counts.select("task", "arm", "personas", "requests").iter_rows(named=True)
        ]
    own = any(row["people"] is not None for row in rows)
    shown = [
        row
        | {"personas": f"{row['personas']:,}", "requests": f"{row['requests']:,}"}
        | {"people": "" if row["people"] is None else f"{row['people']:,}"}
        for row in rows
    ]
    if not own:
        shown = [{name: value for name, value in row.items() if name != "people"} for row in shown]
    title = "Requests per model, by arm; the control of a task comes first"
    title += "; people: the survey's own, who were in the arm themselves" if own else ""
    result.table("by_arm", rows, title=title, shown=shown)
    for task in experiments:
        asked = {row["arm"] for row in rows if row["task"] == task}
        if missing := [arm for arm in deployment.study.tasks[task].arms if arm not in asked]:
            result.warning(
                f"no persona is in the arm {', '.join(missing)}: enlarge the panel (panel.size), or ask each persona "
                "in every arm (arm_design: every)",
                subject=task,
            )


def _people_by_arm(deployment: Deployment, tasks: Sequence[str]) -> dict[tuple[str, str], int]:
    """Task and arm → people of the surveys who were in the arm themselves, for arms that name their people."""
    import polars as pl

    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.stored import made, read

    found: dict[tuple[str, str], int] = {}
    for task in tasks:
        if made(deployment, Node("arm_answers", task)) is not None:
            counts = read(deployment, "arm_answers", task).group_by("arm").agg(pl.col("respondent_id").n_unique())
            found |= {(task, arm): people for arm, people in counts.iter_rows()}
    return found


def _add_orders(result: Result, deployment: Deployment) -> None:
    """Add, per task with scales, the requests per model with cyclic orders and with scales forward and reversed."""
    from mpta_pipeline import tasks
    from mpta_pipeline.cli.labels import names_of
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.stored import made, read, reduced

    names, rows = names_of(deployment), []
    for task, config in deployment.study.own_tasks.items():
        if (
            config.orders not in _CHOICE
            or config.batch_items is not None
            or config.options.get("asked") == "conversation"
            or made(deployment, Node("prompts", task)) is None
        ):
            continue
        prompts = reduced(deployment, "prompts", task, lambda part: part.select(_CELL).unique())
        items = read(deployment, "items", task)
        seed = deployment.study.seed
        counts = {each: tasks.count_requests(prompts, items, config, orders=each, seed=seed) for each in _CHOICE}
        if counts["cyclic"] == counts["scale"]:
            continue
        rows.append({"task": task, "orders": config.orders, **counts})
        result.info(
            f"  {names.task(task)}: with `orders: scale`, ordinal questions are asked forward and reversed: "
            f"{counts['scale']:,} requests per model instead of {counts['cyclic']:,}"
            + (" with cyclic orders." if config.orders == "scale" else ".")
        )
    result.facts["orders"] = rows


def _add_together(result: Result, deployment: Deployment) -> None:
    """Add, per task whose questions share requests, the requests per model with and without `batch_items`."""
    import polars as pl

    from mpta_pipeline import tasks
    from mpta_pipeline.cli.labels import names_of
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.stored import made, read, reduced

    names, rows = names_of(deployment), []
    for task, config in deployment.study.own_tasks.items():
        if config.batch_items is None or made(deployment, Node("prompts", task)) is None:
            continue
        sent = reduced(deployment, "prompts", task, lambda part: part.select(pl.col("content_hash").hash().unique()))
        cells = reduced(deployment, "prompts", task, lambda part: part.select(_CELL).unique())
        items, seed = read(deployment, "items", task), deployment.study.seed
        alone = tasks.count_requests(cells, items, config, orders=config.orders, seed=seed)
        row = {"task": task, "batch_items": config.batch_items, "requests": sent["content_hash"].n_unique()}
        rows.append(row | {"one_by_one": alone})
        result.info(
            f"  {names.task(task)}: with `batch_items: {config.batch_items}`, {row['requests']:,} requests per model "
            f"instead of {alone:,} with one question each."
        )
    result.facts["asked_together"] = rows


def _add_conversations(result: Result, deployment: Deployment) -> None:
    """Add, per task that is asked in conversations, their number and length; their requests are counted at most."""
    import polars as pl

    from mpta_pipeline.cli.labels import names_of
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.stored import made, reduced

    names, rows = names_of(deployment), []
    depends = (pl.col("asked_after").list.len() > 0).any().alias("depends")

    def of_turns(part: pl.DataFrame) -> pl.DataFrame:
        if "conversation" not in part.columns:  # prompts of an earlier version
            part = part.clear().with_columns(pl.lit("").alias("conversation"), pl.lit([]).alias("asked_after"))
        return part.drop_nulls("conversation").group_by("conversation").agg(pl.len().alias("questions"), depends)

    for task, config in deployment.study.own_tasks.items():
        if config.options.get("asked") != "conversation" or made(deployment, Node("prompts", task)) is None:
            continue
        turns = reduced(deployment, "prompts", task, of_turns)
        if turns.is_empty():
            continue
        questions, skips = int(turns["questions"].max() or 0), bool(turns["depends"].any())  # type: ignore[arg-type]
        rows.append({"task": task, "conversations": turns.height, "questions": questions, "depends": skips})
        skipped = " Which questions a conversation skips follows from the answers: requests are counted at most."
        result.info(
            f"  {names.task(task)}: {turns.height:,} conversations of up to {questions:,} questions, each asked after "
            "the one before it was answered; with equal answers, equal beginnings are asked once."
            + (skipped if skips else "")
        )
    result.facts["conversations"] = rows


_CHOICE = ("cyclic", "scale")
_CELL = ("item_id", "respondent_id", "group", "repeat_id")


def _add_multiverse(
    result: Result,
    deployment: Deployment,
    prompted: Sequence[str],
    plans: Sequence[Plan],
    prices: Mapping[tuple[str, str], Plan],
) -> None:
    """Add the configurations of the multiverse: their requests, those that nothing before them shares, and the price.

    Args:
        result: What the command shows.
        deployment: The deployment.
        prompted: Tasks that have prompts.
        plans: The plan of each model for all tasks.
        prices: The plan of each model and task.
    """
    if not deployment.configurations:
        return
    import polars as pl

    from mpta_pipeline import inference, metrics
    from mpta_pipeline.core.multiverse import is_variant
    from mpta_pipeline.pipeline.steps.inference import planned_prompts

    asked, dollars, priced = [], 0.0, False
    for (name, spec), whole in zip(deployment.models.items(), plans, strict=True):
        for task in prompted:
            hashes = planned_prompts(deployment, spec, [task]).requests().select("request_hash")
            asked.append(hashes.select(pl.lit(name).alias("model"), pl.lit(task).alias("task"), "request_hash"))
        own = planned_prompts(deployment, spec, [task for task in prompted if not is_variant(task)])
        alone = inference.plan(spec, own, deployment.layout.ledger(name))
        if whole.price is not None:
            dollars, priced = dollars + whole.price - (alone.price or 0.0), True
    frame = metrics.multiverse.with_requests(deployment.configurations, pl.concat(asked))
    columns = ("task", "model", "configuration", "requests", "new_requests")
    rows = [
        {name: row[name] for name in columns} | {"dollars": _of_new(row, prices)} for row in frame.iter_rows(named=True)
    ]
    total, new = (int(frame[name].sum()) for name in ("requests", "new_requests"))
    if not total:
        result.info("The prompts of the multiverse are not built yet: `mpta run --until prompts` builds them.")
        return
    shown = [
        {name: row[name] for name in columns[:3]}
        | {"requests": f"{row['requests']:,}", "new requests": f"{row['new_requests']:,}"}
        | ({"US$": "" if row["dollars"] is None else f"{row['dollars']:.2f}"} if priced else {})
        for row in rows[:SHOWN_CONFIGURATIONS]
    ]
    result.table("configurations", rows, title="Configurations of the multiverse, and what each adds", shown=shown)
    result.facts["multiverse"] = {
        "configurations": len(rows),
        "requests": total,
        "shared": total - new,
        "new_requests": new,
        "dollars": dollars if priced else None,
    }
    if (more := len(rows) - SHOWN_CONFIGURATIONS) > 0:
        result.info(f"  {more:,} more configurations: `mpta plan --json` lists all.")
    price = f"; those that are still to be sent cost about {dollars:,.2f} US$" if priced else ""
    result.info(
        f"  The multiverse takes {total:,} requests. {total - new:,} of them are shared and asked once, so that it "
        f"adds {new:,} to the study{price}."
    )


SHOWN_CONFIGURATIONS = 40


def _of_new(row: Mapping[str, Any], plans: Mapping[tuple[str, str], Plan]) -> float | None:
    """Price of those of a configuration's requests that nothing before it shares and that have no response yet."""
    one = plans.get((row["asked_model"], row["asked_task"]))
    if one is None or one.price is None:
        return None
    return one.price / max(one.calls, 1) * min(one.calls, int(row["new_requests"]))


def _add_total(result: Result, deployment: Deployment, plans: Sequence[Plan]) -> None:
    """Add the sum of all models. Models in this process take turns, all others work side by side."""
    from mpta_pipeline.pipeline.request_options import queue_of

    queues: dict[str, float] = {}
    for one in plans:
        queue = queue_of(deployment, one.model)
        queues[queue] = queues.get(queue, 0.0) + one.seconds
    requests = sum(one.calls for one in plans)
    priced = [one.price for one in plans if one.price is not None]
    seconds = max(queues.values(), default=0.0)
    result.facts["total"] = {"requests": requests, "dollars": sum(priced) if priced else None, "seconds": seconds}
    if not requests:
        result.info("Total: nothing to send, every request has a response.")
        return
    minutes = f"about {seconds / 60:,.0f} min" if seconds >= 60 else "less than a minute"
    dollars = f", about {sum(priced):,.2f} US$" if priced else ""
    result.info(f"Total: {requests:,} requests{dollars}, {minutes}.")
    free = [one.model for one in plans if one.price is None and one.calls and not deployment.model(one.model).is_local]
    if free:
        result.warning(
            f"models.yaml gives no price for {', '.join(free)}, so the total does not include what they cost."
        )
    if limit := deployment.study.budget:
        result.info(f"The budget of a run is {limit:g} US$ (study.yaml); what is beyond it waits for the next run.")


def _add_jobs(result: Result, deployment: Deployment, prompted: Sequence[str]) -> None:
    """Add which steps are cut into jobs of the cluster, if one is configured."""
    from mpta_pipeline.cli.labels import names_of
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline import part_jobs

    cluster = part_jobs.cluster_name()
    if not cluster:
        return
    jobs = {task: part_jobs.expected_jobs(deployment, Node("prompts", task)) for task in prompted}
    cut = {task: n for task, n in jobs.items() if n > 1}
    result.facts["jobs"] = cut
    names = names_of(deployment)
    for task, n in cut.items():
        what = "the chunks of its prompts, and of each model's scores"
        result.info(f"  {names.task(task)}: up to {n} jobs on {cluster} make {what}.")
    if not cut:
        result.info(f"No task is so large that its prompts and scores are made by jobs on {cluster}.")


def _add_detectable(result: Result, deployment: Deployment, prompted: Sequence[str]) -> None:
    """Add how small a difference the design can find, per task and survey."""
    import polars as pl

    from mpta_pipeline.cli.labels import names_of
    from mpta_pipeline.core.power import POCKET
    from mpta_pipeline.metrics import detectable
    from mpta_pipeline.pipeline.stored import read, reduced

    unit = ("task", "survey", "respondent_id", "item_id")
    with_key = (pl.col("condition") == "persona") & pl.col("gold_idx").is_not_null()
    units = [
        reduced(
            deployment,
            "prompts",
            task,
            lambda part: (
                part.filter(with_key)
                .unique(unit, maintain_order=True)
                .select(*unit, "cluster_id", "gold_idx", "condition")
            ),
        )
        for task in prompted
    ]
    found = detectable.detectable(pl.concat(units), read(deployment, "groups"), rules=deployment.study.figures)
    summary = detectable.summary(found)
    result.facts["detectable"] = summary.to_dicts()
    names = names_of(deployment)
    for (task, survey), part in summary.group_by(["task", "survey"], maintain_order=True):
        points = {row["what"]: row for row in part.iter_rows(named=True)}
        said = []
        if gap := points.get(detectable.GAP):
            group = f"a subgroup of {gap['n_personas']} people"
            others = f"other subgroups: {100 * gap['smallest']:.0f} to {100 * min(gap['largest'], 1):.0f}"
            wanted = f"{group} that is {_points(gap)} worse than everyone else ({others})"
            said.append(wanted if gap["detectable"] <= 1 else f"no gap of {group}, however large")
        if (pocket := points.get(POCKET)) and pocket["detectable"] <= 1:
            said.append(f"a hidden pocket of {pocket['n_personas']} people that is {_points(pocket)} worse")
        if effect := points.get(detectable.EFFECT):
            said.append(
                f"a persona effect of {_points(effect)}"
                if effect["detectable"] <= 1
                else "no persona effect, however large"
            )
        result.info(
            f"  {names.task(str(task))} ({names.survey(str(survey))}) would find with 80 % power: {'; '.join(said)}."
        )


def _points(row: dict[str, object]) -> str:
    return f"{100 * float(str(row['detectable'])):.0f} points"


def _shown(one: Plan) -> dict[str, object]:
    """The row of a plan for a terminal: its time with range and origin in one cell."""
    row = one.as_row()
    seconds, low, high, speed = (row.pop(name) for name in ("seconds", "seconds_low", "seconds_high", "speed"))
    time = f"{duration(seconds)}\n({duration(low)} to {duration(high)},\n{speed})" if one.calls else ""
    return row | {"time": time}
