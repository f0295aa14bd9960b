"""Requests and responses: which models there are, what requests cost, and what the models answered.

    models = load_models()
    report = send_requests(models["smollm2"], prompts, layout.ledger("smollm2"), cache_dir=layout.models)
    frame = responses(models["smollm2"], prompts, layout.ledger("smollm2"))

This package knows nothing about surveys, personas or tasks: it takes prompts and returns responses.
"""

from mpta_pipeline.inference.approvals import Permission, approve, costs_money, permission, price_text, revoke
from mpta_pipeline.inference.calibration import calibrate
from mpta_pipeline.inference.engine import cancel_batches, send_requests
from mpta_pipeline.inference.models import (
    ModelSpec,
    at_levels,
    card,
    card_version,
    load_models,
    models_table,
    table_row,
    with_variants,
)
from mpta_pipeline.inference.outdated_requests import wanted_requests
from mpta_pipeline.inference.parallel_models import run_in_parallel, run_one_by_one
from mpta_pipeline.inference.probing import Probe, probe, stored_probe
from mpta_pipeline.inference.prompt_parts import PartResponses, PromptParts
from mpta_pipeline.inference.provider_registry import provider_problems
from mpta_pipeline.inference.requests import (
    PANEL_SHARE,
    groups_left_out,
    of_panel_share,
    prompts_of,
    with_request_hashes,
)
from mpta_pipeline.inference.responses import (
    Plan,
    ledger_height,
    overview,
    plan,
    responses,
    verify,
    withdraw,
    withdraw_all,
)
from mpta_pipeline.inference.run_control import Budget, RequestProgress, RequestReport, Stop

__all__ = [
    "PANEL_SHARE",
    "Budget",
    "ModelSpec",
    "PartResponses",
    "Permission",
    "Plan",
    "Probe",
    "PromptParts",
    "RequestProgress",
    "RequestReport",
    "Stop",
    "approve",
    "at_levels",
    "calibrate",
    "cancel_batches",
    "card",
    "card_version",
    "costs_money",
    "groups_left_out",
    "ledger_height",
    "load_models",
    "models_table",
    "of_panel_share",
    "overview",
    "permission",
    "plan",
    "price_text",
    "probe",
    "prompts_of",
    "provider_problems",
    "responses",
    "revoke",
    "run_in_parallel",
    "run_one_by_one",
    "send_requests",
    "stored_probe",
    "table_row",
    "verify",
    "wanted_requests",
    "with_request_hashes",
    "with_variants",
    "withdraw",
    "withdraw_all",
]
