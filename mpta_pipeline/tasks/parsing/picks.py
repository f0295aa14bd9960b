"""Decide which option a reply picks. Ambiguous replies are `unparsed`."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.reasoning_text import read_thought
from mpta_pipeline.core.tables import STATUSES
from mpta_pipeline.tasks.parsing import letters as marks
from mpta_pipeline.tasks.parsing.letters import FOREIGN_LETTER, JSON_KEY, LETTER, LETTER_RULES, letters_found, place_of
from mpta_pipeline.tasks.parsing.normalization import cleaned, plain_words, without_articles
from mpta_pipeline.tasks.parsing.option_texts import with_option_texts
from mpta_pipeline.tasks.parsing.phrases import any_phrase
from mpta_pipeline.tasks.parsing.refusals import unable

OK, REFUSED, UNPARSED, ERROR = STATUSES
# Unfinished JSON.
_UNFINISHED = r"^(?:json\s*)?\{\s*[\"'][^}]*$"
# JSON that has an empty answer or reports an error.
_VOID = rf"(?i)[\"']{JSON_KEY}[\"']\s*:\s*(?:null|[\"']\s*[\"']|\[\s*\])|^(?:json\s*)?\{{\s*[\"']error[\"']"
# Clauses end at full stops and line ends, before words of contrast, and at a comma before words that name a speaker.
_CLAUSES = (
    (r"([.!?;\n。！？；।]+\s*)", "${1}\x1f"),
    (
        r"(?i)([\s,，،—–]+)((?:but|however|yet|whereas|although|though|nevertheless|nonetheless|instead|still,|aber|jedoch|"
        r"allerdings|pero|sin embargo|mais|cependant|но|а|однако|लेकिन|परंतु|لكن|ولكن)[\s,]|但|然而|不过)",
        "${1}\x1f${2}",
    ),
    (
        r"(?i)([,，،—–]\s*)((?:I|I'd|as|this|the (?:person|respondent)|they|he|she|personally|in character|from|given|"
        r"als|como|en tant|как)\s|作为|这个人|我)",
        "${1}\x1f${2}",
    ),
)

READ = pl.Schema(
    [
        ("text", pl.String),
        ("options", pl.List(pl.String)),
        ("status", pl.String),
        ("pred_pos", pl.Int64),
        ("rule", pl.String),
        ("unparsed_reason", pl.String),
        ("opens_at", pl.Int64),
    ]
)
"""Columns of `read_replies`."""
# A fifth of a second goes to the rules' patterns, however few the replies. Up to this many are remembered, because
# early warnings, readable rates and scores read the same short replies one after the other.
FEW, MANY = 1_000, 20_000
_known: dict[tuple[str | None, ...], tuple[object, ...]] = {}


def read_replies(replies: pl.DataFrame) -> pl.DataFrame:
    """Decide which option each reply picks, by table operations.

    Reasoning is removed first; if it never ends, no text is left. Letters that the reply denies, attributes to
    others or joins ("not A", "most people say B", "A or B") are removed next. The first of these then decides: an
    empty reply; the text of exactly one option; a letter by `LETTER_RULES`; an option that says that the answer is
    unknown; a refusal; the position of an option in words; the text of exactly one option within a sentence that
    neither denies nor qualifies it.

    A reply is ambiguous, hence `unparsed`, if it declines and also names a letter, names several letters or a letter
    beyond the options, gives another option's text after a letter, or begins with one letter and picks another. If a
    reply says separately what is true and what the person answers, the person's answer counts.

    Args:
        replies: Columns text (String) and options (List(String), as shown).

    Returns:
        text, options, status (ok, refused or unparsed), pred_pos (shown position; null unless ok), rule (which one
        decided), unparsed_reason (one of `UNPARSED_REASONS`; null unless unparsed), opens_at (position of the letter
        that the reply opens with as a mark; null if it opens otherwise).
    """
    pairs = replies.select("text", "options").unique()
    if pairs.height > FEW:
        return _decide(pairs)
    keys = [_key(*row) for row in pairs.iter_rows()]
    known = {key: row for key in keys if (row := _known.get(key)) is not None}
    if len(known) < len(keys):
        decided = _decide(pairs.filter(pl.Series([key not in known for key in keys])))
        new = {_key(*row[:2]): row for row in decided.iter_rows()}
        if len(_known) > MANY:
            _known.clear()
        _known.update(new)
        known |= new
    return pl.DataFrame([known[key] for key in keys], schema=READ, orient="row")


def _key(text: str | None, options: list[str]) -> tuple[str | None, ...]:
    return (text, *options)


def _decide(pairs: pl.DataFrame) -> pl.DataFrame:
    """As `read_replies`, of texts and options without repeated pairs."""
    thought = read_thought(pl.col("text").fill_null("")).alias("read")
    frame = pairs.with_columns(thought).unnest("read")
    frame = frame.with_columns(cleaned(pl.col("said")).alias("clean"))
    read = _as_the_person(_read(frame.select("clean", "options").unique()))
    frame = frame.join(read, on=["clean", "options"], how="left")
    reason = (
        pl.when("unended")
        .then(pl.lit("cut_off"))
        .when(pl.col("thought") & (pl.col("rule") == "empty"))
        .then(pl.lit("thought_only"))
        .otherwise("unparsed_reason")
    )
    return frame.select(
        "text",
        "options",
        pl.when("unended").then(pl.lit(UNPARSED)).otherwise("status").alias("status"),
        pl.when(~pl.col("unended")).then("pred_pos").alias("pred_pos"),
        pl.when("unended").then(pl.lit("unended thought")).otherwise("rule").alias("rule"),
        reason.alias("unparsed_reason"),
        pl.when(~pl.col("unended")).then("opens_at").alias("opens_at"),
    )


def _as_the_person(read: pl.DataFrame) -> pl.DataFrame:
    """Prefer the person's answer if a reply states the facts separately; two different answers are a conflict."""
    # "Factually, the answer is B" is one clause.
    clauses = pl.col("clean").str.replace_all(rf"({any_phrase('factual')})[,，،]\s*", "${1} ")
    for pattern, parted in _CLAUSES:
        clauses = clauses.str.replace_all(pattern, parted)
    clauses = clauses.str.split("\x1f")
    factual = pl.element().str.contains(any_phrase("factual")) & ~pl.element().str.contains(any_phrase("as_person"))
    told = read.filter(pl.col("clean").str.contains(any_phrase("factual"))).select(
        "clean",
        "options",
        clauses.list.eval(pl.when(~factual).then(pl.element())).list.drop_nulls().list.join("").alias("rest"),
    )
    told = told.filter((pl.col("rest").str.strip_chars() != "") & (pl.col("rest") != pl.col("clean")))
    if told.is_empty():
        return read
    rest = _read(told.select(pl.col("rest").str.strip_chars(" ,;:-–—\n").alias("clean"), "options").unique())
    told = told.with_columns(pl.col("rest").str.strip_chars(" ,;:-–—\n")).join(
        rest.select(
            pl.col("clean").alias("rest"),
            "options",
            pl.col("status").alias("rest_status"),
            pl.col("pred_pos").alias("rest_pos"),
            pl.col("unparsed_reason").alias("rest_reason"),
        ),
        on=["rest", "options"],
        how="left",
    )
    frame = read.join(told, on=["clean", "options"], how="left")
    voice = pl.col("rest").str.contains(any_phrase("as_person"))
    named, whole = pl.col("rest_status") == OK, pl.col("status") == OK
    lettered = without_articles(pl.col("rest")).str.contains(LETTER)
    no_view = pl.col("rest").str.contains(any_phrase("no_view"))
    silent = pl.col("rest_reason").is_in(["no_option", "empty"]) & ~no_view & ~lettered
    outcome = (
        pl.when(pl.col("rest").is_null())
        .then(pl.lit("whole"))
        .when(voice & named)
        .then(pl.lit("rest"))
        .when(voice & whole & ~silent.fill_null(False))
        .then(pl.lit("conflict"))
        .when(named & whole & (pl.col("rest_pos") != pl.col("pred_pos")))
        .then(pl.lit("conflict"))
        .otherwise(pl.lit("whole"))
    )
    frame = frame.with_columns(outcome.alias("outcome"))
    conflict, person = pl.col("outcome") == "conflict", pl.col("outcome") == "rest"
    return frame.select(
        "clean",
        "options",
        pl.when(conflict).then(pl.lit(UNPARSED)).when(person).then(pl.lit(OK)).otherwise("status").alias("status"),
        pl.when(person).then("rest_pos").when(~conflict).then("pred_pos").alias("pred_pos"),
        pl.when(conflict)
        .then(pl.lit("truth against person"))
        .when(person)
        .then(pl.lit("as the person"))
        .otherwise("rule")
        .alias("rule"),
        pl.when(conflict).then(pl.lit("conflict")).when(~person).then("unparsed_reason").alias("unparsed_reason"),
        "opens_at",
    )


