"""Score answers made elsewhere (`mpta score`): read files, match answers with items, compute estimates."""

from mpta_pipeline.external.bbq_layout import from_bbq, is_bbq
from mpta_pipeline.external.estimates import Results, check_out, compute, overview, write
from mpta_pipeline.external.evaluation_logs import Log, is_inspect, is_lm_eval, read_inspect, read_lm_eval
from mpta_pipeline.external.file_formats import read
from mpta_pipeline.external.human_answers import PeopleAnswers, read_people
from mpta_pipeline.external.item_sources import items_from, known_items
from mpta_pipeline.external.loading import load, together
from mpta_pipeline.external.option_matching import Exclusion
from mpta_pipeline.external.preview import look
from mpta_pipeline.external.scoring_inputs import Answers, Known, Reading
from mpta_pipeline.external.table_answers import from_table

__all__ = [
    "Answers",
    "Exclusion",
    "Known",
    "Log",
    "PeopleAnswers",
    "Reading",
    "Results",
    "check_out",
    "compute",
    "from_bbq",
    "from_table",
    "is_bbq",
    "is_inspect",
    "is_lm_eval",
    "items_from",
    "known_items",
    "load",
    "look",
    "overview",
    "read",
    "read_inspect",
    "read_lm_eval",
    "read_people",
    "together",
    "write",
]
