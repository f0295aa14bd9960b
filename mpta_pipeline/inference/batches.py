"""Asking through a provider's batch endpoint: hand in, wait, go on after a restart, take what there is.

What was handed in is noted in `batches.json` beside the ledger before it leaves and once it has an id, so that a killed
run finds its batches again and nothing is asked or paid twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from mpta_pipeline.hashing import digest
from mpta_pipeline.inference.faults import Fault, Kind
from mpta_pipeline.inference.providers.base import BatchEndpoint, BatchResult, Http
from mpta_pipeline.inference.requests import Ask
from mpta_pipeline.storage import write_json


@dataclass
class Handed:
    """A batch that was handed in, or is about to be (no id yet): per request its number of options and elicitation."""

    tag: str
    id: str | None
    requests: dict[str, tuple[int, str]]

    def asks(self) -> Iterator[Ask]:
        """The requests as far as reading their replies needs them; their text is with the provider."""
        for key, (k, elicitation) in self.requests.items():
            yield Ask(key, None, "", ("",) * k, elicitation, "")


class Batches:
    """The open batches of one model."""

    def __init__(self, endpoint: BatchEndpoint, http: Http, folder: Path) -> None:
        self.endpoint = endpoint
        self.http = http
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
            handed.id = await self.endpoint.find(handed.tag, self.http)
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
            )
            self.open.append(handed)
            self._save()
            try:
                handed.id = await self.endpoint.submit(part, handed.tag, self.http)
            except Fault:
                self.open.remove(handed)
                raise
            finally:
                self._save()

    async def collect(self, poll: float, take: Callable[[Ask, BatchResult], None], kept: Callable[[], object]) -> None:
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
                results = [] if state.failed else await self.endpoint.results(str(handed.id), self.http)
                for result in results:
                    ask = asks.pop(result.request_hash, None)
                    if ask is None:
                        continue
                    if result.payload is None and result.error is None:
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
                await asyncio.sleep(poll)

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
