"""Spare tests what Dagster spends on SQLite (an engine and a connection per query, migrations) and on processes.

Dagster makes an engine and a connection for each query, so that SQLAlchemy compiles every statement again, and asks
Alembic to set up a database for each run. Here an engine is made once per database and keeps its connection, and a new
database is copied from an empty one. What is stored is the same.

For each run Dagster starts four processes that copy what is captured to the terminal. Here what is printed is captured
only, as in commands (`orchestration/captured_output.py`).

Processes that tests start do without this, as those of users do.
"""

from __future__ import annotations

import functools
import sqlite3
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

KEPT = 32  # engines; each holds what it has compiled
_KEPT_OPEN = ExitStack()


def _pooled(make: Callable[..., Any], url: str, options: dict[str, Any]) -> Any:
    """An engine that keeps its connection, where Dagster asks for one that opens a connection per use."""
    engine = make(url, **options | {"poolclass": QueuePool, "pool_size": 1, "max_overflow": -1})
    path = Path(str(engine.url.database))

    def connected(_: Any, record: Any) -> None:
        record.info["file"] = _identity(path)

    def checked_out(_: Any, record: Any, __: Any) -> None:
        # A file that went and came back is another one.
        if record.info["file"] != _identity(path):
            raise DisconnectionError

    event.listen(engine, "connect", connected)
    event.listen(engine, "checkout", checked_out)
    engine.close, engine.dispose = engine.dispose, lambda **_: None
    return engine


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@functools.cache
def install() -> None:
    """Install all of it for the rest of this process."""
    from dagster._core.storage.event_log.sqlite import sqlite_event_log
    from dagster._core.storage.runs.sqlite import sqlite_run_storage
    from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage

    from mpta_pipeline.orchestration.captured_output import not_copied_to_the_terminal

    make, storage = sqlite_event_log.create_engine, sqlite_event_log.SqliteEventLogStorage
    set_up, engines = storage._initdb, OrderedDict[str, Any]()
    empty, lock = list[bytes](), threading.Lock()

    def create_engine(url: str, **options: Any) -> Any:
        key = f"{url} {sorted(options.items(), key=str)}"
        with lock:
            engines[key] = engine = engines.pop(key, None) or _pooled(make, url, options)
            if len(engines) > KEPT:
                engines.popitem(last=False)[1].close()
        return engine

    def initdb(self: Any, engine: Any, for_index_shard: bool = False) -> None:
        path = Path(str(engine.url.database))
        if for_index_shard or path.exists():
            set_up(self, engine, for_index_shard)
        elif empty:
            path.write_bytes(empty[0])
        else:
            set_up(self, engine)
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / "empty.db"
                with closing(sqlite3.connect(path)) as made:
                    made.execute("vacuum into ?", (str(copy),))
                with closing(sqlite3.connect(copy)) as made:
                    made.execute("pragma journal_mode = wal")
                empty.append(copy.read_bytes())

    for module in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
        module.create_engine = create_engine  # type: ignore[attr-defined]
    storage._initdb = initdb  # type: ignore[method-assign]
    _KEPT_OPEN.enter_context(not_copied_to_the_terminal())
