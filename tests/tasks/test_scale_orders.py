"""Protects the option orders `scale`: scales forward and reversed, lists cyclic, "other" and "don't know" last."""

import polars as pl
import pytest

from mpta_pipeline import tasks
from mpta_pipeline.core.tables import ITEMS
from mpta_pipeline.metrics.samples.balancing import balance
from mpta_pipeline.tasks.option_orders import item_orders
from tests.factories import small_survey
from tests.factories.task_tables import answered, made

FACTS = ("item_id", "options", "option_values", "option_scores", "ordinal", "gold_idx", "poll")
POLL = [{"sample": "all", "shares": [0.5, 0.3, 0.2], "n": None}]


def item(options, *, scores=None, ordinal=False, values=None, gold_idx=None, poll=None):
    """The orders in which one item is shown under the design `scale`."""
    frame = pl.DataFrame(
        {
            "item_id": ["i"],
            "options": [options],
            "option_values": [values or options],
            "option_scores": [scores],
            "ordinal": [ordinal],
            "gold_idx": [gold_idx],
            "poll": [poll],
        },
        schema={name: ITEMS.schema[name] for name in FACTS},
    )  # fmt: skip
    return item_orders(frame, "scale")["option_order"].to_list()


TEN = [str(i) for i in range(1, 11)]
NONE_AT_ALL = ["a great deal", "quite a lot", "not very much", "none"]


@pytest.mark.parametrize(
    ("asked", "orders"),
    [
        # A ten-point scale costs two calls, not ten.
        (item(TEN, ordinal=True), [list(range(10)), list(range(9, -1, -1))]),
        # "None" is a point of a scale, and belongs to no list.
        (item(NONE_AT_ALL, ordinal=True), [[0, 1, 2, 3], [3, 2, 1, 0]]),
        (item(["the left", "the right", "None of these"]), [[0, 1, 2], [1, 0, 2]]),
        (item(["no religion", "Catholic", "Muslim", "other"]), [[0, 1, 2, 3], [1, 2, 0, 3], [2, 0, 1, 3]]),
        (item(["work", "school", "Other (please specify)", "Don't know"]), [[0, 1, 2, 3], [1, 0, 2, 3]]),
        (item(["work", "school", "Do not know."]), [[0, 1, 2], [1, 0, 2]]),
        # An option without a place on the scale, wherever the survey lists it.
        (item(["low", "it depends", "high"], ordinal=True, scores=[0, None, 1]), [[0, 2, 1], [2, 0, 1]]),
        # Some polls list the middle of the scale last.
        (item(["better", "worse", "the same"], scores=[1, 3, 2]), [[0, 2, 1], [1, 2, 0]]),
        # Neither is an answer, "another religion" is one as well if nothing else is left.
        (item(["agree", "neither", "disagree"]), [[0, 1, 2], [1, 2, 0], [2, 0, 1]]),
        (item(["member", "none"]), [[0, 1], [1, 0]]),
        # The position of an option that can be right would give the answer away.
        (item(["yes", "no", "Don't know"], gold_idx=2), [[0, 1, 2], [1, 2, 0], [2, 0, 1]]),
        (
            item(["yes", "no", "Don't know"], gold_idx=0, poll=POLL),
            [[0, 1, 2], [1, 0, 2]],
        ),
        (item([]), [[]]),
    ],
)  # fmt: skip
def test_scales_are_turned_and_lists_are_shifted(asked, orders):
    assert asked == orders


@pytest.fixture(scope="module")
def designs(crosswalk):
    """The same study with cyclic orders and with scales."""
    people = small_survey.respondents()
    return {
        orders: made(
            people,
            crosswalk,
            small_survey.study(tasks={"value_alignment": {"kind": "value_alignment", "orders": orders}}),
        )
        for orders in ("cyclic", "scale")
    }


def test_a_ten_point_scale_costs_two_requests_that_the_cyclic_design_shares_where_it_can(designs):
    cyclic, scale = (designs[name].prompts["value_alignment"] for name in ("cyclic", "scale"))
    item = "abortion_alpha@alpha"
    each = {name: frame.filter(item_id=item)["order_id"].n_unique() for name, frame in (("c", cyclic), ("s", scale))}
    assert each == {"c": 10, "s": 2}
    forward = scale.filter(item_id=item, order_id=0)
    assert set(forward["content_hash"]) <= set(cyclic["content_hash"])
    lists = [name for name in cyclic["item_id"].unique() if name.startswith(("god", "trust"))]
    of_lists = pl.col("item_id").is_in(lists)
    assert scale.filter(of_lists)["prompt_id"].equals(cyclic.filter(of_lists)["prompt_id"])
    assert all(check.passed for check in tasks.check_prompts(scale, "scale"))