def _read(frame: pl.DataFrame) -> pl.DataFrame:
    """Apply all rules to cleaned replies.

    Args:
        frame: Columns clean and options, without repeated pairs.

    Returns:
        clean, options, status, pred_pos, rule, unparsed_reason, opens_at.
    """
    k = pl.col("options").list.len().cast(pl.Int64)
    frame = frame.with_columns(
        plain_words(pl.col("clean")).alias("plain"), marks.offered(pl.col("clean")).alias("offered")
    )
    articles = without_articles(pl.col("clean"))
    frame = frame.with_columns(
        *(letters_found(pl.col("offered"), rule.pattern).alias(f"rule {i}") for i, rule in enumerate(LETTER_RULES)),
        letters_found(articles.str.replace_all(" ", "  ", literal=True), marks.STANDING).alias("standing"),
        letters_found(articles, marks.LISTED).alias("listed"),
        unable(pl.col("clean")).alias("unable"),
        pl.col("clean").str.contains(any_phrase("disclaims")).alias("disclaims"),
        pl.any_horizontal(pl.col("clean").str.contains(any_phrase(n)) for n in ("negated", "denying")).alias("denying"),
        letters_found(pl.col("clean"), marks.ORDINAL).alias("ordinals"),
        pl.col("clean").str.contains(marks.JOINED).alias("joined"),
        letters_found(articles, marks.RETRACTED).alias("retracted"),
        letters_found(articles, marks.CORRECTED).alias("corrected"),
        *(articles.str.extract(marks.MARKED_TWICE, i).alias(f"mark {i}") for i in (1, 2)),
        pl.col("clean")
        .str.extract(marks.OPENS)
        .replace_strict(marks.PLACES, default=None, return_dtype=pl.Int64)
        .alias("opens_at"),
    )
    frame = with_option_texts(frame)
    letters = pl.coalesce(
        pl.when(pl.col(f"rule {i}").list.len() > 0).then(f"rule {i}") for i in range(len(LETTER_RULES))
    )
    names = pl.coalesce(
        pl.when(pl.col(f"rule {i}").list.len() > 0).then(pl.lit(rule.name)) for i, rule in enumerate(LETTER_RULES)
    )
    begins = pl.coalesce(
        pl.when(pl.col(f"rule {i}").list.len() > 0).then(f"rule {i}")
        for i, rule in enumerate(LETTER_RULES)
        if rule.name in marks.FIRST_RULES
    )
    frame = frame.with_columns(letters.alias("letters"), names.alias("letter_rule"))
    frame = frame.with_columns(place_of(pl.col("letters")).alias("letter"), place_of(begins).alias("begins_with"))
    ordinal = marks.ordinal_place(k)
    standing = pl.col("standing").list.len()
    several = (pl.col("listed").list.len() > 1) & ~pl.col("letter_rule").is_in(marks.SURE_RULES).fill_null(False)
    against = pl.when(pl.col("opens_with").is_not_null()).then(pl.col("opens_with") != pl.col("letter"))
    cut_off = pl.col("cut_off").is_not_null() & ~pl.col("cut_off").list.contains(pl.col("letter"))
    mismarked = pl.col("mismarked").list.contains(pl.col("letter")).fill_null(False) | (
        (pl.col("short_said").list.len() > 0) & ~pl.col("short_said").list.contains(pl.col("letter"))
    ).fill_null(False)
    turned = (pl.col("begins_with") != pl.col("letter")) & ~pl.col("letter_rule").is_in(marks.CONCLUDING_RULES)
    twice = (pl.col("mark 1") != pl.col("mark 2")).fill_null(False) & ~pl.col("letter_rule").is_in(
        marks.CONCLUDING_RULES
    )
    retracted = (place_of(pl.col("retracted")) != pl.col("letter")).fill_null(False) & ~pl.col("letter_rule").is_in(
        marks.SURE_RULES
    )
    retracted = retracted | (place_of(pl.col("corrected")) != pl.col("letter")).fill_null(False)
    unknown = pl.col("options").list.get(pl.col("letter"), null_on_oob=True).str.contains(any_phrase("unknowable"))
    said = pl.col("letters").is_not_null()
    outcomes: list[tuple[str, pl.Expr, pl.Expr]] = [
        ("empty", pl.col("plain") == "", pl.lit(None, pl.Int64)),
        ("option text", pl.col("equal").is_not_null(), pl.col("equal")),
        (
            "unfinished",
            pl.col("clean").str.contains(_UNFINISHED) | pl.col("clean").str.contains(_VOID),
            pl.lit(None, pl.Int64),
        ),
        ("several letters", said & (pl.col("letter").is_null() | several), pl.lit(None, pl.Int64)),
        ("letter against text", said & (pl.coalesce(against, cut_off) | mismarked), pl.lit(None, pl.Int64)),
        ("letter against letter", said & (turned.fill_null(False) | twice | retracted), pl.lit(None, pl.Int64)),
        (
            "refusal and letter",
            (said | (standing > 0)) & pl.col("unable") & ~unknown.fill_null(False),
            pl.lit(None, pl.Int64),
        ),
        ("letter", said, pl.col("letter")),
        ("unknown", pl.col("opens_unknown").is_not_null(), pl.col("opens_unknown")),
        ("refusal", pl.col("unable") | pl.col("disclaims"), pl.lit(None, pl.Int64)),
        ("place", ordinal.is_not_null() & ~pl.col("denying"), ordinal),
        ("option within", pl.col("inside").is_not_null() & (standing == 0), pl.col("inside")),
    ]
    rule = pl.coalesce(*(pl.when(test).then(pl.lit(name)) for name, test, _ in outcomes), pl.lit("none"))
    place = pl.coalesce(*(pl.when(rule == name).then(value) for name, _, value in outcomes))
    inside = place.is_between(0, k - 1)
    frame = frame.with_columns(rule.alias("rule"), pl.when(inside).then(place).alias("pred_pos"))
    reason = (
        pl.when(pl.col("rule") == "empty")
        .then(pl.lit("empty"))
        .when(pl.col("rule") == "several letters")
        .then(pl.lit("several_options"))
        .when(pl.col("rule").is_in(["letter against text", "letter against letter", "refusal and letter"]))
        .then(pl.lit("conflict"))
        .when((pl.col("n_inside") > 1) | pl.col("joined") | (standing > 1))
        .then(pl.lit("several_options"))
        .when(_foreign())
        .then(pl.lit("foreign"))
        .otherwise(pl.lit("no_option"))
    )
    status = (
        pl.when(pl.col("pred_pos").is_not_null())
        .then(pl.lit(OK))
        .when(pl.col("rule") == "refusal")
        .then(pl.lit(REFUSED))
        .otherwise(pl.lit(UNPARSED))
    )
    return frame.with_columns(status.alias("status")).select(
        "clean",
        "options",
        "status",
        "pred_pos",
        pl.when(pl.col("rule") == "letter").then("letter_rule").otherwise("rule").alias("rule"),
        pl.when(pl.col("status") == UNPARSED).then(reason).alias("unparsed_reason"),
        "opens_at",
    )


def _foreign() -> pl.Expr:
    """Whether a reply is in another script than the options, so that it cannot name one of them."""
    other = r"[\p{L}--\p{Latin}]"
    shown = pl.col("options").list.join(" ")
    outside = pl.col("clean").str.count_matches(other) * 2 > pl.col("clean").str.count_matches(r"\p{L}")
    return pl.col("clean").str.contains(FOREIGN_LETTER) | (
        outside & (shown.str.count_matches(other) * 2 <= shown.str.count_matches(r"\p{L}"))
    )
