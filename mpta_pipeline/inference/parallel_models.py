"""Work through model × task pairs with several models at once; a slow or failing model delays no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import TypeVar

from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.inference.provider_errors import ModelUnusableError, unforeseen
from mpta_pipeline.inference.run_control import Stop

T = TypeVar("T")


def run_one_by_one(
    pairs: Iterable[ModelTask], make: Callable[[ModelTask], T]
) -> Iterator[tuple[ModelTask, T | MptaError]]:
    """Each pair with its result, or with the error that stopped it, in order.

    An unforeseen error counts as a failure of its own pair, like any other. A model that was given up before it
    answered anything fails on its remaining tasks with the same message and gets no further request.
    """
    given_up: dict[str, MptaError] = {}
    answering: set[str] = set()
    for pair in pairs:
        made: T | MptaError
        if pair.model in given_up:
            yield pair, given_up[pair.model]
            continue
        try:
            made = make(pair)
            answering.add(pair.model)
        except MptaError as failure:
            made = failure
            if isinstance(failure, ModelUnusableError) and failure.nothing_answered and pair.model not in answering:
                given_up[pair.model] = failure
        except Exception as failure:
            made = unforeseen(f"Work on {pair.model} and {pair.task}", failure)
        yield pair, made


def run_in_parallel(
    pairs: Iterable[ModelTask], make: Callable[[ModelTask], T], stop: Stop, queue_of: Callable[[str], str]
) -> Iterator[tuple[ModelTask, T | MptaError]]:
    """As `run_one_by_one`, with one thread per queue. Results come as they are ready, those of a queue in order.

    A single queue gets its own thread as well: an interrupt is raised in the main thread, and if that ran the event
    loop, a callback of the loop might swallow the interrupt and requests would go on.

    Args:
        pairs: The pairs.
        make: Works on one pair, from any thread; it must end soon after `stop` is set.
        stop: Set if the caller is interrupted or leaves before the last pair, so that no thread goes on sending
            requests. A caller that leaves after the last pair does not set it: later work may share it.
        queue_of: Model → the queue it waits in. Models that use the same machine share a queue and take turns.

    Raises:
        BaseException: A thread was interrupted; the others are stopped.
    """
    queues: dict[str, list[ModelTask]] = {}
    for pair in pairs:
        queues.setdefault(queue_of(pair.model), []).append(pair)
    if not queues:
        return
    ready: SimpleQueue[tuple[ModelTask, T | BaseException]] = SimpleQueue()

    def work(mine: list[ModelTask]) -> None:
        try:
            for made in run_one_by_one(mine, make):
                ready.put(made)
                if stop.is_set():
                    return
        except BaseException as failure:
            ready.put((mine[0], failure))

    left = sum(map(len, queues.values()))
    with ThreadPoolExecutor(len(queues), thread_name_prefix="mpta-queue") as pool:
        try:
            for mine in queues.values():
                pool.submit(copy_context().run, work, mine)
            while left:
                pair, made = ready.get()
                if isinstance(made, BaseException) and not isinstance(made, MptaError):
                    raise made
                left -= 1
                yield pair, made
        except BaseException:
            if left:
                stop.set()
            raise
