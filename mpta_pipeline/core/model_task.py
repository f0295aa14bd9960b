"""A model × task pair: one model's answers to one task, the unit of a request run and of every estimate."""

from __future__ import annotations

from typing import NamedTuple

_SEPARATOR = "|"


class ModelTask(NamedTuple):
    """A model and a task, as named in models.yaml and study.yaml.

    `str(pair)` is the partition key of every table that is stored per model and task; `ModelTask.parse` reads it back.

    >>> str(ModelTask("smollm2", "bbq"))
    'smollm2|bbq'
    >>> ModelTask.parse("smollm2|bbq").task
    'bbq'
    """

    model: str
    task: str

    def __str__(self) -> str:
        return f"{self.model}{_SEPARATOR}{self.task}"

    @classmethod
    def parse(cls, key: str) -> ModelTask:
        """Read a partition key. A task's name never contains the separator; a model's name may.

        Raises:
            ValueError: The key is not of the form `model|task`.
        """
        model, separator, task = key.rpartition(_SEPARATOR)
        if not separator:
            raise ValueError(f"{key!r} is not the key of a model and a task (model|task)")
        return cls(model, task)

    @property
    def label(self) -> str:
        """The pair as messages name it."""
        return f"{self.model} on {self.task}"
