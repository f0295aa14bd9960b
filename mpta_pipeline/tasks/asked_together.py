"""Ask a persona several different questions in one request (`batch_items`), and find each answer in the reply.

Each question stays an item with prompts of its own. Those of one request have the same text and are therefore sent
once; the column `line` says which line of the reply is theirs, and `asked_together` how many questions there are.
"""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import hash_rows, hash_uniform
from mpta_pipeline.core.reasoning_text import read_thought
from mpta_pipeline.core.study import TaskConfig
from mpta_pipeline.core.vocabulary import CUT_OFF_FINISHES
from mpta_pipeline.tasks.batteries import ELICITATION

ASK = "Answer every question. Write one line per question: its number, a colon and the letter of one option."
COLUMNS = ("set", "line", "asked_together")


def check_items(name: str, config: TaskConfig, items: pl.DataFrame) -> None:
    """Refuse items that cannot be asked together with others.

    Raises:
        TaskError: Items without options, items whose score needs probabilities, or batteries in requests of their own.
    """
    if config.batch_items is None:
        return
    problem = ""
    if items["options"].list.len().min() == 0:
        problem = "has items that are answered in open text, and the reply to several questions has a letter for each"
    elif (items["scoring"] == "probability_mass").any():
        problem = "is scored by probabilities, which a reply to several questions does not have"
    elif "line" in items.columns and items["line"].null_count() < items.height:
        problem = "asks whole batteries in one request already (`asked: battery`)"
    if problem:
        raise TaskError(
            f"Task {name} {problem}",
            variable=f"tasks.{name}.batch_items",
            value=config.batch_items,
            remedy="leave batch_items out" + (", or use asked: question" if "batteries" in problem else ""),
        )


