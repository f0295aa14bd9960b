"""People's answers beside the models', for any question and group; and whether models flatten or caricature groups."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from mpta_pipeline.core.labels import ALL, CROSS
from mpta_pipeline.report import phrases
from mpta_pipeline.report.context import SHOWN_MODELS, Report
from mpta_pipeline.report.rows import Estimate
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import id with context %}
{% if questions %}
<p>Choose a question and up to two groups: what people answered stands beside what each model answered for them ({{ words.condition(condition) }}). A model's share counts its readable replies over all option orders; people's shares are the survey's own, {{ "weighted" if weighted else "unweighted" }}.
  {% if left_out %}The page holds {{ questions }} of {{ questions + left_out }} questions; the warehouse has all.{% endif %}</p>
<div class="chooser" id="people-chooser" hidden>
  <label>Task and survey <select data-part="cell"></select></label>
  <label>Question <select data-part="item"></select></label>
  <label>Group <select data-part="first"></select></label>
  <label>Compare with <select data-part="second"></select></label>
</div>
<div id="people-tables" aria-live="polite"><p class="sub">This table needs JavaScript. Without it, each task below has people's answers of everyone, and <code>people_shares</code> and <code>scores</code> in the warehouse have all.</p></div>
<script type="application/json" id="people-data">{{ packed }}</script>
{% endif %}
{% if spread %}
<h3>Do the answers vary as people's do?</h3>
<p>A model that gives all persons of a group the same answer <b>flattens</b> it; one that makes groups differ more than they do <b>caricatures</b> them.</p>
{% if said %}<ul class="lookedfor">{% for line in said %}<li>{{ line }}</li>
{% endfor %}</ul>{% endif %}
<details>
<summary>All ratios, model over people</summary>
<div class="scroll" role="group" tabindex="0" aria-label="Flattening and caricature">
<table>
  <caption>Ratios of the models' answers to people's: 1 is as people, below 1 is flatter, above 1 exaggerated; {{ view.confidence }} intervals.</caption>
  <thead><tr><th scope="col">Model</th><th scope="col">Task · survey</th><th scope="col">Measure</th><th scope="col">Groups by</th><th scope="col">Ratio [{{ view.confidence }}]</th><th scope="col">Verdict</th><th scope="col">Trace</th></tr></thead>
  <tbody>
  {% for e, verdict in spread[:60] %}
  <tr><th scope="row">{{ labels.model(e.model) }}</th><td>{{ labels.task(e.task) }} · {{ labels.survey(e.survey) }}</td><td>{{ words.opening(view.metric(e.metric)) }}</td><td>{{ labels.dimension(e.dimensions) }}</td>
    <td class="ci">{{ words.number(e.estimate, share=False) }} <span class="sub">{{ words.interval(e.low, e.high, share=False) }}{% if e.note %} {{ e.note }}{% endif %}</span></td><td>{{ verdict }}</td><td>{{ id(e) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% if spread | length > 60 %}<p>The page shows the first 60 of {{ spread | length }} ratios; the warehouse has all.</p>{% endif %}
</details>
{% endif %}
"""

NUMBERS = 300_000
"""Numbers on the page at most: about 600 kB. Beyond it, intersections are left out first, then models, then questions."""
RATIOS = ("variance_ratio", "entropy_ratio", "eta2_ratio")


def data(report: Report) -> Mapping[str, Any] | None:
    """What the chooser reads, and the ratios of variation."""
    cells, left_out, weighted = _cells(report)
    spread = _spread(report)
    if not cells and not spread:
        return None
    questions = sum(len(cell["items"]) for cell in cells)
    return {
        "questions": questions,
        "left_out": left_out,
        "weighted": weighted,
        "condition": _condition(report),
        "packed": packed({"cells": cells}) if cells else "",
        "spread": spread,
        "said": _said(report, spread),
    }


