"""Make the controls: conditions that show what else could explain the difference that a persona makes.

Another respondent's traits (this person, or any person?), neutral text of the same length (or only the words before
the question?), and the persona without one domain of traits (which of them?).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import polars as pl

from mpta_pipeline.core.hashing import hash_uniform

# Condition → the groups within which another respondent's traits are shown instead. Always within a wave, because what
# must be hidden is known for the wave's own columns, and so that a new wave does not change earlier stand-ins.
SHUFFLES: Mapping[str, tuple[str, ...]] = {"shuffled_country": ("wave", "country"), "shuffled_any": ("wave",)}
PLACEBO = "placebo"
MEANING: Mapping[str, str] = {
    "persona": "the person's own traits",
    "no_persona": "no persona at all",
    "demographics_only": "the person's demographic traits alone",
    "group": "no person: the shares of the answers in a described group are asked for",
    "shuffled_country": "the traits of another respondent of the same wave and country",
    "shuffled_any": "the traits of another respondent of the same wave, of any country",
    "placebo": "neutral text of the persona's length",
    "without_demographic": "the persona less its demographic traits",
    "without_belief": "the persona less its beliefs",
    "without_value": "the persona less its values",
    "without_attitude": "the persona less its attitudes",
}


def domains_shown(condition: str) -> tuple[str, ...] | None:
    """Domains whose traits a condition shows; None for all."""
    if condition == "demographics_only":
        return ("demographic",)
    if condition.startswith("without_"):
        left_out = condition.removeprefix("without_")
        return tuple(d for d in ("demographic", "belief", "value", "attitude") if d != left_out)
    return None


def stand_ins(personas: pl.DataFrame, within: Sequence[str], *, seed: int) -> pl.DataFrame:
    """Assign to every persona another one of its group: the next by keyed hash, and the first to the last.

    Nobody stands in for two personas. If a persona comes or goes, only its neighbour's stand-in changes.

    Returns:
        respondent_id, shown_respondent_id; no row for a persona that is alone in its group.
    """
    frame = personas.select("respondent_id", *within)
    order = hash_uniform(frame, ["respondent_id"], key=f"shuffle\x1f{'+'.join(within)}\x1f{seed}")
    frame = frame.with_columns(order.alias("order")).sort("order", "respondent_id")
    following = pl.col("respondent_id").shift(-1).fill_null(pl.col("respondent_id").first()).over(within)
    return frame.select("respondent_id", following.alias("shown_respondent_id")).filter(
        pl.col("respondent_id") != pl.col("shown_respondent_id")
    )


@cache
def _sentences() -> tuple[str, ...]:
    return tuple(Path(__file__).with_name("placebo.txt").read_text(encoding="utf-8").split("\n")[:-1])


def placebo(texts: pl.Series) -> pl.Series:
    """Write neutral text as long as each text, to the nearest sentence; null for null.

    The sentences are true, say nothing about any person, and repeat for texts that are longer than all of them.
    """
    longest = int(str(texts.str.len_chars().max() or 0))
    sentences = _sentences()
    lengths: list[int] = []
    pieces: list[str] = []
    so_far = ""
    while not pieces or lengths[-1] < longest:
        so_far = " ".join(filter(None, (so_far, sentences[len(pieces) % len(sentences)])))
        pieces.append(so_far)
        lengths.append(len(so_far))
    known = pl.DataFrame({"length": lengths, "placebo": pieces}, schema_overrides={"length": pl.Int64})
    asked = texts.str.len_chars().cast(pl.Int64).alias("length").to_frame().with_row_index("row")
    found = asked.drop_nulls("length").sort("length").join_asof(known, on="length", strategy="nearest")
    return asked.join(found.select("row", "placebo"), on="row", how="left", maintain_order="left")["placebo"]
