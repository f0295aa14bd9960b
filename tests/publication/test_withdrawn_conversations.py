"""Everything that a person's conversations were answered goes, also after a deletion that was interrupted."""

import pytest

from mpta_pipeline import tasks
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.requests import TURN
from mpta_pipeline.publication import withdrawal
from tests.factories.conversations import turns
from tests.factories.model_calls import make_spec

SPEC = make_spec("https://x/v1")


def held(layout):
    """Two persons' conversations, answered."""
    prompts = turns(people=2).drop("known")
    talk = tasks.Conversations(SPEC, layout.ledger("mock"))
    for turn in range(4):
        now = talk.composed(prompts)
        with Ledger(layout.ledger("mock")).writer() as writer:
            for key in now.filter(turn=turn + 1)["request_hash"]:
                writer.append({"request_hash": key, "text": "ABCA"[turn], "asked_at": turn, "attempts": 1})
    return prompts.with_columns(alone=True)


@pytest.mark.parametrize("interrupted", [False, True])
def test_all_turns_go_and_the_others_stay(tmp_path, monkeypatch, interrupted):
    layout = Layout(tmp_path)
    prompts = held(layout)
    mine = prompts.filter(conversation="c1")
    outcome = withdrawal.Forgotten(waves=(), again=False)
    if interrupted:
        calls = []
        drop = Ledger.drop

        def twice(self, hashes, *, reason):
            calls.append(hashes)
            if len(calls) > 2:
                raise KeyboardInterrupt
            return drop(self, hashes, reason=reason)

        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "drop", twice)
            with pytest.raises(KeyboardInterrupt):
                withdrawal._drop_answers(layout, {"mock": SPEC}, mine, outcome)
    withdrawal._drop_answers(layout, {"mock": SPEC}, mine, outcome)
    left = Ledger(layout.ledger("mock")).texts()
    assert left.filter(left["error"].is_null()).height == 4
    now = tasks.Conversations(SPEC, layout.ledger("mock")).composed(prompts.drop("alone"))
    assert now.filter(now["request_hash"].str.starts_with(TURN))["conversation"].to_list() == ["c1"] * 3
    assert outcome.answers["mock"] == (2 if interrupted else 4)
