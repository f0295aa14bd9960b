"""Asking through a provider's batch endpoint: hand in, wait, go on after a restart, take what there is.

What was handed in is noted in `batches.json` beside the ledger before it leaves and once it has an id, so that a killed
run finds its batches again and nothing is asked or paid twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from mpta_pipeline.hashing import digest
from mpta_pipeline.inference.faults import Fault, Kind
from mpta_pipeline.inference.providers.base import BatchEndpoint, BatchResult, Http, Wanted
from mpta_pipeline.inference.requests import Ask
from mpta_pipeline.storage import write_json

ATTEMPTS = 3  # to hand a batch in
LONGEST_PAUSE = 30.0  # seconds between them, so that a batch that was made shows in the provider's list


@dataclass
class Handed:
    """A batch that was handed in, or is about to be (no id yet): per request its number of options and elicitation."""

    tag: str
    id: str | None
    requests: dict[str, tuple[int, str]]
    at: float = 0.0
    """When it was handed in, seconds since 1970."""

    def asks(self) -> Iterator[Ask]:
        """The requests as far as reading their replies needs them; their text is with the provider."""
        for key, (k, elicitation) in self.requests.items():
            yield Ask(key, None, "", ("",) * k, elicitation, "")


class Batches:
    """The open batches of one model."""

    def __init__(self, endpoint: BatchEndpoint, http: Http, folder: Path, poll: float) -> None:
        self.endpoint = endpoint
        self.http = http
        self.poll = poll
        self.path = folder / "batches.json"
        self.open: list[Handed] = []
        self.notes: list[str] = []
        if self.path.is_file():
            self.open = [Handed(**entry) for entry in orjson.loads(self.path.read_bytes())]

    @property
    def waiting(self) -> set[str]:
        """Requests that are with the provider."""
        return {key for handed in self.open for key in handed.requests}

    async def resume(self) -> None:
        """Find the id of a batch whose handing in was cut off; without a trace at the provider it is forgotten."""
        for handed in [h for h in self.open if h.id is None]:
            handed.id = await self._find(handed)
            if handed.id is None:
                self.open.remove(handed)
                self.notes.append(
                    f"a run was cut off while it handed in batch {handed.tag}; the provider shows no such batch, "
                    "so its requests are asked again"
                )
        self._save()

    async def submit(self, asks: Sequence[Ask]) -> None:
        """Hand in requests, in as many batches as they need."""
        for start in range(0, len(asks), self.endpoint.most):
            part = asks[start : start + self.endpoint.most]
            handed = Handed(
                tag="mpta-" + digest(*(a.request_hash for a in part)),
                id=None,
                requests={a.request_hash: (len(a.options), a.elicitation) for a in part},
                at=time.time(),
            )
            self.open.append(handed)
            self._save()
            try:
                handed.id = await self._hand_in(part, handed)
            finally:
                self._save()

    async def _hand_in(self, part: Sequence[Ask], handed: Handed) -> str:
        """Hand in one batch. Where it is not known whether it was taken, it is looked for before it is sent again."""
        for left in reversed(range(ATTEMPTS)):
            try:
                return await self.endpoint.submit(part, handed.tag, self.http)
            except Fault as fault:
                if fault.kind not in (Kind.SERVER, Kind.DOWN):
                    self.open.remove(handed)  # refused, so there is nothing at the provider
                    raise
                if not left:
                    raise  # it stays noted without an id: the next run looks for it
            await asyncio.sleep(min(self.poll, LONGEST_PAUSE))
            found = await self._find(handed)
            if found is not None:
                return found
        raise AssertionError("the loop returns or raises")

    async def _find(self, handed: Handed) -> str | None:
        others = frozenset(other.id for other in self.open if other.id is not None)
        return await self.endpoint.find(Wanted(handed.tag, frozenset(handed.requests), handed.at, others), self.http)

    async def collect(self, take: Callable[[Ask, BatchResult], None], kept: Callable[[], object]) -> None:
        """Wait for the batches and hand their results to `take`; a batch is forgotten once `kept` made them durable.

        Raises:
            Fault: A batch failed as a whole.
        """
        while self.open:
            for handed in list(self.open):
                state = await self.endpoint.state(str(handed.id), self.http)
                if not state.ended:
                    continue
                asks = {ask.request_hash: ask for ask in handed.asks()}
                results = [] if state.failed else list(await self.endpoint.results(str(handed.id), self.http))
                in_order = list(asks) if len(results) == len(asks) else []
                for place, result in enumerate(results):
                    key = result.request_hash or (in_order[place] if in_order else "")
                    ask = asks.pop(key, None)
                    if ask is None:
                        continue
                    if result.payload is None and result.fault is None:
                        asks[ask.request_hash] = ask
                    else:
                        take(ask, result)
                kept()
                self.open.remove(handed)
                self._save()
                if state.failed:
                    raise Fault(Kind.FATAL, f"batch {handed.id} failed: {state.failed}")
                if asks:
                    self.notes.append(
                        f"batch {handed.id} ended with {len(asks)} request(s) not asked; run again for them"
                    )
            if self.open:
                await asyncio.sleep(self.poll)

    async def cancel(self) -> None:
        """Ask the provider to stop all open batches."""
        for handed in self.open:
            if handed.id is not None:
                await self.endpoint.cancel(handed.id, self.http)

    def _save(self) -> None:
        if self.open:
            write_json([asdict(handed) for handed in self.open], self.path)
        else:
            self.path.unlink(missing_ok=True)
