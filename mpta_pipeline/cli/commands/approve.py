"""`mpta approve`: let the daemon send requests to a model that costs money."""

from __future__ import annotations

from typing import Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result


@command(
    Group.STUDY,
    examples=[
        "mpta approve  # which models wait, how many requests, and what they would cost",
        "mpta approve my-model  # from now on the daemon sends its requests",
        "mpta approve my-model --revoke",
    ],
)
def approve(
    models: Annotated[
        list[str] | None, typer.Argument(help="Models to approve; none: show what waits, change nothing.")
    ] = None,
    *,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Withdraw the approval; requests that were not sent yet wait again.")
    ] = False,
) -> Result:
    """Approve the price of a model, so that the daemon and scheduled runs may send its requests.

    Only models whose entry in models.yaml has a price, and no budget, need an approval. It holds for the model and
    parameters of the entry as it is now, at this price or a lower one. What `mpta run` sends needs none.
    """
    from mpta_pipeline import inference
    from mpta_pipeline.cli.options import check_model
    from mpta_pipeline.pipeline import approvals
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    named = list(dict.fromkeys(models or ()))
    for name in named:
        check_model(name, deployment, variable="MODEL")
    result = Result()
    if not named:
        _add_waiting(result, deployment)
        return result
    for name in named:
        spec = deployment.model(name)
        if revoke:
            there = inference.revoke(name, deployment.layout.approvals)
            result.info("The approval is withdrawn." if there else "There was no approval.", subject=name)
            continue
        if not inference.costs_money(spec):
            why = "models.yaml gives it no price" if spec.price is None else "its price is zero"
            result.info(f"It needs no approval, because {why}.", subject=name)
            continue
        unsent = list(approvals.unsent(deployment, [name]))
        inference.approve(spec, deployment.layout.approvals)
        result.info(f"Approved at {inference.price_text(spec)}.", subject=name)
        for one in unsent:
            result.info(f"  {one.pair.task}: {one.requests:,} request(s), about {one.dollars:,.2f} US$")
        dollars = sum(one.dollars for one in unsent)
        requests = sum(one.requests for one in unsent)
        if unsent:
            result.info(
                f"{requests:,} request(s), about {dollars:,.2f} US$: a running daemon sends them within a minute; "
                "without a daemon, `mpta run` does."
            )
        if spec.budget is not None:
            result.note(f"Its entry also has a budget of {spec.budget:g} US$, which is not exceeded.", subject=name)
        result.table(
            "approved",
            [{"model": name, "requests": requests, "dollars": round(dollars, 4)}],
            shown=(),
        )
    return result


def _add_waiting(result: Result, deployment: object) -> None:
    """Add what waits for an approval."""
    from mpta_pipeline import inference
    from mpta_pipeline.pipeline import approvals
    from mpta_pipeline.pipeline.deployment import Deployment

    assert isinstance(deployment, Deployment)
    waiting = approvals.waiting_models(deployment)
    unsent = {name: list(approvals.unsent(deployment, [name])) for name in waiting}
    rows = [
        {
            "model": name,
            "requests": sum(one.requests for one in unsent[name]),
            "dollars": round(sum(one.dollars for one in unsent[name]), 4),
            "price": inference.price_text(deployment.model(name)),
            "why": f"the model {because}",
        }
        for name, because in waiting.items()
    ]
    result.table("waiting", rows, title="Models that wait for an approval", shown=None if rows else ())
    if not rows:
        result.info("No model waits for an approval.")
    elif not any(row["requests"] for row in rows):
        result.info("Their prompts do not exist yet, or all their requests have a response.")
    for name in waiting:
        result.info(f"`mpta approve {name}` approves it.")
