"""Parse replies: which option each one picks, with which probabilities, and whether it declines to answer.

Each module has one subject; `picks` combines them. Ambiguous replies are `unparsed`.
"""

from mpta_pipeline.tasks.parsing.letters import LETTER_RULES
from mpta_pipeline.tasks.parsing.picks import ERROR, OK, REFUSED, UNPARSED, read_replies
from mpta_pipeline.tasks.parsing.probabilities import read_logprobs, read_verbalized
from mpta_pipeline.tasks.parsing.refusals import markers

__all__ = [
    "ERROR",
    "LETTER_RULES",
    "OK",
    "REFUSED",
    "UNPARSED",
    "markers",
    "read_logprobs",
    "read_replies",
    "read_verbalized",
]