def packed(data: Mapping[str, Any]) -> str:
    """Data as compressed text, which cannot hold markup."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(text, 9, mtime=0)).decode()


def _condition(report: Report) -> str:
    """The condition whose replies are shown."""
    return "persona" if "persona" in report.conditions or not report.conditions else report.conditions[0]


def _cells(report: Report) -> tuple[list[dict[str, Any]], int, bool]:
    """Per task and survey: groups, models, and per question the options with people's and models' shares.

    A row of numbers is n, then the shares in thousandths.
    """
    shares = report.frames["people_shares"]
    if shares.is_empty():
        return [], 0, False
    pairs = [pair for pair in report.cells if shares.filter(_of(pair)).height]
    cells, left = [], 0
    weighted = False
    for pair in pairs:
        mine = shares.filter(_of(pair))
        mine = mine.filter(pl.col("weighted") == pl.col("weighted").any())
        weighted = weighted or bool(mine["weighted"].any())
        models = report.models_of(*pair)[:SHOWN_MODELS]
        names = _dimensions(report, mine)
        items = mine["item_id"].unique().sort().to_list()
        options = max(int(mine["option"].max() or 0) + 1, 2)  # type: ignore[arg-type]

        def size(names: Sequence[str], models: Sequence[str], mine: pl.DataFrame = mine, k: int = options) -> int:
            groups = mine.filter(pl.col("dimensions").is_in(list(names))).select("dimensions", "subgroup").unique()
            return groups.height * (len(models) + 1) * (k + 1)

        room = NUMBERS // max(len(pairs), 1)
        if size(names, models) * len(items) > room:
            names = [name for name in names if CROSS not in name]
        while len(models) > 4 and size(names, models) * len(items) > room:
            models = models[:-1]
        fits = max(room // max(size(names, models), 1), 1)
        left += max(len(items) - fits, 0)
        cells.append(_cell(report, pair, mine, names=names, models=models, items=items[:fits]))
    return [cell for cell in cells if cell["items"]], left, weighted


def _of(pair: tuple[str, str]) -> pl.Expr:
    return (pl.col("task") == pair[0]) & (pl.col("survey") == pair[1])


def _dimensions(report: Report, shares: pl.DataFrame) -> list[str]:
    """Everyone, then the study's dimensions that people's shares have."""
    known = set(shares["dimensions"].unique())
    order = [ALL, *(d for d in report.study.figures.dimensions if d != ALL)]
    return [name for name in dict.fromkeys(order) if name in known]


def _cell(
    report: Report,
    pair: tuple[str, str],
    shares: pl.DataFrame,
    *,
    names: Sequence[str],
    models: Sequence[str],
    items: Sequence[str],
) -> dict[str, Any]:
    shares = shares.filter(pl.col("dimensions").is_in(list(names)), pl.col("item_id").is_in(list(items)))
    rank = {name: i for i, name in enumerate(names)}
    found = sorted(
        shares.select("dimensions", "subgroup").unique().iter_rows(),
        key=lambda g: (rank[g[0]], [(report.values.get(v, len(report.values)), v) for v in g[1].split(CROSS)]),
    )
    place = {group: i for i, group in enumerate(found)}
    texts: dict[str, list[str]] = {}
    people: dict[str, dict[int, list[int]]] = {}
    answers = shares.select("item_id", "option", "answer").unique().sort("item_id", "option")
    for item, part in answers.group_by("item_id", maintain_order=True):
        texts[str(item[0])] = part["answer"].to_list()
    options = {item: part["option"].to_list() for (item,), part in answers.group_by("item_id", maintain_order=True)}
    for (item, d, s), part in shares.group_by("item_id", "dimensions", "subgroup", maintain_order=True):
        by_option = dict(part.select("option", "share").iter_rows())
        row = [int(part["n_people"].max()), *(round(1000 * by_option.get(o, 0.0)) for o in options[item])]  # type: ignore[arg-type]
        people.setdefault(str(item), {})[place[d, s]] = row
    given = _given(report, pair, names=names, models=models, options=options, place=place)
    asked = report.frames["items"].filter(pl.col("task") == pair[0])
    questions = dict(asked.select("item_id", "question").iter_rows())
    return {
        "name": f"{phrases.opening(report.labels.task(pair[0]))} · {report.labels.survey(pair[1])}",
        "models": [report.labels.model(name) for name in models],
        "groups": [
            {"d": phrases.opening(report.labels.dimension(d)), "s": phrases.opening(report.labels.subgroup(d, s))}
            for d, s in found
        ],
        "items": [
            {"q": questions.get(item) or item, "o": texts[item], "p": people[item], "m": given.get(item, {})}
            for item in items
            if item in people
        ],
    }


_READ = ("model", "item_id", "respondent_id", "pred_idx", "weight")
_GROUP = ["item_id", "model", "_group"]
_PARTS = 64


def _given(
    report: Report,
    pair: tuple[str, str],
    *,
    names: Sequence[str],
    models: Sequence[str],
    options: Mapping[str, Sequence[int]],
    place: Mapping[tuple[str, str], int],
) -> dict[str, dict[int, dict[int, list[int]]]]:
    """Item → model → group → n and the shares of the model's readable replies."""
    groups = report.frames["groups"].drop("survey", strict=False)
    subgroups = {
        name: pl.concat_str([pl.col(p).cast(pl.String) for p in parts], separator=CROSS) if parts else pl.lit(ALL)
        for name in names
        if set(parts := [] if name == ALL else name.split(CROSS)) <= {*groups.columns, *_READ}
    }
    picks: dict[str, list[pl.DataFrame]] = {name: [] for name in subgroups}
    people: dict[str, list[pl.DataFrame]] = {name: [] for name in subgroups}
    whole = True
    for model in models:
        for part in report.scores.rows((*_READ, "condition", "survey", "status"), model=model, task=pair[0]):
            rows = part.filter(
                pl.col("survey") == pair[1], pl.col("condition") == _condition(report), pl.col("status") == "ok",
                pl.col("pred_idx").is_not_null(), pl.col("item_id").is_in(list(options)),
            ).select(_READ)  # fmt: skip
            whole = whole and rows["weight"].null_count() == 0
            rows = rows.join(groups, on="respondent_id", how="left")
            for name, subgroup in subgroups.items():
                told = rows.with_columns(subgroup.alias("_group")).drop_nulls("_group")
                weight, n = pl.col("weight").sum(), pl.len().cast(pl.Int64).alias("n")
                _add(picks[name], told.group_by(*_GROUP, "pred_idx").agg(weight, n), [*_GROUP, "pred_idx"])
                # A person's answers come together, so people of different parts are different people.
                n = pl.col("respondent_id").n_unique().cast(pl.Int64).alias("n")
                _add(people[name], told.group_by(_GROUP).agg(n), _GROUP)
    number = {name: i for i, name in enumerate(models)}
    out: dict[str, dict[int, dict[int, list[int]]]] = {}
    for name in subgroups:
        if not picks[name]:
            continue
        counted = (
            _sums(picks[name], [*_GROUP, "pred_idx"])
            .with_columns(pl.col("weight" if whole else "n").alias("weight"))
            .with_columns((pl.col("weight") / pl.col("weight").sum().over(_GROUP)).alias("share"))
        )
        n_people = {row[:3]: row[3] for row in _sums(people[name], _GROUP).iter_rows()}
        for (item, model, group), of_group in counted.group_by(_GROUP):
            if (name, group) not in place:
                continue
            by_option = dict(of_group.select("pred_idx", "share").iter_rows())
            row = [n_people[item, model, group], *(round(1000 * by_option.get(o, 0.0)) for o in options[str(item)])]
            out.setdefault(str(item), {}).setdefault(number[str(model)], {})[place[name, str(group)]] = row
    return {item: {m: dict(sorted(g.items())) for m, g in sorted(of.items())} for item, of in sorted(out.items())}


