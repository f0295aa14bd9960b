"""Read questionnaires: a study's own instrument from YAML, CSV or Qualtrics' QSF, as one record of its questions."""

from mpta_pipeline.tasks.questionnaires.instrument import Condition, Instrument, Note, Question
from mpta_pipeline.tasks.questionnaires.read import read_instrument

__all__ = ["Condition", "Instrument", "Note", "Question", "read_instrument"]
