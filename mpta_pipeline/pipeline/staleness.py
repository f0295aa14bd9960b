"""Decide what is out of date: compare what a table was made from with what it would be made from now."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from mpta_pipeline.core import named_sql
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node, Record, code_version
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.request_options import current_options
from mpta_pipeline.pipeline.step import step_of
from mpta_pipeline.pipeline.stored import made, partitions


def read_partitions(deployment: Deployment, node: Node, table: str) -> list[str]:
    """The partitions of an upstream table that a node reads."""
    partitioning = graph.TABLES[table].partitioning
    own = graph.TABLES[node.asset].partitioning
    gathers = not set(partitioning.dimensions) <= set(own.dimensions)
    return graph.matching(node, partitioning, partitions(deployment, table) if gathers else ())


def parent_nodes(deployment: Deployment, node: Node) -> list[Node]:
    """The stored partitions that a node is made from."""
    return [
        Node(table, key) for table in graph.parents_of(node.asset) for key in read_partitions(deployment, node, table)
    ]


def code(table: str) -> str:
    """Version of the code that makes a table: a hash of its modules, its SQL and its step."""
    declared = graph.TABLES[table]
    modules = code_version(*declared.code)
    return digest(modules, *map(named_sql.version, declared.sql), _source_of_step(table), length=12)


@cache
def _source_of_step(table: str) -> str:
    return inspect.getsource(step_of(table))


def parents(deployment: Deployment, node: Node) -> dict[str, str]:
    """Name → version of everything a node would be made from now; "" for what has not been made."""
    versions = {}
    for parent in parent_nodes(deployment, node):
        record = made(deployment, parent)
        versions[str(parent)] = record.version if record else ""
    versions["code"] = code(node.asset)
    for name in graph.settings_of(node.asset):
        setting = graph.SETTINGS[name]
        for key in graph.matching(node, setting.partitioning, ()):
            if setting.version is not None and (version := setting.version(deployment, key)):
                versions[str(Node(name, key))] = version
    return versions


def reasons(before: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """Why a node is out of date, in words; empty if it is not.

    Args:
        before: Name → version of everything that it was made from; null if it has not been made.
        now: The same of what it would be made from now.
    """
    if before is None:
        return ["it has not been made"]
    changed = [name for name in now if before.get(name) != now[name]]
    said = ["its code changed" if name == "code" else f"{name} {_event(name, before, now)}" for name in changed]
    return said + [f"{name} left the study" for name in before if name not in now]


def _event(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    if not now[name]:
        return "is missing"
    return "changed" if name in before else "is new"


@dataclass(frozen=True)
class Due:
    """A node that is out of date and has its inputs.

    Attributes:
        node: The node.
        inputs: Digest of the versions that it would be made from now.
        because: Why it is out of date.
    """

    node: Node
    inputs: str
    because: list[str]


def due(deployment: Deployment, assets: Iterable[str]) -> Iterator[Due]:
    """The nodes of some assets that are out of date and can be made: all that they read has been made."""
    for name in assets:
        for key in graph.partition_keys(deployment, graph.TABLES[name].partitioning):
            node = Node(name, key)
            record, now = made(deployment, node), parents(deployment, node)
            if (record is None or record.parents != now) and has_inputs(deployment, [name], key):
                said = reasons(None if record is None else record.parents, now)
                yield Due(node, inputs_digest(now), said)


def inputs_digest(versions: Mapping[str, str]) -> str:
    """Digest of what a node is made from, from `parents`."""
    return digest(*(f"{name} {version}" for name, version in sorted(versions.items())))


def has_inputs(deployment: Deployment, assets: Sequence[str], key: str) -> bool:
    """Whether every table that neighbouring assets are made from has a partition for this one."""
    read = {name for asset in assets for name in graph.parents_of(asset) if graph.owner(name) not in assets}
    return all(
        any(
            made(deployment, Node(name, partition))
            for partition in read_partitions(deployment, Node(assets[0], key), name)
        )
        for name in read
    )


def is_current(deployment: Deployment, node: Node) -> bool:
    """Whether a node has been made, and from what is there now."""
    record = made(deployment, node)
    return record is not None and record.parents == parents(deployment, node)


def current_record(deployment: Deployment, node: Node) -> Record | None:
    """The record of a node that needs no work; None if it must be made. Responses must be complete as well."""
    record = made(deployment, node)
    if record is None or record.parents != parents(deployment, node):
        return None
    return record if not graph.TABLES[node.asset].sends_requests or _complete(record) else None


def _complete(record: Record) -> bool:
    """Whether every request of a table of responses has an answer."""
    requests, sent, reused = (record.notes.get(name, -1) for name in ("requests", "asked", "reused"))
    return bool(requests == sent + reused)


def needs_run(deployment: Deployment, node: Node) -> bool:
    """Whether to rebuild a node: it is out of date, unfinished, or failed requests are retried."""
    record = made(deployment, node)
    if record is None or record.parents != parents(deployment, node):
        return True
    if not graph.TABLES[node.asset].sends_requests:
        return False
    options = current_options(deployment)
    again = options.retry_errors and bool(record.notes.get("errors"))
    approved = options.approved and bool(record.notes.get("awaiting_approval"))
    return again or approved or bool(record.notes.get("left"))


def unanswered(deployment: Deployment, pairs: list[ModelTask]) -> list[ModelTask]:
    """The pairs of a model and a task with requests to send, or responses to store."""
    return [pair for pair in pairs if current_record(deployment, Node("responses", str(pair))) is None]
