"""Find options whose text occurs in a reply: as the whole reply, at its beginning, or within a sentence."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.tasks.parsing.letters import FOREIGN_LETTER, JSON_KEY, PLACES, TAKEN_OUT
from mpta_pipeline.tasks.parsing.normalization import plain_words
from mpta_pipeline.tasks.parsing.phrases import any_phrase

_QUESTION = r"\b(?:do|does|did|should|would|could|can|why|is|are|how|what|who)\b[^.!?\n]*\?"
# The JSON value of a key that names an answer.
_JSON_VALUE = rf"(?i)[\"']{JSON_KEY}[\"']\s*:\s*\[?\s*[\"']?([\p{{L}}\p{{N}} ]{{1,60}}?)[\"']?\s*[,}}\]]"
# "1." at the beginning starts a list, whatever follows.
_ENUMERATED = r"^\W*1[.)]\s+\S"
# Short options occur in many sentences that do not pick them ("no idea", "I have 3 children"). They count only at the
# beginning, before punctuation, or as the statement at the end.
_SHORT = r"^(?:\p{L}{1,3}|\d+)$"
_OPENING = rf"^[^\w−-]*(?:{any_phrase('lead_in')}[\s,.!]+)*([\p{{L}}\p{{M}}\p{{N}}]+)\s*(?:[.,;:!–—\n،。，！؛।]|$)"
_CLOSING = (
    r"(?i)\b(?:(?:answer|reply|response|choice|pick|number|rating|score|value|position|place|view|opinion|vote|it|that|this|"
    r"which|me|here)(?:\s+is|'s)|be|say|said|answer|reply|choose|chose|pick|give it|"
    r"(?:go|going|went|answer|reply|respond) with|"
    r"think|believe|(?:myself|it|this|that|am|be|stand|sit|land|rate|score)(?: \w+)? at|(?:score|rating) of)\s*:?\s+"
    r"(?:an? )?[\"'“]?([\p{L}\p{M}\p{N}]+)[\"'”]?(?: on (?:this|the|that|a) scale\b[^.]*)?\s*[.!]*\s*$"
)


def with_option_texts(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the options whose words occur in a reply; each column is null if there is none.

    - equal: position of the only option whose words are the whole reply, in any order, with or without its mark.
    - inside: position of the only option whose words occur in the reply, neither denied nor qualified ("important" in
      "not important", "agree" in "somewhat agree"), and for short options at a place where they are the answer.
    - n_inside: number of different options whose words occur in the reply.
    - opens_with: position of the option whose words come first, after the mark; opens_unknown: the same if that option
      says that the answer is not known.
    - mismarked: positions of letters that are followed by another option's words.
    - short_said: positions of short options at a place where they are the answer.
    - cut_off: positions of the options that begin with the reply's words.
    """
    frame = frame.with_row_index("id")
    long = (
        frame.select(
            "id",
            pl.format(" {} ", "plain").alias("plain"),
            pl.col("clean").str.to_lowercase().alias("clean"),
            pl.col("options").alias("option"),
            pl.int_ranges(pl.col("options").list.len()).cast(pl.List(pl.Int64)).alias("pos"),
        )
        .explode("option", "pos")
        .with_columns(pl.format(" {} ", plain_words(pl.col("option"))).alias("words"))
        .filter(pl.col("words").str.strip_chars() != "")
    )
    # The end of a scale may also be named by its number alone: "10 (always justifiable)".
    ends = long.with_columns(pl.format(" {} ", pl.col("option").str.extract(r"^(\d+) \(")).alias("words")).drop_nulls()
    long = pl.concat([long, ends])
    in_order = pl.col("plain").str.strip_chars().str.split(" ").list.sort()
    same = in_order == pl.col("words").str.strip_chars().str.split(" ").list.sort()
    mark = pl.col("pos").replace_strict({i: letter.lower() for letter, i in PLACES.items()}, default="")
    marked = pl.col("plain") == pl.format(" {}{}", mark, "words")
    followed = (pl.col("plain") == pl.format("{}{} ", "words", mark)) & (mark != "")
    equal = _only(long.filter((pl.col("plain") == pl.col("words")) | same | marked | followed), "equal")

    hit = long.filter(pl.col("plain").str.contains(pl.col("words"), literal=True))
    pairs = hit.join(hit.select("id", pl.col("words").alias("other")), on="id")
    shadowed = pairs.filter(
        (pl.col("other") != pl.col("words")) & pl.col("other").str.contains(pl.col("words"), literal=True)
    )
    hit = hit.join(shadowed.select("id", "words").unique(), on=["id", "words"], how="anti")
    word = pl.col("words").str.strip_chars()
    rest = pl.col("plain").str.split(pl.col("words")).list.join(TAKEN_OUT)
    opening, closing = pl.col("clean").str.extract(_OPENING), pl.col("clean").str.extract(_CLOSING)
    valued = pl.col("clean").str.extract(_JSON_VALUE).str.strip_chars()
    listing = (word == "1") & pl.col("clean").str.contains(_ENUMERATED)
    at_an_end = (word == opening).fill_null(False) & ~listing
    at_an_end = at_an_end | (word == closing).fill_null(False) | (word == valued).fill_null(False)
    # "No, I don't" does not deny its own "no".
    negated = rest.str.contains(any_phrase("negated").replace("n't", "n t")) & ~((word == "no") & (opening == "no"))
    doubtful = negated | rest.str.contains(any_phrase("others")) | rest.str.contains(any_phrase("grading"))
    meant = (
        (~word.str.contains(_SHORT) | at_an_end) & ~doubtful & ~pl.col("clean").str.contains(rf"(?i){FOREIGN_LETTER}")
    )
    # Words in a question are not a statement.
    meant = meant & ~pl.col("clean").str.contains(_QUESTION)
    before = pl.col("plain").str.split(pl.col("words")).list.first().str.extract(r"(?:^|\s)([a-z])$")
    quoted = pl.col("clean").str.starts_with("{") & pl.col("clean").str.contains(
        pl.format('"{}"', pl.col("option").str.to_lowercase()), literal=True
    )
    inside = hit.with_columns(
        meant.alias("meant"),
        before.str.to_uppercase().replace_strict(PLACES, default=None, return_dtype=pl.Int64).alias("behind"),
        word.str.contains(_SHORT).alias("short"),
        quoted.alias("quoted"),
    )
    # "b. too much money" if that is not option B.
    small = pl.col("clean").str.contains(r"^\W*[a-k][.):]\s") & (pl.col("behind") != pl.col("pos"))
    inside = inside.with_columns(pl.col("meant") & ~small.fill_null(False))
    inside = inside.group_by("id").agg(
        pl.col("pos").first().alias("inside"),
        pl.col("pos").n_unique().alias("n"),
        pl.col("meant").any(),
        pl.col("behind").filter(pl.col("behind") != pl.col("pos")).unique().alias("mismarked"),
        pl.col("pos").filter((pl.col("short") & pl.col("meant")) | pl.col("quoted")).unique().alias("short_said"),
    )  # fmt: skip
    # "1, always justifiable" names one end of a scale by its number and the other by its words.
    labels = long.with_columns(plain_words(pl.col("option").str.extract(r"^\d+\s*[(:–-]\s*(.+)$")).alias("label"))
    labels = labels.filter(
        (pl.col("label").str.len_chars() > 2)
        & pl.col("plain").str.contains(pl.format(" {} ", "label"), literal=True)
    )  # fmt: skip
    labels = labels.group_by("id").agg(pl.col("pos").unique().alias("labelled"))
    inside = inside.join(labels, on="id", how="left").with_columns(
        pl.col("meant") & pl.col("labelled").list.contains(pl.col("inside")).fill_null(True)
    )
    inside = inside.select(
        "id",
        "mismarked",
        "short_said",
        pl.when((pl.col("n") == 1) & pl.col("meant")).then("inside").alias("inside"),
        pl.col("n").alias("n_inside"),
    )

    after = pl.col("plain").str.replace(r"^ (?:[a-z]|(?:the )?answer(?: is)? [a-z]) ", " ")
    opens = (
        long.filter(after.str.starts_with(pl.col("words")))
        .sort(pl.col("words").str.len_chars(), descending=True)
        .group_by("id")
        .agg(
            pl.col("pos").first().alias("opens_with"),
            pl.col("pos")
            .filter(pl.col("option").str.contains(any_phrase("unknowable")))
            .first()
            .alias("opens_unknown"),
        )
    )
    cut = long.filter(
        (after.str.strip_chars() != "") & pl.col("words").str.starts_with(after.str.strip_chars_end())
    )  # fmt: skip
    cut_off = cut.group_by("id").agg(pl.col("pos").unique().alias("cut_off"))
    for found in (equal, inside, opens, cut_off):
        frame = frame.join(found, on="id", how="left")
    return frame.drop("id")


def _only(hits: pl.DataFrame, name: str) -> pl.DataFrame:
    """Id and position of the replies that exactly one option fits."""
    found = hits.group_by("id").agg(pl.col("pos").first().alias(name), pl.col("pos").n_unique().alias("n"))
    return found.filter(pl.col("n") == 1).select("id", name)
