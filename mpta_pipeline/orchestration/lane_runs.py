"""Bring a lane of the automation up to date in one run: its job, and the worker that makes what is out of date."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import dagster as dg

from mpta_pipeline.core.provenance import Node
from mpta_pipeline.orchestration import source_observations
from mpta_pipeline.orchestration.attempts import Attempts, changing_attempts
from mpta_pipeline.orchestration.automation import Lane, Wanted, model_of, said, unfinished_runs, wanted
from mpta_pipeline.orchestration.command_runs import (
    PART_OF_TAG,
    Outcome,
    blocks,
    label_of,
    materialize,
    with_followers,
)
from mpta_pipeline.pipeline import approvals, graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.staleness import Due, inputs_digest, parents
from mpta_pipeline.pipeline.stored import made


@dataclass
class Worker:
    """Brings a lane up to date, in runs inside this process.

    Attributes:
        lane: The lane.
        build: Builds the definitions of a deployment, whose assets are made.
        instance: The Dagster instance.
        run_id: The run that this is.
        models: The models that it is about; null for those of the study.
        announce: Called with a line before each run, and at the end.
        warn: Called with the message of each failure.
    """

    lane: Lane
    build: Callable[[Deployment], dg.Definitions]
    instance: dg.DagsterInstance
    run_id: str
    models: Sequence[str] | None = None
    announce: Callable[[str], None] = lambda line: None
    warn: Callable[[str], None] = lambda line: None
    outcome: Outcome = field(default_factory=Outcome)
    deployment: Deployment = field(default_factory=Deployment.from_env)
    _tried: set[tuple[str, str]] = field(default_factory=set)
    _built: tuple[list[str], dg.Definitions] | None = None

    def run(self) -> Outcome:
        """Make what is out of date, in the order of work, until nothing is that has not been tried here.

        The configuration is read again before each step, as the step itself does.
        """
        self._bury()
        while True:
            self.deployment = Deployment.from_env()
            self._add_partitions()
            found = wanted(self.deployment, self.instance, self.lane, within=self.run_id)
            todo = [d for d in found.nodes if (str(d.node), d.inputs) not in self._tried]
            if any(self._is_of_others(d.node) for d in todo):
                # What all models share is made once, after them.
                todo = [d for d in todo if model_of(d.node) is not None and not self._is_of_others(d.node)]
            if not todo:
                self.announce(said(replace(found, nodes=[])))
                return self.outcome
            self._make(*self._next(todo))

    def _is_of_others(self, node: Node) -> bool:
        """Whether a node is of a model that this run is not about."""
        model = model_of(node)
        return model is not None and self.models is not None and model not in self.models

    def _waits_for_approval(self, node: Node) -> bool:
        """Whether a model may not be asked, which is no failure, and changes its inputs when it is granted."""
        model = model_of(node)
        return graph.TABLES[node.asset].sends_requests and model in approvals.waiting_models(self.deployment)

    def _definitions(self) -> dg.Definitions:
        """The definitions, which know the study's tasks."""
        tasks = list(self.deployment.study.tasks)
        if self._built is None or self._built[0] != tasks:
            self._built = tasks, self.build(self.deployment)
        return self._built[1]

    def _bury(self) -> None:
        """Mark runs inside of others as failed if those have ended: their process was killed."""
        for run in unfinished_runs(self.instance):
            if (whole := run.tags.get(PART_OF_TAG)) is not None:
                of = self.instance.get_run_by_id(whole)
                if of is None or of.is_finished:
                    self.instance.report_run_failed(run, "The run that ran this has ended.")

    def _add_partitions(self) -> None:
        """Add models and waves that the daemon has not added yet since the sources sensor reported them."""
        for name, keys in source_observations.missing_partitions(self.deployment, self.instance).items():
            self.instance.add_dynamic_partitions(name, keys)

    def _next(self, todo: Sequence[Due]) -> tuple[tuple[str, ...], list[str], list[Due]]:
        """The assets and partitions of the next run, with those of its nodes that are out of date now."""
        by_node = {d.node: d for d in todo}
        for batch in self.lane.batches:
            chains: dict[tuple[str, ...], list[str]] = {}
            for key in graph.partition_keys(self.deployment, graph.TABLES[batch[0]].partitioning):
                stale = [asset for asset in batch if Node(asset, key) in by_node]
                if stale:
                    chains.setdefault(with_followers(stale, batch), []).append(key)
            for chain, keys in chains.items():
                block = blocks(self.deployment, self.instance, chain, keys)[0]
                return chain, block, [d for d in todo if d.node.asset in chain and d.node.partition in block]
        raise AssertionError("what is due belongs to a batch of the lane")

    def _make(self, assets: tuple[str, ...], keys: list[str], nodes: list[Due]) -> None:
        label = label_of(assets, keys)
        self.announce(f"{label}\n{said(Wanted(nodes, []))}")
        with changing_attempts(self.deployment.layout) as attempts:
            for d in nodes:
                before = attempts.get(str(d.node))
                same = before if before is not None and before.inputs == d.inputs else Attempts(d.inputs)
                attempts[str(d.node)] = replace(same, unfinished=same.unfinished + 1)
        try:
            done = materialize(self._definitions(), self.instance, assets, keys, {PART_OF_TAG: self.run_id})
        except KeyboardInterrupt:  # a person cancelled it: not an attempt, and not repeated
            self._record(nodes, [], [])
            raise
        self.outcome.made += done.made
        if done.problem is not None:
            self.outcome.failures[label] = done.problem
            self.warn(f"{label}: {done.problem}")
        ran = {name.partition("|")[0] for name in done.made} | set(done.failed)
        self._record(nodes, [Node(asset, key) for asset in assets if asset in ran for key in keys], done.failed)

    def _record(self, begun: Sequence[Due], ran: Sequence[Node], failed: Sequence[str]) -> None:
        """Store what became of the attempts: what is not up to date after its step has run has failed."""
        with changing_attempts(self.deployment.layout) as attempts:
            for d in begun:
                before = attempts.get(str(d.node), Attempts(d.inputs))
                attempts[str(d.node)] = replace(before, unfinished=max(before.unfinished - 1, 0))
            for node in ran:
                record, now = made(self.deployment, node), parents(self.deployment, node)
                if record is not None and record.parents == now:
                    attempts.pop(str(node), None)
                    continue
                inputs = inputs_digest(now)
                self._tried.add((str(node), inputs))
                if node.asset in failed and not self._waits_for_approval(node):
                    known = attempts.get(str(node))
                    same = known if known is not None and known.inputs == inputs else Attempts(inputs)
                    attempts[str(node)] = replace(same, failed=same.failed + 1)
            for name in [name for name, a in attempts.items() if not a.failed and not a.unfinished]:
                del attempts[name]


class LaneConfig(dg.Config):
    """Settings of a run of the models' lane."""

    models: list[str] | None = None


def job(lane: Lane, build: Callable[[Deployment], dg.Definitions]) -> dg.JobDefinition:
    """The job that brings a lane up to date.

    Args:
        lane: The lane.
        build: Builds the definitions of a deployment, whose assets the job runs.
    """

    def work(context: dg.OpExecutionContext, models: Sequence[str] | None) -> None:
        Worker(
            lane,
            build,
            context.instance,
            context.run_id,
            models,
            announce=context.log.info,
            warn=context.log.warning,
        ).run()

    if lane.of_models:

        @dg.op(name=lane.op, description=lane.description)
        def of_models(context: dg.OpExecutionContext, config: LaneConfig) -> None:
            work(context, config.models)

        op = of_models
    else:

        @dg.op(name=lane.op, description=lane.description)
        def of_all(context: dg.OpExecutionContext) -> None:
            work(context, None)

        op = of_all

    @dg.job(name=lane.job, description=f"{lane.description} The sensor {lane.name} starts it.")
    def made_of_one_step() -> None:
        op()

    return made_of_one_step