def _add(sums: list[pl.DataFrame], more: pl.DataFrame, key: list[str]) -> None:
    """Add sums of a part; now and then the sums of all parts are added up, so that they do not grow with the parts."""
    sums.append(more)
    if len(sums) >= _PARTS:
        sums[:] = [_sums(sums, key)]


def _sums(parts: Sequence[pl.DataFrame], key: list[str]) -> pl.DataFrame:
    return pl.concat(parts).group_by(key).sum()


def _spread(report: Report) -> list[tuple[Estimate, str]]:
    """Ratios of variation under the shown condition: of everyone, and of whole dimensions."""
    condition = _condition(report)
    rows = [
        row
        for row in report.estimates
        if row.metric in RATIOS and row.condition == condition and row.subgroup == ALL and row.estimate is not None
    ]
    rank = {name: i for i, name in enumerate(RATIOS)}
    rows.sort(key=lambda r: (r.dimensions != ALL, r.task, r.survey, r.model, rank[r.metric], r.dimensions))
    return [(row, _verdict(row)) for row in rows]


def _verdict(row: Estimate) -> str:
    if row.low is None or row.high is None:
        return "no interval"
    if row.high < 1:
        return "flatter than people"
    if row.low > 1:
        return "exaggerated" if row.metric == "eta2_ratio" else "more varied than people"
    return "not distinguishable from people"


def _said(report: Report, spread: Sequence[tuple[Estimate, str]]) -> list[str]:
    """What the ratios say, one sentence per model, task and survey."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for row, verdict in spread:
        key = (row.model, row.task, row.survey)
        if row.metric == "variance_ratio" and row.dimensions == ALL:
            ends = phrases.interval(row.low, row.high, share=False)
            lines.setdefault(key, []).append(f"its answers vary {_times(row)} as people's {ends}: {verdict}")
        elif row.metric == "eta2_ratio" and verdict in ("exaggerated", "flatter than people"):
            kind = "caricature" if verdict == "exaggerated" else "flattening"
            by = report.labels.dimension(row.dimensions)
            lines.setdefault(key, []).append(
                f"groups by {by} explain {_times(row)} of the answers as among people: {kind}"
            )
    return [
        f"{report.labels.model(m)} on {report.labels.task(t)}, {report.labels.survey(s)}: {'; '.join(parts)}."
        for (m, t, s), parts in list(lines.items())[:12]
    ]


def _times(row: Estimate) -> str:
    value = row.estimate or 0.0
    return "none as much" if value <= 0 else f"{value:.2f} times as much"


SECTION = Section(
    name="people",
    order=53,
    title="People and models",
    template=TEMPLATE,
    data=data,
)
