"""Decide whether requests that cost money may be sent without a person at the keyboard.

A model whose entry has a price is not asked by the daemon, or by any scheduled run, before a person has approved it
(`mpta approve`) or its entry has a budget. An approval holds for the entry as it stood: for its model and parameters,
and for its price or a lower one. Neither approval nor price is part of a request's hash.
"""

from __future__ import annotations

import getpass
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mpta_pipeline.core.errors import ApprovalError, DamagedError
from mpta_pipeline.core.storage import read_checked_json, write_checked_json
from mpta_pipeline.inference.models import ModelSpec, card_version

_TOLERANCE = 1e-9  # relative; a price that was written to a file and read again is the same price


@dataclass(frozen=True)
class Approval:
    """A person's approval of a model's price.

    Attributes:
        model: The name of the model's entry.
        digest: The entry's model and parameters at that time (`card_version`).
        input: US dollars per million tokens sent, as charged: with the discount of batches, if the entry uses them.
        output: Likewise, per million tokens received.
        cached_input: Likewise, per million tokens that the provider has in its cache.
        at: When it was approved, UTC.
        by: The user name of who approved it.
    """

    model: str
    digest: str
    input: float
    output: float
    cached_input: float
    at: str
    by: str


@dataclass(frozen=True)
class Permission:
    """Whether a model may be asked without a person at the keyboard.

    Attributes:
        granted: Whether it may.
        version: Changes whenever what may be sent changes; empty for a model without a price.
        because: Why it may or may not, as the end of a sentence that begins with the model's name.
    """

    granted: bool
    version: str
    because: str


def costs_money(spec: ModelSpec) -> bool:
    """Whether the model's entry has a price above zero."""
    return spec.price is not None and any(_charged(spec))


def price_text(spec: ModelSpec) -> str:
    """The price as people read it, e.g. `0.15 US$ per million tokens sent and 0.6 received`."""
    sent, received, _ = _charged(spec)
    batch = " (with the discount of batches)" if spec.batch else ""
    return f"{sent:g} US$ per million tokens sent and {received:g} US$ per million received{batch}"


def permission(spec: ModelSpec, folder: Path) -> Permission:
    """Whether a model may be asked without a person at the keyboard.

    Args:
        spec: The model.
        folder: Folder of the approvals.
    """
    if not costs_money(spec):
        return Permission(True, "", "costs nothing")
    if spec.budget is not None:
        return Permission(True, f"budget {spec.budget:g}", f"has a budget of {spec.budget:g} US$")
    try:
        approval = read_approval(folder, spec.name)
    except DamagedError:
        return Permission(False, "waits", "has an approval that cannot be read")
    if approval is None:
        return Permission(False, "waits", "has a price, and nobody has approved it")
    date = f"{approval.at[:10]} by {approval.by}"
    if approval.digest != card_version(spec):
        return Permission(False, "waits", f"has another model or other parameters than were approved on {date}")
    before = (approval.input, approval.output, approval.cached_input)
    if any(now > then * (1 + _TOLERANCE) for now, then in zip(_charged(spec), before, strict=True)):
        return Permission(
            False, "waits", f"costs more than was approved on {date} ({before[0]:g} and {before[1]:g} US$)"
        )
    return Permission(True, "approved", f"was approved on {date}")


def approve(spec: ModelSpec, folder: Path) -> Approval:
    """Approve a model at its present price; the file is replaced as a whole."""
    sent, received, cached = _charged(spec)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    given = Approval(spec.name, card_version(spec), sent, received, cached, now, _user())
    write_checked_json(asdict(given), _path(folder, spec.name))
    return given


def revoke(model: str, folder: Path) -> bool:
    """Withdraw the approval of a model; return whether there was one."""
    path = _path(folder, model)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def read_approval(folder: Path, model: str) -> Approval | None:
    """The stored approval of a model; None if there is none.

    Raises:
        DamagedError: It cannot be read.
    """
    path = _path(folder, model)
    try:
        stored: dict[str, Any] = read_checked_json(path)
        return Approval(**stored)
    except FileNotFoundError:
        return None
    except TypeError:
        raise DamagedError(
            "An approval has other fields than it was written with",
            file=path,
            remedy=f"run `mpta approve {model}` again",
        ) from None


def waits(spec: ModelSpec, requests: int, dollars: float, because: str) -> ApprovalError:
    """The error about requests that wait for an approval."""
    return ApprovalError(
        f"Model {spec.name} waits for an approval: {requests:,} request(s), about {dollars:,.2f} US dollars at "
        f"{price_text(spec)}, were not sent, because the model {because}",
        requests=requests,
        dollars=dollars,
        model=spec.name,
        file=spec.source,
        remedy=f"`mpta approve {spec.name}` lets them be sent at this price; `budget:` in its entry also does, up to "
        "that many US dollars; responses received so far are kept",
    )


def _charged(spec: ModelSpec) -> tuple[float, float, float]:
    """US dollars per million tokens as charged: sent, received, and sent from the provider's cache."""
    price = spec.price
    if price is None:
        return 0.0, 0.0, 0.0
    million = 1_000_000
    return (
        price.of(million, 0, batch=spec.batch),
        price.of(0, million, batch=spec.batch),
        price.of(million, 0, million, batch=spec.batch),
    )


def _path(folder: Path, model: str) -> Path:
    return folder / f"{model}.json"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
