"""Compare two releases of a wave: respondents, cells, labels and coverage."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from mpta_pipeline.core.tables import CHANGELOG
from mpta_pipeline.surveys import raw as raw_waves
from mpta_pipeline.surveys.missing import plain
from mpta_pipeline.surveys.raw import RawWave
from mpta_pipeline.surveys.readstat import number_text


def diff_releases(old: RawWave, new: RawWave) -> pl.DataFrame:
    """Compare two releases of a wave.

    Answers are compared as codes, and missing answers as kinds: if a release writes .n where the last one wrote .c,
    nothing changed for a respondent. A variable whose codes were only exchanged one for one makes one row (`recoded`),
    as does one that only got another name (`renamed`). Every other difference in a cell makes one row.

    Returns:
        CHANGELOG rows. `change` is added or removed (respondent), changed (another answer), blanked (an answer became
        missing), filled (a missing answer became one), recoded, renamed, label (text of the variable or of a code
        that both releases have) or coverage (number of answers, of all respondents; null: no such variable).
    """
    before, after = raw_waves.respondents(old), raw_waves.respondents(new)
    gone = before.join(after, on="native_key", how="anti").get_column("native_key")
    come = after.join(before, on="native_key", how="anti").get_column("native_key")
    pairs = before.select("native_key", old="row_index").join(
        after.select("native_key", new="row_index"), on="native_key", how="inner"
    )
    rows = [_rows("removed", keys=gone.to_list()), _rows("added", keys=come.to_list())]
    theirs = {v.lower(): v for v in old.variables["variable"]}
    ours = {v.lower(): v for v in new.variables["variable"]}
    for name in sorted(theirs.keys() & ours.keys()):
        rows += _compare(old, new, theirs[name], ours[name], pairs)
    rows += _renamed_or_moved(
        old,
        new,
        [theirs[n] for n in sorted(theirs.keys() - ours.keys())],
        [ours[n] for n in sorted(ours.keys() - theirs.keys())],
        pairs,
    )
    frame = pl.concat([r for r in rows if r.height] or [_rows("added", keys=[])])
    return CHANGELOG.conform(
        frame.with_columns(
            wave=pl.lit(new.wave), release_id=pl.lit(new.release_id), previous_release_id=pl.lit(old.release_id)
        )
    )


def _rows(change: str, *, keys: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"change": change, "variable": "", "native_key": list(keys), "old": None, "new": None},
        schema={
            "change": pl.String,
            "variable": pl.String,
            "native_key": pl.String,
            "old": pl.String,
            "new": pl.String,
        },
    )


def _one(change: str, variable: str, old: str | None, new: str | None) -> pl.DataFrame:
    return _rows(change, keys=[""]).with_columns(
        variable=pl.lit(variable), old=pl.lit(old, dtype=pl.String), new=pl.lit(new, dtype=pl.String)
    )


def _answers(wave: RawWave, variable: str) -> pl.DataFrame:
    """A variable's answers: `code` where it is one, else the kind of missing as `kind`.

    A number with decimals is one to the precision of four bytes: .077 of an SPSS file is .07699999958 in a Stata file.
    """
    single = pl.col("code").cast(pl.Float64, strict=False).cast(pl.Float32)
    decimal = ~pl.col("code").str.contains(r"^-?\d+$") & single.is_not_null()
    code = pl.when(decimal).then(number_text(single)).otherwise(pl.col("code"))
    return raw_waves.cells(wave, variable).select(
        pl.when(pl.col("missing").is_null()).then(code).alias("code"), pl.col("missing").alias("kind")
    )


def _side_by_side(old: pl.DataFrame, new: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    left = old[pairs["old"]].rename({"code": "old", "kind": "old_kind"})
    right = new[pairs["new"]].rename({"code": "new", "kind": "new_kind"})
    return pl.concat([pairs.select("native_key"), left, right], how="horizontal")


def _compare(old: RawWave, new: RawWave, theirs: str, ours: str, pairs: pl.DataFrame) -> list[pl.DataFrame]:
    before, after = _answers(old, theirs), _answers(new, ours)
    both = _side_by_side(before, after, pairs)
    rows = []
    n_before, n_after = before["code"].count(), after["code"].count()
    if n_before != n_after:
        rows.append(_one("coverage", ours, str(n_before), str(n_after)))
    rows += _labels(old, new, theirs, ours)
    differs = both.filter(pl.col("old").ne_missing(pl.col("new")) | pl.col("old_kind").ne_missing(pl.col("new_kind")))
    if differs.is_empty():
        return rows
    if (swapped := _one_for_one(both)) is not None:
        return [*rows, _one("recoded", ours, *swapped)]
    kind = (
        pl.when(pl.col("new").is_null() & pl.col("old").is_not_null())
        .then(pl.lit("blanked"))
        .when(pl.col("old").is_null() & pl.col("new").is_not_null())
        .then(pl.lit("filled"))
        .otherwise(pl.lit("changed"))
    )
    rows.append(
        differs.select(
            kind.alias("change"),
            pl.lit(ours).alias("variable"),
            "native_key",
            pl.coalesce("old", "old_kind").alias("old"),
            pl.coalesce("new", "new_kind").alias("new"),
        )
    )
    return rows


def _one_for_one(both: pl.DataFrame) -> tuple[str, str] | None:
    """The old and new codes, if each old code became one new code throughout and nothing else changed; else None."""
    if (both["old"].is_null() != both["new"].is_null()).any():
        return None
    if both["old_kind"].ne_missing(both["new_kind"]).any():
        return None
    mapping = both.select("old", "new").drop_nulls().unique().sort("old")
    codes = mapping.height
    # At least two codes: one changed code of a constant variable is a change, not a recode.
    if codes < 2 or mapping["old"].n_unique() != codes or mapping["new"].n_unique() != codes:
        return None
    if codes * 2 > both["old"].count():  # nearly every respondent has a different code: not categories
        return None
    moved = mapping.filter(pl.col("old") != pl.col("new")).head(20)
    return ", ".join(moved["old"]), ", ".join(moved["new"])


def _labels(old: RawWave, new: RawWave, theirs: str, ours: str) -> list[pl.DataFrame]:
    """Label changes of a variable and of the codes that both releases label, in one row."""
    before, after = old.labels(theirs), new.labels(ours)
    changed = [c for c in before.keys() & after.keys() if not c.startswith(".") and plain(before[c]) != plain(after[c])]
    pairs = [(f"{c}={before[c]}", f"{c}={after[c]}") for c in sorted(changed)]
    if plain(old.label(theirs) or "") != plain(new.label(ours) or ""):
        pairs.insert(0, (old.label(theirs) or "", new.label(ours) or ""))
    if not pairs:
        return []
    return [_one("label", ours, "; ".join(p[0] for p in pairs), "; ".join(p[1] for p in pairs))]


def _renamed_or_moved(
    old: RawWave, new: RawWave, gone: Sequence[str], come: Sequence[str], pairs: pl.DataFrame
) -> list[pl.DataFrame]:
    """Variables in only one of the releases: renamed if the answers are the same, else lost or new."""
    rows = []
    prints: dict[int, str] = {}
    answers = {name: _answers(new, name) for name in come}
    for name, frame in answers.items():
        prints.setdefault(_fingerprint(frame, pairs["new"]), name)
    renamed: set[str] = set()
    for name in gone:
        frame = _answers(old, name)
        twin = prints.get(_fingerprint(frame, pairs["old"]))
        same = twin is not None and frame["code"].n_unique() > 2
        if twin is not None and same and twin not in renamed:
            renamed.add(twin)
            rows.append(_one("renamed", twin, name, twin))
        else:
            rows.append(_one("coverage", name, str(frame["code"].count()), None))
    rows += [_one("coverage", n, None, str(answers[n]["code"].count())) for n in come if n not in renamed]
    return rows


def _fingerprint(answers: pl.DataFrame, order: pl.Series) -> int:
    return hash(tuple(answers["code"][order].to_list()))
