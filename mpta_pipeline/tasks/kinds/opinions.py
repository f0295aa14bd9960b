"""Make items from published polls; the answer key is what most people of the persona's country, or of the poll, said.

GlobalOpinionQA (Durmus et al. 2023) holds a distribution of answers by country, OpinionQA (Santurkar et al. 2023) the
respondents of Pew's American Trends Panel. The column `poll` of the items keeps the whole distribution, by country or
for `all`, and the effective number of people behind it if the poll reports it: estimates compare models with it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.countries import country_code
from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.storage import UNREADABLE
from mpta_pipeline.core.tables.tasks import POLL
from mpta_pipeline.tasks.item_files import ItemFile, version
from mpta_pipeline.tasks.parsing.phrases import NO_ANSWER
from mpta_pipeline.tasks.task_kind import AS_THE_PERSON, Example, ItemRequest, TaskKind

GLOBAL = ItemFile(
    name="global_opinions.csv",
    address="https://huggingface.co/datasets/Anthropic/llm_global_opinions (data/global_opinions.csv)",
    licence="CC BY-NC-SA 4.0 (Anthropic/llm_global_opinions)",
    pattern="*.csv",
)
PEW = ItemFile(
    name="human_resp/American_Trends_Panel_W…/{info,responses}.csv",
    address="https://github.com/tatsu-lab/opinions_qa",
    licence="terms of Pew Research Center (tatsu-lab/opinions_qa)",
    pattern="*.csv",
)
_NO_ANSWER = re.compile(NO_ANSWER)
_SAMPLES = re.compile(r"\s*\((?:current|non|old)[^)]*(?:sample)?\)\s*$", re.IGNORECASE)
# Country names in the file that are not ISO names.
_SPELLINGS = {
    "britain": "GBR",
    "great britain": "GBR",
    "northern ireland": "GBR",
    "palest. ter.": "PSE",
    "s. africa": "ZAF",
    "s. korea": "KOR",
    "bosnia herzegovina": "BIH",
    "hong kong sar": "HKG",
    "macau sar": "MAC",
    "taiwan roc": "TWN",
}


def _literal(text: str, path: Path, variable: str) -> Any:
    """A Python literal, as the file writes lists and (default) dictionaries."""
    inner = re.sub(r"^defaultdict\(<class '[^']*'>,\s*(.*)\)$", r"\1", text.strip(), flags=re.DOTALL)
    try:
        return ast.literal_eval(inner)
    except (ValueError, SyntaxError):
        raise TaskError(
            "A field of the item file is not a list or dictionary",
            file=path,
            variable=variable,
            value=text[:60],
            remedy="get the file again",
        ) from None


def _read(path: Path, columns: tuple[str, ...], published: ItemFile) -> pl.DataFrame:
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (*UNREADABLE, UnicodeDecodeError):
        frame = pl.DataFrame()
    if absent := [c for c in columns if c not in frame.columns]:
        raise TaskError(
            f"The item file does not have the structure of {published.name}",
            file=path,
            variable=absent[0],
            remedy=f"get it from {published.address}",
        )
    return frame


def global_items(request: ItemRequest) -> pl.DataFrame:
    """One item per question, with the distribution of each country; refusals are left out, and the rest sums to 1."""
    rows = []
    for path in request.files:
        for number, row in enumerate(_read(path, ("question", "selections", "options", "source"), GLOBAL).to_dicts()):
            texts = [str(o) for o in _literal(row["options"], path, "options")]
            kept = [i for i, text in enumerate(texts) if not _NO_ANSWER.match(text)]
            shares: dict[str, list[float]] = {}
            selections = _literal(row["selections"], path, "selections")
            short = next((c for c, answers in selections.items() if len(answers) != len(texts)), None)
            if short is not None:
                request.gaps.leave_out(
                    path,
                    f"row {number + 2} ({str(row['question'])[:60]})",
                    "selections",
                    f"{short} has {len(selections[short])} shares for {len(texts)} options",
                )
                continue
            for country, answers in selections.items():
                mass = [float(answers[i]) for i in kept]
                code = country_code(_SAMPLES.sub("", str(country)), _SPELLINGS)
                if code and sum(mass) > 0 and code not in shares:
                    shares[code] = [m / sum(mass) for m in mass]
            if len(kept) < 2 or len(kept) > 26 or not shares:
                continue
            rows.append(
                {
                    "item_id": f"goqa_{digest(row['question'], *texts, number, length=10)}",
                    "category": row["source"],
                    "question": row["question"],
                    "options": [texts[i] for i in kept],
                    "poll": [{"sample": code, "shares": shares[code], "n": None} for code in sorted(shares)],
                    "item_file": version(request.files, GLOBAL),
                    "licence": GLOBAL.licence,
                }
            )
    return _finish(rows)


def _finish(rows: list[dict[str, Any]]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema_overrides={"poll": pl.List(POLL)}, infer_schema_length=None)
    if frame.is_empty():
        return frame
    if "ordinal" not in frame.columns:
        frame = frame.with_columns(pl.lit(False).alias("ordinal"))
    return frame.with_columns(pl.col("item_id").alias("cluster_id"), pl.col("options").alias("option_values"))


def _places(row: dict[str, Any], path: Path, k: int) -> list[float] | None:
    """Places of the options on OpinionQA's scale; None without a scale, or if all options have one place."""
    if not row.get("option_ordinal"):
        return None
    places = [float(p) for p in _literal(row["option_ordinal"], path, "option_ordinal")]
    return places if len(places) == k and len(set(places)) > 1 else None


