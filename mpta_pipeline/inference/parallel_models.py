"""Process model × task partitions of several models in parallel: a slow or failing model does not delay others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import TypeVar

from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.inference.provider_errors import ModelUnusableError, unforeseen
from mpta_pipeline.inference.run_control import Stop

T = TypeVar("T")


def run_one_by_one(keys: Iterable[str], make: Callable[[str, str], T]) -> Iterator[tuple[str, T | MptaError]]:
    """Each partition (`model|task`) with what was made of it, or why it failed, in order.

    An unforeseen error is the failure of its own partition, like any other. A model that turned out unusable before it
    answered anything fails on its remaining tasks with the same message, without further requests.
    """
    given_up: dict[str, MptaError] = {}
    at_work: set[str] = set()
    for key in keys:
        model, _, task = key.rpartition("|")
        made: T | MptaError
        if model in given_up:
            yield key, given_up[model]
            continue
        try:
            made = make(model, task)
            at_work.add(model)
        except MptaError as failure:
            made = failure
            if isinstance(failure, ModelUnusableError) and failure.nothing_answered and model not in at_work:
                given_up[model] = failure
        except Exception as failure:
            made = unforeseen(f"Work on {model} and {task}", failure)
        yield key, made


def run_in_parallel(
    keys: Iterable[str], make: Callable[[str, str], T], stop: Stop, host_of: Callable[[str], str]
) -> Iterator[tuple[str, T | MptaError]]:
    """As `run_one_by_one`, with one thread per host; results come as they are ready, those of one host in order.

    A single host gets a thread as well: an interrupt is raised in the main thread, and if that ran the event loop, a
    callback of the loop could swallow it, and the run would continue.

    Args:
        keys: The partitions.
        make: Makes one, from any thread; it must end soon after `stop` is set.
        stop: Set if the caller is interrupted, or leaves before the last partition, so that no thread continues. It is
            not set after the last partition, because it may be shared with the next run.
        host_of: Model → what runs it. Models of one host take turns.

    Raises:
        BaseException: A thread was interrupted; the others are stopped.
    """
    queues: dict[str, list[str]] = {}
    for key in keys:
        queues.setdefault(host_of(key.rpartition("|")[0]), []).append(key)
    if not queues:
        return
    ready: SimpleQueue[tuple[str, T | BaseException]] = SimpleQueue()

    def work(mine: list[str]) -> None:
        try:
            for made in run_one_by_one(mine, make):
                ready.put(made)
                if stop.is_set():
                    return
        except BaseException as failure:
            ready.put((mine[0], failure))

    left = sum(map(len, queues.values()))
    with ThreadPoolExecutor(len(queues), thread_name_prefix="mpta-host") as pool:
        try:
            for mine in queues.values():
                pool.submit(copy_context().run, work, mine)
            while left:
                key, made = ready.get()
                if isinstance(made, BaseException) and not isinstance(made, MptaError):
                    raise made
                left -= 1
                yield key, made
        except BaseException:
            if left:
                stop.set()
            raise
