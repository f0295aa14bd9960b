"""Write .sas7bdat files: pyreadstat reads them only, but the C library inside it (ReadStat) writes them, too."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from pyreadstat import _readstat_writer

_STRING, _DOUBLE = 0, 5  # readstat_type_t
_COMPRESS_ROWS = 1
_GET_BYTES = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(_readstat_writer.__file__)
    handle, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    for name, result, arguments in (
        ("writer_init", handle, ()),
        ("writer_free", None, (handle,)),
        ("set_data_writer", ctypes.c_int, (handle, _GET_BYTES)),
        ("writer_set_compression", ctypes.c_int, (handle, ctypes.c_int)),
        ("add_variable", handle, (handle, text, ctypes.c_int, size)),
        ("variable_set_label", None, (handle, text)),
        ("begin_writing_sas7bdat", ctypes.c_int, (handle, handle, ctypes.c_long)),
        ("begin_row", ctypes.c_int, (handle,)),
        ("end_row", ctypes.c_int, (handle,)),
        ("end_writing", ctypes.c_int, (handle,)),
        ("insert_double_value", ctypes.c_int, (handle, handle, ctypes.c_double)),
        ("insert_string_value", ctypes.c_int, (handle, handle, text)),
        ("insert_missing_value", ctypes.c_int, (handle, handle)),
    ):
        function = getattr(library, f"readstat_{name}")
        function.restype, function.argtypes = result, list(arguments)
    return library


def write_sas7bdat(frame: pl.DataFrame, path: Path, labels: Mapping[str, str], *, compressed: bool = False) -> Path:
    """Write numbers as doubles and everything else as text, with the variables' labels."""
    library, content = _library(), bytearray()

    def keep(data: int, length: int, _: object) -> int:
        content.extend(ctypes.string_at(data, length))
        return length

    def done(error: int) -> None:
        assert error == 0, f"ReadStat's error {error}"

    writer, callback = library.readstat_writer_init(), _GET_BYTES(keep)
    try:
        done(library.readstat_set_data_writer(writer, callback))
        if compressed:
            done(library.readstat_writer_set_compression(writer, _COMPRESS_ROWS))
        columns = []
        for name, dtype in frame.schema.items():
            text = not dtype.is_numeric()
            width = max(1, frame[name].cast(pl.String).str.len_bytes().max() or 1) if text else 8
            variable = library.readstat_add_variable(writer, name.encode(), _STRING if text else _DOUBLE, width)
            library.readstat_variable_set_label(variable, labels.get(name, "").encode())
            columns.append((variable, text))
        done(library.readstat_begin_writing_sas7bdat(writer, None, frame.height))
        for row in frame.iter_rows():
            done(library.readstat_begin_row(writer))
            for (variable, text), value in zip(columns, row, strict=True):
                if value is None:
                    done(library.readstat_insert_missing_value(writer, variable))
                elif text:
                    done(library.readstat_insert_string_value(writer, variable, str(value).encode()))
                else:
                    done(library.readstat_insert_double_value(writer, variable, float(value)))
            done(library.readstat_end_row(writer))
        done(library.readstat_end_writing(writer))
    finally:
        library.readstat_writer_free(writer)
    path.write_bytes(content)
    return path
