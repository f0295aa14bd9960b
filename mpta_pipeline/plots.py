"""Draw estimates, pockets and model comparisons as Altair charts, for notebooks.

    study = mpta_pipeline.open("data")
    study.plot_estimates(metric="accuracy", dimensions="sex")

The functions here take frames with the columns of the published tables and return `altair.Chart` objects, which a
notebook shows, and which `chart.save("chart.html")` and further Altair methods accept. Altair is an optional extra
(`plots`); nothing else in the package needs it.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import polars as pl

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.metrics.metric import METRICS

if TYPE_CHECKING:
    import altair as alt

__all__ = ["comparison", "estimates", "pockets"]

MOST_ROWS = 5000
"""Altair puts the rows into the chart: above this many, the plot is refused, with what to filter by."""

_WIDTH = 420


def estimates(frame: pl.DataFrame) -> alt.Chart:
    """A forest plot: one line per subgroup and model, with interval; chance and most frequent answer as ticks.

    Args:
        frame: Rows of the view `reported_estimates`.

    Raises:
        ConfigError: Altair is not installed, or there is nothing, or too much, to draw.
    """
    alt = _altair()
    rows = _named(_rows(frame.filter(pl.col("estimate").is_not_null()), "estimates"))
    several = rows["model"].n_unique() > 1
    rows = rows.with_columns(
        place=pl.concat_str("metric", "task", "survey", "condition", separator=" · "),
        line=pl.concat_str("subgroup", "model", separator=" · ") if several else "subgroup",
    )
    names = rows["metric"].unique().to_list()
    title = METRICS[names[0]].title if len(names) == 1 and names[0] in METRICS else "estimate"
    shown = [*_EXACT, "note", "estimate_id"]
    base = alt.Chart(_plain(rows, "place", "line", "model", "subgroup", "chance", "most_frequent", *shown))
    y = alt.Y("line:N", title=None)
    color = alt.Color("model:N", title="model")
    ranges = base.mark_rule().encode(
        y=y, x=alt.X("ci_low:Q", title=title, scale=alt.Scale(zero=False)), x2="ci_high:Q", color=color
    )
    points = base.mark_point(filled=True, size=60).encode(
        y=y, x="estimate:Q", color=color, tooltip=["model:N", "subgroup:N", *shown]
    )
    ticks = [
        base.mark_tick(color=shade, thickness=2, size=14).encode(y=y, x=f"{column}:Q", tooltip=f"{column}:Q")
        for column, shade in (("chance", "#767676"), ("most_frequent", "#b35900"))
    ]
    return _faceted(alt, alt.layer(*ticks, ranges, points).properties(width=_WIDTH), rows)


def pockets(frame: pl.DataFrame) -> alt.Chart:
    """Pockets with the difference from everyone else and its interval; filled marks are confirmed.

    Args:
        frame: Rows of the table `pockets`; a further column `control` marks simulated respondents.

    Raises:
        ConfigError: Altair is not installed, or there is nothing, or too much, to draw.
    """
    alt = _altair()
    rows = _named(_rows(frame.filter(pl.col("difference").is_not_null()), "pockets")).with_columns(
        place=pl.concat_str("task", "survey", "condition", "outcome", separator=" · "),
        name=pl.concat_str("model", pl.lit(": "), "subgroup"),
    )
    shown = ["difference", "ci_low", "ci_high", "q_value", "e_value", "n_answers", "n_personas", "pocket_id"]
    base = alt.Chart(_plain(rows, "place", "name", "model", "confirmed", *shown))
    y = alt.Y("name:N", title=None, sort=alt.EncodingSortField("difference"))
    ranges = base.mark_rule().encode(
        y=y, x=alt.X("ci_low:Q", title="difference from everyone else"), x2="ci_high:Q", color="model:N"
    )
    points = base.mark_point(size=60).encode(
        y=y,
        x="difference:Q",
        color="model:N",
        fill=alt.condition("datum.confirmed", alt.Color("model:N", legend=None), alt.value("white")),
        tooltip=["name:N", "confirmed:N", *shown],
    )
    return _faceted(alt, alt.layer(_zero(alt, base), ranges, points).properties(width=_WIDTH), rows)


def comparison(frame: pl.DataFrame) -> alt.Chart:
    """Paired differences between models, each pair once, with interval.

    Args:
        frame: Rows of the table `model_comparison`.

    Raises:
        ConfigError: Altair is not installed, or there is nothing, or too much, to draw.
    """
    alt = _altair()
    pairs = frame.filter(pl.col("difference").is_not_null() & (pl.col("model") < pl.col("other_model")))
    rows = _rows(pairs, "pairs of models").with_columns(
        place=pl.concat_str("metric", "task", "survey", "condition", separator=" · "),
        pair=pl.concat_str("model", pl.lit(" − "), "other_model"),
    )
    shown = ["difference", "ci_low", "ci_high", "p_value", "q_value", "mde", "n_answers"]
    base = alt.Chart(_plain(rows, "place", "pair", *shown))
    y = alt.Y("pair:N", title=None)
    ranges = base.mark_rule().encode(y=y, x=alt.X("ci_low:Q", title="difference"), x2="ci_high:Q")
    points = base.mark_point(filled=True, size=60).encode(y=y, x="difference:Q", tooltip=["pair:N", *shown])
    return _faceted(alt, alt.layer(_zero(alt, base), ranges, points).properties(width=_WIDTH), rows)


_EXACT = ("estimate", "ci_low", "ci_high", "n_answers", "n_personas")


def _altair() -> ModuleType:
    """Altair, if it is installed.

    Raises:
        ConfigError: It is not; with how to install it.
    """
    try:
        import altair
    except ImportError:
        raise ConfigError(
            "Plots need the package altair, which is not installed",
            remedy="pip install -e '.[plots]' (or pip install altair); the frames that are plotted need nothing more",
        ) from None
    return altair


def _rows(frame: pl.DataFrame, what: str) -> pl.DataFrame:
    """The rows to draw.

    Raises:
        ConfigError: There are none, or more than a chart can hold.
    """
    if frame.is_empty():
        raise ConfigError(
            f"There are no {what} to draw with these filters", remedy="remove a filter, or look at the table first"
        )
    if frame.height > MOST_ROWS:
        raise ConfigError(
            f"{frame.height:,} {what} are too many for one chart (at most {MOST_ROWS:,})",
            remedy='filter, e.g. with metric="accuracy", dimensions="sex", task="value_alignment"',
        )
    return frame


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    """Controls are named as such."""
    if "control" not in rows.columns:
        return rows
    named = pl.format("{} (control)", "model")
    return rows.with_columns(model=pl.when("control").then(named).otherwise("model"))


def _plain(rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
    return rows.select([name for name in dict.fromkeys(columns) if name in rows.columns])


def _zero(alt: Any, base: Any) -> Any:
    return base.mark_rule(color="#767676", strokeDash=[4, 4]).encode(x=alt.datum(0))


def _faceted(alt: Any, chart: Any, rows: pl.DataFrame) -> alt.Chart:
    """One part per place, if there are several; with one, it is the title."""
    places = rows["place"].unique().to_list()
    if len(places) == 1:
        return chart.properties(title=places[0])  # type: ignore[no-any-return]
    return chart.facet(facet=alt.Facet("place:N", title=None), columns=1).resolve_scale(y="independent")  # type: ignore[no-any-return]
