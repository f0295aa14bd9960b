"""Failures of a command as messages: what happened, what was kept, what to do. No traceback reaches the terminal."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from mpta_pipeline.core.errors import MptaError

INTERRUPTED = 130
"""Exit code after Ctrl-C."""
DEBUG = "MPTA_DEBUG"
"""Environment variable that lets warnings and tracebacks of Python and of libraries through."""

_HISTORY = {
    "is full|disk I/O error|No space left": "free space on that disk",
    "readonly|unable to open": "let this user write to that folder",
    "malformed|not a database": "restore that folder from a backup or move it away; a new history then begins",
    "locked": "end the other process that uses it",
}
_ANY_HISTORY = "check that the database of dagster.yaml can be reached"


@contextmanager
def reported() -> Iterator[None]:
    """Turn every failure in the context into a message on standard error and an exit code.

    With `MPTA_DEBUG` set, unexpected failures keep their traceback and libraries their warnings.
    """
    if os.environ.get(DEBUG):
        debugging = True
    else:
        debugging = False
        _silence_libraries()
    try:
        yield
    except MptaError as failure:
        _say(str(failure))
        sys.exit(1)
    except OSError as failure:
        _say(_of_system(failure))
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer turns an interrupt into this exit code and says nothing.
        if isinstance(end, SystemExit) and end.code != INTERRUPTED:
            raise
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not break off the tidying up
        from mpta_pipeline.cli.output import err

        said = "Stopped. Everything received and stored so far is kept; run the same command again to continue."
        err.print(said, soft_wrap=True)
        sys.exit(INTERRUPTED)
    except BaseException as failure:  # polars' panics are not Exceptions
        if debugging:
            raise
        _say(_of_history(failure) or _of_full_disk(failure) or _unexpected(failure))
        sys.exit(1)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C from now on: a second one must not break off what is done at exit.

    The frames of an interrupted run hold contexts of Dagster that restore its handler when they are collected.
    """
    while True:
        try:
            gc.collect()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return
        except KeyboardInterrupt:
            continue


def _say(text: str) -> None:
    from mpta_pipeline.cli import output

    output.err.print(output.line(text, "error"), soft_wrap=True)


def _of_system(failure: OSError) -> str:
    if failure.errno in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT):
        return f"{failure}. Remedy: check the address and the network. What was stored before is unchanged."
    return (
        f"{failure}. Remedy: check that the folder can be written and that the disk has room (`mpta doctor`). What was "
        "stored before is unchanged."
    )


def _causes(failure: BaseException) -> Iterator[BaseException]:
    """A failure, what libraries wrapped in it, and what led to it."""
    waiting, seen = [failure], set[int]()
    while waiting:
        at = waiting.pop(0)
        if id(at) not in seen:
            seen.add(id(at))
            yield at
            further = (getattr(at, "orig", None), at.__cause__, at.__context__)
            waiting += [f for f in further if isinstance(f, BaseException)]


def _of_history(failure: BaseException) -> str | None:
    """The message for a database of Dagster that cannot be used; None for any other failure.

    SQLAlchemy's own text holds the statement with its values; the driver's, which is shown, does not.
    """
    for found in _causes(failure):
        if type(found).__module__.partition(".")[0] in ("sqlite3", "psycopg2"):
            text = next(iter(str(found).splitlines()), type(found).__name__)
            known = (remedy for words, remedy in _HISTORY.items() if any(w in text for w in words.split("|")))
            remedy, home = next(known, _ANY_HISTORY), os.environ.get("DAGSTER_HOME", "")
            return (
                f"Dagster's history{f' in {home}' if home else ''} cannot be used: {text}. Remedy: {remedy}, then run "
                "the command again. Stored tables and answers are unchanged."
            )
    return None


def _of_full_disk(failure: BaseException) -> str | None:
    """The message for a library that met a full disk; None for any other failure."""
    full = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
    for found in _causes(failure):
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT):
            return _of_system(found)
        if any(words in str(found) for words in full):
            first = next(line for line in str(found).splitlines() if any(words in line for words in full))
            return (
                f"{first[:300]}. Remedy: free space, then run the command again. What was stored before is unchanged."
            )
    return None


def _unexpected(failure: BaseException) -> str:
    """The message for a failure that no code expected; its traceback goes to a file that only the user can read.

    The file is in the data folder, where a withdrawal looks for what quotes a respondent.
    """
    import traceback

    from mpta_pipeline.core.storage import Layout

    first = next(iter(str(failure).splitlines()), "")
    where = ""
    with suppress(OSError):
        folder = Layout.from_env().root / "tracebacks"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}-{os.getpid()}.txt"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(failure, file=file)
        where = f" The traceback is in {path}; it may quote survey data, so read it before you pass it on."
    return (
        f"This is a bug in mpta: {type(failure).__name__}{f': {first}' if first else ''}.{where} What was stored "
        f"before is unchanged. Remedy: report it with the command; {DEBUG}=1 shows the traceback in the terminal."
    )


def _silence_libraries() -> None:
    """Keep warnings, log lines and background tracebacks of libraries out of the terminal."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # Without a handler Python writes warnings of any logger to standard error.
    logging.getLogger().addHandler(logging.NullHandler())
    threading.excepthook = lambda args: None
    sys.unraisablehook = lambda unraisable: None
