"""Tasks: items, prompts, answer keys, parsing and scores. `kinds/` has one file per task kind."""

from mpta_pipeline.tasks.arms import draw_ids, drawn, drawn_from
from mpta_pipeline.tasks.batteries import listed
from mpta_pipeline.tasks.item_gaps import Gap, Gaps, NoItemsError
from mpta_pipeline.tasks.items import build_gold, build_items, check_item_files, completed, item_file_version
from mpta_pipeline.tasks.kind_registry import KindRegistry, kind_of, task_kinds
from mpta_pipeline.tasks.known_truth import with_known_truth
from mpta_pipeline.tasks.option_orders import option_orders
from mpta_pipeline.tasks.parsing import markers, read_replies
from mpta_pipeline.tasks.people_in_arms import arm_answers
from mpta_pipeline.tasks.prompt_checks import (
    check_counts,
    check_prompts,
    check_readable,
    gold_position_test,
    merged_rates,
    prompt_counts,
    readable_rates,
    reply_counts,
)
from mpta_pipeline.tasks.prompts import PromptPlan, build_prompts, count_requests, plan_prompts
from mpta_pipeline.tasks.scoring import parse_replies, score
from mpta_pipeline.tasks.task_kind import TaskKind
from mpta_pipeline.tasks.turns import Conversations, are_turns

__all__ = [
    "Conversations",
    "Gap",
    "Gaps",
    "KindRegistry",
    "NoItemsError",
    "PromptPlan",
    "TaskKind",
    "are_turns",
    "arm_answers",
    "build_gold",
    "build_items",
    "build_prompts",
    "check_counts",
    "check_item_files",
    "check_prompts",
    "check_readable",
    "completed",
    "count_requests",
    "draw_ids",
    "drawn",
    "drawn_from",
    "gold_position_test",
    "item_file_version",
    "kind_of",
    "listed",
    "markers",
    "merged_rates",
    "option_orders",
    "parse_replies",
    "plan_prompts",
    "prompt_counts",
    "read_replies",
    "readable_rates",
    "reply_counts",
    "score",
    "task_kinds",
    "with_known_truth",
]