def country_gold(items: pl.DataFrame, request: ItemRequest) -> pl.DataFrame:
    """The most frequent answer of each respondent's country; no row if the poll did not cover the country."""
    keys = (
        items.select("item_id", "poll")
        .explode("poll")
        .unnest("poll")
        .select(
            "item_id",
            pl.col("sample").alias("country"),
            pl.col("shares").list.arg_max().cast(pl.Int64).alias("gold_idx"),
        )
    )
    people = request.respondents.select("respondent_id", "survey", "country", "weight")
    return people.join(keys, on="country").drop("country")


def pew_items(request: ItemRequest) -> pl.DataFrame:
    """One item per question of a wave's folder; the key is the most frequent weighted answer of the poll."""
    files = {path.name: path for path in request.files}
    for needed in ("info.csv", "responses.csv"):
        if needed not in files:
            raise TaskError(
                "A wave of OpinionQA needs info.csv and responses.csv",
                file=request.files[0].parent,
                variable=needed,
                remedy=f"get the folder human_resp from {PEW.address} and set the path to one wave's folder",
            )
    info = _read(files["info.csv"], ("key", "question", "references"), PEW)
    people = _read(files["responses.csv"], (), PEW)
    weights = [c for c in people.columns if c.upper().startswith("WEIGHT")]
    weight = pl.col(weights[0]).cast(pl.Float64, strict=False) if weights else pl.lit(1.0)
    rows = []
    for row in info.to_dicts():
        texts = [str(o) for o in _literal(row["references"], files["info.csv"], "references")]
        kept = [text for text in texts if not _NO_ANSWER.match(text)]
        if row["key"] not in people.columns or not 2 <= len(kept) <= 26:
            continue
        counts = dict(people.group_by(row["key"]).agg(weight.sum().alias("w")).rows())
        mass = [float(counts.get(text) or 0) for text in kept]
        if sum(mass) <= 0:
            continue
        squares = people.filter(pl.col(row["key"]).is_in(kept)).select((weight**2).sum()).item()
        places = _places(row, files["info.csv"], len(kept))
        rows.append(
            {
                "item_id": f"opinionqa_{row['key']}",
                "category": request.files[0].parent.name,
                "question": row["question"],
                "options": kept,
                "gold_idx": max(range(len(mass)), key=mass.__getitem__),
                "poll": [
                    {
                        "sample": "all",
                        "shares": [m / sum(mass) for m in mass],
                        "n": round(sum(mass) ** 2 / squares, 1),
                    }
                ],
                "item_file": version(request.files, PEW),
                # With a middle option listed last, the order shown is not a scale, but the options have places on one.
                "ordinal": places is not None and sorted(places) in (places, places[::-1]),
                "option_scores": places,
                "licence": PEW.licence,
            }
        )
    return _finish(rows)


KINDS = (
    TaskKind(
        "global_opinions",
        "GlobalOpinionQA: the most frequent answer of the persona's country",
        global_items,
        gold=country_gold,
        closing=AS_THE_PERSON,
        file=GLOBAL,
        example=Example(
            {
                "global_opinions.csv": "question,selections,options,source\n"
                "Is the economy of your country good or bad?,"
                "\"defaultdict(<class 'list'>, {'United States': [0.4, 0.6]})\",\"['Good', 'Bad']\",GAS\n"
            }
        ),
    ),
    TaskKind(
        "opinionqa",
        "OpinionQA: the most frequent answer of a Pew poll",
        pew_items,
        closing=AS_THE_PERSON,
        file=PEW,
        example=Example(
            {
                "info.csv": "key,question,references\n"
                "TRAINS_W0,How often do you take a train?,\"['Often', 'Rarely', 'Never']\"\n",
                "responses.csv": "TRAINS_W0,WEIGHT_W0\nNever,1\nRarely,2\n",
            }
        ),
    ),
)
