"""Requests and answers: which models there are, what asking them costs, and what they answered.

    models = load_models()
    report = ask(models["smollm2"], prompts, layout.ledger("smollm2"), cache_dir=layout.models)
    frame = responses(models["smollm2"], prompts, layout.ledger("smollm2"))

This package knows nothing of surveys, personas or tasks: prompts come in, answers go out.
"""

from mpta_pipeline.inference.engine import ask, cancel_batches
from mpta_pipeline.inference.models import ModelSpec, card, card_version, load_models
from mpta_pipeline.inference.parallel_models import in_parallel, one_by_one
from mpta_pipeline.inference.probing import Probe, probe, stored_probe
from mpta_pipeline.inference.responses import Plan, overview, plan, responses, verify, withdraw
from mpta_pipeline.inference.run_control import AskReport, Budget, Progress, Stop

__all__ = [
    "AskReport",
    "Budget",
    "ModelSpec",
    "Plan",
    "Probe",
    "Progress",
    "Stop",
    "ask",
    "cancel_batches",
    "card",
    "card_version",
    "in_parallel",
    "load_models",
    "one_by_one",
    "overview",
    "plan",
    "probe",
    "responses",
    "stored_probe",
    "verify",
    "withdraw",
]