def test_one_of_the_two_directions_is_chosen_by_persona_and_item(crosswalk):
    config = {"kind": "value_alignment", "orders": "scale", "options": {"max_orders": 1}}
    world = made(small_survey.respondents(), crosswalk, small_survey.study(tasks={"value_alignment": config}))
    persona = world.prompts["value_alignment"].filter(condition="persona", item_id="abortion_alpha@alpha")
    assert persona.group_by("respondent_id").len()["len"].unique().to_list() == [1]
    assert 0.3 < persona["order_id"].mean() < 0.7
    assert all(check.passed for check in tasks.check_prompts(world.prompts["value_alignment"], "scale"))


def test_the_check_finds_a_design_that_shows_the_key_more_often_first(designs):
    prompts = designs["scale"].prompts["value_alignment"]
    early = prompts.filter(pl.col("gold_pos") < pl.col("options").list.len() / 2)
    assert not tasks.check_prompts(early, "scale")[0].passed


def test_who_always_takes_the_first_option_moves_by_the_whole_scale(designs):
    """Forward, the first option is the scale's first point (place 0); reversed, its last (place 1)."""
    world = designs["scale"]
    prompts, items = world.prompts["value_alignment"], world.items["value_alignment"]
    first = balance(tasks.score(prompts, items, answered(prompts, "A"))).frame
    scales = items.filter("ordinal")["item_id"].to_list()
    assert first.filter(pl.col("item_id").is_in(scales))["scale_shift"].unique().to_list() == [1.0]
    assert (
        first.filter(~pl.col("item_id").is_in(scales))["scale_shift"].null_count()
        == first.filter(~pl.col("item_id").is_in(scales)).height
    )


def test_who_reads_the_scale_does_not_move(designs):
    world = designs["scale"]
    prompts, items = world.prompts["value_alignment"], world.items["value_alignment"]
    own = prompts.with_columns(pl.col("gold_pos").replace_strict(dict(enumerate("ABCDEFGHIJ"))).alias("said"))
    replies = answered(prompts).drop("text").join(own.select("prompt_id", pl.col("said").alias("text")), on="prompt_id")
    scores = tasks.score(prompts, items, replies)
    assert balance(scores).frame["scale_shift"].drop_nulls().unique().to_list() == [0.0]
    assert (
        scores.filter(item_id="abortion_alpha@alpha")
        .filter((pl.col("scale_place") - pl.col("gold_idx") / 9).abs() > 1e-12)
        .is_empty()
    )


def test_probabilities_count_with_their_expected_place(designs):
    """P = (.5, .3, .2) over three points, forward: 0 × .5 + ½ × .3 + 1 × .2 = .35; reversed .65; shift .3, by hand."""
    world = designs["scale"]
    prompts = world.prompts["value_alignment"].filter(pl.col("options").list.len() == 3)
    items = world.items["value_alignment"]
    replies = answered(prompts, "A", [-0.6931471805599453, -1.2039728043259361, -1.6094379124341003])
    scores = tasks.score(prompts, items, replies).filter("ordinal")
    places = scores.group_by("scale_reversed").agg(pl.col("scale_place").mean()).sort("scale_reversed")
    assert places["scale_place"].to_list() == pytest.approx([0.35, 0.65])
    assert balance(scores).frame["scale_shift"].to_list() == pytest.approx([0.3] * balance(scores).frame.height)


def test_cyclic_orders_have_no_direction_beyond_two_options(designs):
    world = designs["cyclic"]
    prompts, items = world.prompts["value_alignment"], world.items["value_alignment"]
    scores = tasks.score(prompts, items, answered(prompts, "A"))
    assert not scores.filter(pl.col("k_options") > 2)["scale_reversed"].any()
    assert balance(scores).frame.filter(pl.col("k_options") > 2)["scale_shift"].null_count() > 0
