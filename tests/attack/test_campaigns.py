"""The short form of the attack campaigns; the long form is `python -m tests.attack`."""

from functools import partial

import pytest

from tests.attack.campaigns.files import files
from tests.attack.campaigns.flips import KINDS, flips
from tests.attack.campaigns.kills import QUICK, kills, kills_in_chunks
from tests.attack.campaigns.policies import ENDPOINTS, POLICIES, policies
from tests.attack.campaigns.replies import replies

CHUNKED = ("prompts", "asking", "figures", "forget", "part of scores")
"""Stages that make or rewrite tables in chunks."""


@pytest.mark.parametrize(
    ("campaign", "n"),
    [
        (partial(kills, stages=QUICK), len(QUICK)),
        (partial(kills_in_chunks, stages=CHUNKED), len(CHUNKED)),
        (flips, len(KINDS)),
        (files, 24),
        (replies, 60),
    ],
    ids=["kills", "chunks", "flips", "files", "replies"],
)
def test_what_is_promised_holds_under_a_short_campaign(campaign, n, tmp_path):
    outcomes = list(campaign(n, tmp_path))
    assert len(outcomes) >= n
    assert [outcome for outcome in outcomes if outcome.problem] == []


def test_the_policy_of_today_holds_for_a_source_at_every_endpoint_after_every_change(tmp_path):
    outcomes = list(policies(tmp_path, sources=2))
    assert len(outcomes) == 2 * len(ENDPOINTS) * len(POLICIES) ** 2
    assert [outcome for outcome in outcomes if outcome.problem] == []
