"""Which columns of its parents each column is made from, as the UI shows it: from a figure back to native variables.

What a table's columns come from is declared here once. Which concept columns personas carry and items ask about, and
which native variables those were made from, is known only when they are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from mpta_pipeline.core import tables

# Asset → its table. The warehouse publishes all of them.
TABLES: dict[str, tables.Table] = {
    "harmonized_wave": tables.RESPONDENTS,
    "survey_changelog": tables.CHANGELOG,
    "personas": tables.PERSONAS,
    "panel": tables.PANEL,
    "items": tables.ITEMS,
    "prompts": tables.PROMPTS,
    "responses": tables.RESPONSES,
    "scores": tables.SCORES,
    "subgroup_metrics": tables.SUBGROUP_METRICS,
    "pockets": tables.POCKETS,
    "model_comparison": tables.MODEL_COMPARISON,
}

_SAME = {
    "personas": {"harmonized_wave": "revision survey codebook wave release_id country year weight"},
    "panel": {"personas": "respondent_id survey wave"},
    "prompts": {
        "items": "task item_id cluster_id options",
        "personas": "survey wave data_use",
        "panel": "respondent_id weight",
    },
    "responses": {"prompts": "task prompt_id"},
    "scores": {
        "responses": "model task prompt_id request_hash",
        "prompts": "condition survey wave respondent_id item_id cluster_id style framing paraphrase_id repeat_id "
        "elicitation order_id gold_idx gold_pos weight",
        "items": "kind category ordinal scoring answer_set",
    },
    "subgroup_metrics": {"scores": "model task survey condition"},
    "pockets": {"scores": "model task survey condition"},
    "model_comparison": {"scores": "task survey condition model"},
}
_REPLY = "responses.text responses.option_logprobs"
_SENT = "prompts.system prompts.user"
_ANSWERS = "scores.score scores.p_vec scores.weight"
_COUNTS = {
    "n_answers": "scores.prompt_id",
    "n_personas": "scores.respondent_id",
    "n_items": "scores.item_id",
}
_MADE: dict[str, dict[str, str]] = {
    "personas": {"respondent_id": "harmonized_wave.respondent_id"},
    "panel": {
        "stratum": "personas.traits",
        "stratum_size": "personas.respondent_id",
        "stratum_selected": "personas.respondent_id",
        "inclusion_probability": "personas.respondent_id",
        "rank": "personas.respondent_id",
        "survey_weight": "personas.weight",
        "weight": "personas.weight",
    },
    "prompts": {
        "content_hash": "personas.traits items.question items.options",
        "shown_respondent_id": "personas.respondent_id",
        "system": "personas.traits",
        "user": "items.context items.question items.options",
        "gold_idx": "items.gold_idx items.column",
        "masked": "items.column items.reveals",
    },
    "responses": {
        "request_hash": f"prompts.content_hash {_SENT}",
        "text": _SENT,
        "option_logprobs": f"{_SENT} prompts.options",
        "letter_share": f"{_SENT} prompts.options",
        "thought": _SENT,
    },
    "scores": {
        "k_options": "items.options",
        "pred_idx": f"{_REPLY} prompts.option_order",
        "pred_pos": _REPLY,
        "p_vec": "responses.option_logprobs prompts.option_order",
        "letter_share": "responses.letter_share responses.option_logprobs",
        "status": f"{_REPLY} responses.error",
        "unparsed_reason": f"{_REPLY} responses.finish_reason responses.thought",
        "score": f"{_REPLY} prompts.gold_pos items.scoring items.option_credit",
        "bias": f"{_REPLY} items.option_bias",
        "text_scores": "responses.text items.reference",
        "condescending": "responses.text",
    },
    "subgroup_metrics": _COUNTS
    | dict.fromkeys(("estimate", "ci_low", "ci_high", "se", "n_eff", "shrunken_estimate", "gap", "verdict"), _ANSWERS)
    | {
        "subgroup": "personas.traits scores.category",
        "baseline_estimate": "scores.gold_idx scores.k_options items.column",
        "effect": f"{_ANSWERS} scores.condition",
        "release_ids": "personas.release_id",
    },
    "pockets": _COUNTS
    | dict.fromkeys(("estimate", "rest_estimate", "difference", "ci_low", "ci_high", "p_value", "q_value"), _ANSWERS)
    | {"subgroup": "personas.traits", "examples": "scores.prompt_id", "confirmed": _ANSWERS},
    "model_comparison": _COUNTS
    | dict.fromkeys(("estimate", "difference", "se", "p_value", "ci_low", "ci_high", "tie_group"), "scores.score")
    | {"other_model": "scores.model"},
}


def lineage(asset: str, further: Mapping[str, Iterable[tuple[str, str]]] | None = None) -> dict[str, Any]:
    """Metadata of a materialization: what the asset's columns are made from; nothing where no table is declared.

    Args:
        asset: The asset.
        further: Column → (asset, column) that it is made from, as far as only the making tells.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for parent, names in _SAME.get(asset, {}).items():
        for name in names.split():
            found.setdefault(name, []).append((parent, name))
    for name, origins in _MADE.get(asset, {}).items():
        found.setdefault(name, []).extend(_pair(origin) for origin in origins.split())
    if asset == "warehouse":
        found = {
            f"{table.name}.{name}": [(made_by, name)]
            for made_by, table in TABLES.items()
            for name in table.schema.names()
        }
    for name, pairs in (further or {}).items():
        found.setdefault(name, []).extend(pairs)
    deps = {
        name: [dg.TableColumnDep(asset_key=dg.AssetKey(parent), column_name=column) for parent, column in pairs]
        for name, pairs in found.items()
    }
    if not deps:
        return {}
    shown: dict[str, Any] = {"dagster/column_lineage": dg.TableColumnLineage(deps)}
    if asset != "warehouse":  # whose columns are those of the tables that it publishes
        shown["columns come from"] = _readable(found)
    return shown


def _readable(found: Mapping[str, Iterable[tuple[str, str]]]) -> dg.MarkdownMetadataValue:
    """The same as a table: Dagster's open-source UI draws the lineage of assets alone."""
    lines = [
        f"| {name} | {', '.join(f'{asset}.{column}' for asset, column in pairs)} |"
        for name, pairs in found.items()
        if "__" not in name
    ]
    return dg.MetadataValue.md("\n".join(["| column | is made from |", "| --- | --- |", *lines]))


def _pair(origin: str) -> tuple[str, str]:
    asset, _, column = origin.partition(".")
    return asset, column
