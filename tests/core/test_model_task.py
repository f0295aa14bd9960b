"""The key of a model × task partition and the pair that it names."""

import pytest

from mpta_pipeline.core.model_task import ModelTask


@pytest.mark.parametrize("model", ["smollm2", "org/model:1.5", "a|b"])
def test_a_pair_is_read_back_from_its_key(model):
    pair = ModelTask(model, "value_alignment")
    assert ModelTask.parse(str(pair)) == pair
    assert str(pair) == f"{model}|value_alignment"
    assert pair.label == f"{model} on value_alignment"


def test_a_text_that_is_no_key_is_an_error():
    with pytest.raises(ValueError, match="'smollm2' is not the key of a model and a task"):
        ModelTask.parse("smollm2")
