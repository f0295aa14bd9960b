"""Tables that the project stores and publishes: one record per table, from which checks, docs and UI text are made.

One module per stage. A record holds the names, types, meaning and bounds of the columns, not how the table is made.
"""

from mpta_pipeline.core.tables.harmonize import CONCEPTS, OPTIONS, RESPONDENTS
from mpta_pipeline.core.tables.inference import MODELS, RESPONSES
from mpta_pipeline.core.tables.metrics import (
    ANSWER_SHARES,
    EXPERIMENTS,
    MODEL_COMPARISON,
    PEOPLE_EFFECTS,
    PEOPLE_SHARES,
    POCKETS,
    POWER,
    REPLACED_ESTIMATES,
    RIVALS,
    SCORES,
    SUBGROUP_METRICS,
    TEXT_SCORES,
)
from mpta_pipeline.core.tables.multiverse import (
    CONFIGURATION_ESTIMATES,
    CONFIGURATION_PEOPLE,
    CONFIGURATIONS,
    FACTOR_MOVES,
    MULTIVERSE_FINDINGS,
    SPECIFICATION_CURVE,
    VARIANCE_BUDGET,
)
from mpta_pipeline.core.tables.personas import ARM_DRAWS, GROUPS, PANEL, PERSONAS, TRAIT
from mpta_pipeline.core.tables.publication import LINEAGE, PUBLISHED, publish
from mpta_pipeline.core.tables.schema import Column, Table
from mpta_pipeline.core.tables.surveys import CHANGELOG, VARIABLES, WAVES
from mpta_pipeline.core.tables.tasks import ARM_ANSWERS, GOLD, ITEMS, PROMPTS
from mpta_pipeline.core.tables.views import VIEWS, View
from mpta_pipeline.core.vocabulary import (
    CONDITIONS,
    DATA_USES,
    ELICITATIONS,
    MISSING_KINDS,
    STATUSES,
    UNPARSED_REASONS,
    VERDICTS,
)

__all__ = [
    "ANSWER_SHARES",
    "ARM_ANSWERS",
    "ARM_DRAWS",
    "CHANGELOG",
    "CONCEPTS",
    "CONDITIONS",
    "CONFIGURATIONS",
    "CONFIGURATION_ESTIMATES",
    "CONFIGURATION_PEOPLE",
    "DATA_USES",
    "ELICITATIONS",
    "EXPERIMENTS",
    "FACTOR_MOVES",
    "GOLD",
    "GROUPS",
    "ITEMS",
    "LINEAGE",
    "MISSING_KINDS",
    "MODELS",
    "MODEL_COMPARISON",
    "MULTIVERSE_FINDINGS",
    "OPTIONS",
    "PANEL",
    "PEOPLE_EFFECTS",
    "PEOPLE_SHARES",
    "PERSONAS",
    "POCKETS",
    "POWER",
    "PROMPTS",
    "PUBLISHED",
    "REPLACED_ESTIMATES",
    "RESPONDENTS",
    "RESPONSES",
    "RIVALS",
    "SCORES",
    "SPECIFICATION_CURVE",
    "STATUSES",
    "SUBGROUP_METRICS",
    "TEXT_SCORES",
    "TRAIT",
    "UNPARSED_REASONS",
    "VARIABLES",
    "VARIANCE_BUDGET",
    "VERDICTS",
    "VIEWS",
    "WAVES",
    "Column",
    "Table",
    "View",
    "publish",
]
