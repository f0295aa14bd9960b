"""Protects conjoint designs: levels that no profile can have are named, and numbers are levels like texts."""

import pytest

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.study import Study
from mpta_pipeline.tasks.item_gaps import Gaps
from mpta_pipeline.tasks.items import completed
from mpta_pipeline.tasks.kinds.conjoint import conjoint_items
from mpta_pipeline.tasks.option_orders import layouts
from mpta_pipeline.tasks.task_kind import ItemRequest
from tests.factories import small_survey

AGE_JOB = {"age": [35, 50], "job": ["nurse", "mayor"]}


def items(**options):
    study = Study.model_validate(
        small_survey.study().model_dump(exclude={"tasks"})
        | {"tasks": {"t": {"kind": "conjoint", "options": {"question": "Which?"} | options}}}
    )
    request = ItemRequest(
        config=study.tasks["t"],
        files=(),
        crosswalk=small_survey.crosswalk(),
        respondents=small_survey.respondents(),
        seed=study.seed,
        gaps=Gaps(),
    )
    return conjoint_items(request), request.gaps


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"attributes": AGE_JOB, "restrictions": [{"age": "35", "job": ["nurse", "mayor"]}]}, "age: 35"),
        ({"attributes": {"age": ["35", ""], "job": ["nurse", "mayor"]}}, "empty"),
        ({"attributes": {"a": ["1", "2"], "b": ["1", "2"]}, "restrictions": [
            {"a": "1", "b": "1"}, {"a": "2", "b": "2"}], "profiles": 2}, "fewer than two"),
    ],
)  # fmt: skip
def test_a_design_that_cannot_be_drawn_is_refused(options, names):
    with pytest.raises(TaskError) as raised:
        items(**options)
    assert names in str(raised.value)


def test_a_pool_that_the_design_cannot_fill_is_named():
    made, gaps = items(attributes=AGE_JOB, pool=300)
    assert made.height == 6 and "300" in gaps.not_used[0] and "6 different" in gaps.not_used[0]
    assert made["options"].explode().str.contains("age: 35").any()


def test_an_option_beside_a_rating_scale_is_no_point_of_it():
    scale = {"options": ["bad", "good"], "ordinal": True, "beside": ["never met one"]}
    made, _ = items(attributes=AGE_JOB, profiles=1, scale=scale, pool=2)
    assert made["option_scores"][0].to_list() == [0.0, 1.0, None]
    assert {layout.last for layout in layouts(completed(made, own_key=False, task="t", kind="conjoint"))} == {(2,)}
