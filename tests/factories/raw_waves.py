"""Raw waves made of a few columns, without a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.tables import VARIABLES
from mpta_pipeline.surveys import RawWave, SourceRegistry

MakeRaw = Callable[..., RawWave]

# What each source needs for its respondents to be told apart.
IDENTITY: dict[str, Callable[[int], dict[str, Sequence[Any]]]] = {
    "gss": lambda n: {
        "year": [2018] * n,
        "id": list(range(1, n + 1)),
        "wtssall": [1.0] * n,
        "vstrat": [1] * n,
        "vpsu": [1] * n,
    },
    "gss_extract": lambda n: {"year": [2018] * n, "id": list(range(1, n + 1))},
    "wvs_usa_extract": lambda n: {
        "wvsccode": [840] * n,
        "year": [2011] * n,
        "wave": [6] * n,
        "age": list(range(20, 20 + n)),
    },
    "wvs7": lambda n: {
        "D_INTERVIEW": list(range(1, n + 1)),
        "B_COUNTRY": [840] * n,
        "A_YEAR": [2018] * n,
        "W_WEIGHT": [1.0] * n,
    },
    "wvs_ts": lambda n: {
        "S007": list(range(1, n + 1)),
        "S002VS": [7] * n,
        "S003": [840] * n,
        "S020": [2018] * n,
        "S017": [1.0] * n,
    },
    "joint": lambda n: {
        "uniqid": list(range(1, n + 1)),
        "cntry": [840] * n,
        "year": [2018] * n,
        "study": [2] * n,
        "gwght": [1.0] * n,
    },
    "evs2017": lambda n: {
        "id_cocas": list(range(1, n + 1)),
        "country": [276] * n,
        "year": [2018] * n,
        "gweight": [1.0] * n,
    },
    "evs_trend": lambda n: {
        "S007": list(range(1, n + 1)),
        "S002EVS": [5] * n,
        "S003": [276] * n,
        "S020": [2018] * n,
        "S017": [1.0] * n,
    },
    **{
        f"wvs_w{w}": (lambda n, v=v, y=y: {v[0]: [840] * n, v[1]: list(range(1, n + 1)), y: [2000] * n})
        for w, v, y in (
            (1, ("V2", "V3"), "V237"),
            (2, ("V2", "V3"), "V377"),
            (3, ("V2", "V3"), "V238"),
            (4, ("V2", "V3"), "V246"),
            (5, ("V2", "V3"), "V260"),
            (6, ("V2", "V3"), "V262"),
        )
    },
}
WEIGHTS = {
    "gss": "wtssall",
    "wvs7": "W_WEIGHT",
    "wvs_ts": "S017",
    "joint": "gwght",
    "evs2017": "gweight",
    "evs_trend": "S017",
}


def maker(folder: Path, registry: SourceRegistry) -> MakeRaw:
    """Return a function that makes a raw wave of a codebook from columns and value labels, below a folder."""
    made = 0

    def make(
        codebook: str,
        columns: Mapping[str, Sequence[Any] | pl.Series],
        labels: Mapping[str, Mapping[str, str]] | None = None,
        *,
        declared: Mapping[str, Sequence[str]] | None = None,
        titles: Mapping[str, str] | None = None,
        **release: Any,
    ) -> RawWave:
        nonlocal made
        made += 1
        n = len(next(iter(columns.values())))
        data = pl.DataFrame({**IDENTITY[codebook](n), **columns}, strict=False)
        source = registry[codebook]
        place = folder / f"raw-{made}"
        place.mkdir()
        data.write_parquet(place / "data.parquet")
        wave = f"{source.family}-test"
        VARIABLES.conform(
            pl.DataFrame(
                {
                    "wave": wave,
                    "release_id": f"{wave}@000000000000",
                    "variable": data.columns,
                    "position": range(data.width),
                    "label": [(titles or {}).get(v) for v in data.columns],
                    "storage": [str(t) for t in data.dtypes],
                    "value_labels": [
                        [{"code": c, "label": text} for c, text in (labels or {}).get(v, {}).items()]
                        for v in data.columns
                    ],
                    "missing_codes": [list((declared or {}).get(v, ())) for v in data.columns],
                },
                schema=VARIABLES.schema,
            )
        ).write_parquet(place / "variables.parquet")
        facts = {
            "wave": wave,
            "survey": source.family,
            "codebook": codebook,
            "release_id": f"{wave}@000000000000",
            "file_name": f"{codebook}.sav",
            "n_respondents": data.height,
            "sha256": "0" * 64,
            "weight_name": WEIGHTS.get(codebook),
            "file_declares_missing": bool(declared),
            "unstable_keys": False,
            **release,
        }
        return RawWave(wave, place, facts, source, registry.convention(source))

    return make
