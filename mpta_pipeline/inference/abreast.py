"""Making model × task partitions of several models at the same time: a slow or failing model holds back no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import TypeVar

from mpta_pipeline.errors import MptaError
from mpta_pipeline.inference.engine import Stop

T = TypeVar("T")


def one_by_one(keys: Iterable[str], make: Callable[[str, str], T]) -> Iterator[tuple[str, T | MptaError]]:
    """Each partition (`model|task`) with what was made of it, or why it failed, in order."""
    for key in keys:
        model, _, task = key.rpartition("|")
        try:
            yield key, make(model, task)
        except MptaError as failure:
            yield key, failure


def abreast(
    keys: Iterable[str], make: Callable[[str, str], T], stop: Stop, lane: Callable[[str], str]
) -> Iterator[tuple[str, T | MptaError]]:
    """As `one_by_one`, but with one thread a lane; partitions come as they are ready, those of a lane in order.

    A single lane has a thread, too: an interrupt is raised in the main thread, and if that ran the event loop, a
    callback of the loop might swallow it, and asking would go on.

    Args:
        keys: The partitions.
        make: Makes one, from any thread; it must end soon after `stop` is set.
        stop: Set if the caller is interrupted, so that no thread goes on asking.
        lane: Model → its lane. Models that use the same machine take turns in one.

    Raises:
        Exception: What a thread raised that is no message of ours; the others are stopped.
    """
    lanes: dict[str, list[str]] = {}
    for key in keys:
        lanes.setdefault(lane(key.rpartition("|")[0]), []).append(key)
    if not lanes:
        return
    ready: SimpleQueue[tuple[str, T | BaseException]] = SimpleQueue()

    def work(mine: list[str]) -> None:
        try:
            for made in one_by_one(mine, make):
                ready.put(made)
                if stop.is_set():
                    return
        except BaseException as failure:
            ready.put((mine[0], failure))

    with ThreadPoolExecutor(len(lanes), thread_name_prefix="mpta-lane") as pool:
        try:
            for mine in lanes.values():
                pool.submit(copy_context().run, work, mine)
            for _ in range(sum(map(len, lanes.values()))):
                key, made = ready.get()
                if isinstance(made, BaseException) and not isinstance(made, MptaError):
                    raise made
                yield key, made
        except BaseException:
            stop.set()
            raise