def grouped(pairs: pl.DataFrame, shown: pl.DataFrame, *, size: int, seed: int) -> pl.DataFrame:
    """Divide each persona's items among requests.

    Only items with equally many option orders share a request, so that each is asked once in each of its orders. The
    sequence of the items is one of `size` sequences set by hash, and which one a persona gets is set by hash too. So
    neighbours of a question differ between personas, while requests without a persona, which personas with the same
    items and sequence share, are about as many as one by one. Requests are equally large, give or take one. An item
    that is left alone is asked as if there were no `batch_items`.

    Args:
        pairs: Which persona is asked which item.
        shown: Each item in each order, with item_id and n_orders.
        size: Questions in a request, at most.
        seed: The study's seed.

    Returns:
        The same rows with `set` (a hash of the items in a request, in their sequence), `line` (place in it, from 1)
        and `asked_together` (number of items); null for items that are asked alone.
    """
    people = pairs.select("respondent_id").unique()
    sequence = (hash_uniform(people, ["respondent_id"], key=f"sequence\x1f{seed}") * size).cast(pl.Int64)
    people = people.with_columns(sequence.alias("sequence"))
    places = shown.select("item_id", "n_orders").unique().join(people.select("sequence").unique(), how="cross")
    places = places.with_columns(
        hash_uniform(places, ["sequence", "item_id"], key=f"place\x1f{seed}").alias("place"),
    )
    alike, request = ["respondent_id", "n_orders"], ["respondent_id", "n_orders", "request"]
    frame = (
        pairs.select("respondent_id", "item_id")
        .join(people, on="respondent_id")
        .join(places, on=["sequence", "item_id"])
        .sort("respondent_id", "n_orders", "place", "item_id")
        .with_columns(pl.int_range(pl.len()).over(alike).alias("rank"), pl.len().over(alike).cast(pl.Int64).alias("n"))
        .with_columns((pl.col("rank") * (-(-pl.col("n") // size)) // pl.col("n")).alias("request"))
        .with_columns(
            pl.int_range(1, pl.len() + 1).over(request).cast(pl.Int64).alias("line"),
            pl.len().over(request).cast(pl.Int64).alias("asked_together"),
        )
        .filter(pl.col("asked_together") > 1)
    )
    sets = frame.group_by(request, maintain_order=True).agg(pl.col("item_id").str.join("\x1f").alias("items"))
    texts = sets.select("items").unique()
    sets = sets.join(texts.with_columns(hash_rows(texts, ["items"], key="set").alias("set")), on="items")
    frame = frame.join(sets, on=request).select("respondent_id", "item_id", *COLUMNS)
    return pairs.join(frame, on=["respondent_id", "item_id"], how="left", maintain_order="left")


def hidden_together(pairs: pl.DataFrame) -> pl.DataFrame:
    """Hide for all items of a request what any of them hides.

    Args:
        pairs: Result of `grouped` with what each item hides: codebook, hidden, masked and mask_id.
    """
    whole = pairs.drop_nulls("set").unique(["set", "codebook", "item_id"])
    shared = whole.group_by("set", "codebook").agg(
        pl.col(name).explode().drop_nulls().unique().sort().alias(f"all {name}") for name in ("hidden", "masked")
    )
    further = pairs["mask_id"].max() or 0
    shared = shared.with_columns(
        (pl.col("all hidden").list.join("\x1f").rank("dense").cast(pl.Int64) + further).alias("all mask_id")
    )
    names = ("hidden", "masked", "mask_id")
    return (
        pairs.join(shared, on=["set", "codebook"], how="left", maintain_order="left")
        .with_columns(pl.coalesce(f"all {name}", name).alias(name) for name in names)
        .drop(f"all {name}" for name in names)
    )


def texts_together(pairs: pl.DataFrame, shown: pl.DataFrame, request: str) -> pl.DataFrame:
    """Write the user message of each request with several questions.

    Args:
        pairs: Result of `grouped`.
        shown: Each item in each order, with user.
        request: The sentence that ends the message of a single question.

    Returns:
        set, order_id, user_together, hash_together.
    """
    sets = pairs.drop_nulls("set").select("set", "item_id", "line").unique()
    question = pl.format("{}. {}", "line", pl.col("user").str.strip_suffix(f"\n{request}"))
    texts = (
        sets.join(shown.select("item_id", "order_id", "user"), on="item_id")
        .sort("set", "order_id", "line")
        .group_by("set", "order_id", maintain_order=True)
        .agg(question.str.join("\n\n").alias("questions"))
        .select("set", "order_id", pl.format("{}\n\n{}", "questions", pl.lit(ASK)).alias("user_together"))
    )
    return texts.with_columns(hash_rows(texts, ["user_together"], key=ELICITATION).alias("hash_together"))


# The beginning of a line with a number: "1:", "**Q1.**", "Question 1)", "#1 -".
_NUMBER = (
    r"(?im)^[ \t>#*_(\[\"'-]*(?:(?:question|answer|item|number|no|nr|q)\b[ \t.#]*|q)?(\d{1,2})[ \t]*[)\]\"'*_]*[ \t]*"
    r"(?:[.:)=–—-]|$)"
)
# What may stand before a letter: "Answer: **(B".
_OPENING = r"^(?:[\s*_:=>\"'(\[`]|(?i:(?:the )?(?:answer|option|choice|letter)\b(?: is)?))*"
# A letter, and what shows that it is one: "A person" begins a text.
_MARKED = r"(?:([A-Z])(?:[ \t]*(?:[)\].:*_\"'`,;|]|$)|[ \t]+[-–—(])|([B-HJ-Z])[ \t])"
_CELL = r"\|[ \t*(\[]*([A-Z])(?:[).:\]*][^|\n]*|[ \t]*)\|"
_SMALL = r"^[*_(\[\"'`\s]*([a-z])(?:[)\]]|[*_\"'`.\s]*$)"
_BELOW = (
    r"(?m)^[ \t>*_-]*(?i:(?:my |the )?(?:answer|choice)[ \t]*(?:is|:|=)[ \t*_:]*)[(\[*\"']*([A-Z])(?:[)\].:*_\"'\s]|$)"
)
_ALONE = r"(?m)^[ \t>*_(\[]*([A-Z])[)\].*_]*[ \t]*$"
_AFTER_QUESTION = r"\?[ \t*:]*[(\[]*([A-Z])(?:[)\].:*]|$)"
_BESIDE = " \t\n*_.\"'`:|"


def lines_of_replies(frame: pl.DataFrame) -> pl.DataFrame:
    """Replace the texts of replies to several questions by the answer to each, and say where there is none.

    Lines such as "2: B", "2. (b) neither", "**Q2:** B" and "2. agree", lists on one line, rows of a table, JSON
    (`{"2": "B"}`), and questions repeated before their answers are read. A line counts only if a letter is marked as
    one, or if an option is all that it says: words of a question that is repeated are no answer. Two different answers
    with one number are none. Of a reply that was cut off, only the last line can be unfinished.

    Args:
        frame: Replies with text, options, finish_reason, and perhaps `line` and `asked_together`, null for others.

    Returns:
        The same rows with `lacks`: why there is no answer (`several_options`, `no_option`); null for all others.
    """
    if "asked_together" not in frame.columns or frame["asked_together"].null_count() == frame.height:
        return frame.with_columns(pl.lit(None, pl.String).alias("lacks"))
    mine = pl.col("asked_together").is_not_null()
    asked = frame.filter(mine).select("text", "options", "line").unique()
    numbered = _numbered(asked["text"].unique())
    found = _answers(numbered.join(asked, on=["text", "line"], how="inner"))
    last = numbered.group_by("text").agg(pl.col("line").max().alias("last"))
    key = ["text", "options", "line"]
    frame = frame.join(found, on=key, how="left", nulls_equal=True, maintain_order="left")
    frame = frame.join(last, on="text", how="left", maintain_order="left")
    has = mine & (pl.col("answers") == 1).fill_null(False)
    cut = pl.col("finish_reason").str.to_lowercase().is_in(CUT_OFF_FINISHES)
    text = (
        pl.when(has)
        .then("answer")
        .when(mine & pl.col("last").is_not_null())
        .then(pl.col("block").fill_null(""))
        .otherwise("text")
    )
    return frame.with_columns(
        text.alias("text"),
        pl.when(mine & (pl.col("answers") > 1))
        .then(pl.lit("several_options"))
        .when(mine & ~has)
        .then(pl.lit("no_option"))
        .alias("lacks"),
        pl.when(mine & cut & (pl.col("line") < pl.col("last"))).then(None).otherwise("finish_reason")
        .alias("finish_reason"),
    ).drop("answer", "answers", "block", "last")  # fmt: skip


def _numbered(texts: pl.Series) -> pl.DataFrame:
    """Divide replies at their numbers: text, line, block (what stands from a number to the next)."""
    said = read_thought(pl.col("text")).struct.field("said")
    shapes = (
        (r"(?i)\"(?:q|question)?[ _]?(\d{1,2})\"\s*:\s*\"([^\"]*)\"", "\n$1: $2\n"),  # JSON
        (r"(?mi)^[ \t]*\|[ \t*]*q?(\d{1,2})[ \t.:)*]*(\|[^\n]*)$", "$1: $2"),  # rows of a table
        (r"([,;\s])[ \t]*(\(?\d{1,2}\)?[ \t]*[:.)=-][ \t]*[(\[*]*[A-Z]\b)", "$1\n$2"),  # 1: B, 2: C
        (r"(?m)^[ \t]*(\d{1,2})[ \t]*\(?([A-Z])\)?[ \t]*$", "$1: $2"),  # 1 B
        (_NUMBER, "\x1e$1\x1f"),
    )
    for pattern, shape in shapes:
        said = said.str.replace_all(pattern, shape)
    blocks = texts.drop_nulls().to_frame("text").with_columns(said.str.split("\x1e").list.slice(1).alias("block"))
    parted = pl.col("block").str.split_exact("\x1f", 1)
    return (
        blocks.explode("block")
        .drop_nulls("block")
        .select(
            "text",
            parted.struct.field("field_0").cast(pl.Int64).alias("line"),
            parted.struct.field("field_1").str.strip_chars().alias("block"),
        )
    )


def _answers(blocks: pl.DataFrame) -> pl.DataFrame:
    """Read the blocks of replies: text, options, line, answer, answers (how many different ones), block (the first)."""
    first = pl.col("block").str.split("\n").list.first().str.strip_chars()
    marked = pl.coalesce(first.str.extract(_OPENING + _MARKED, 1), first.str.extract(_OPENING + _MARKED, 2))
    letter = pl.coalesce(
        marked,
        first.str.extract(_CELL),
        first.str.extract(_SMALL).str.to_uppercase(),
        first.str.extract(_AFTER_QUESTION),
        pl.col("block").str.extract(_BELOW),
        pl.col("block").str.extract(_ALONE),
    )
    options = pl.col("options").list.eval(pl.element().str.strip_chars(_BESIDE).str.to_lowercase())
    whole = options.list.contains(first.str.strip_chars(_BESIDE).str.to_lowercase()) & marked.is_null()
    # With a letter in front, the words are checked against it.
    answer = pl.when(whole | marked.is_not_null()).then(first.str.strip_chars(" \t|")).otherwise(letter)
    return (
        blocks.with_columns(answer.alias("answer"), pl.when(whole).then(first).otherwise(letter).alias("key"))
        .group_by("text", "options", "line", maintain_order=True)
        .agg(
            pl.col("answer").drop_nulls().first(),
            pl.col("key").drop_nulls().n_unique().cast(pl.Int64).alias("answers"),
            pl.col("block").first(),
        )
    )
