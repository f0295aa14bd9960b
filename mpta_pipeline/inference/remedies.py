"""What to do about an endpoint that cannot be used, by what it says."""

from __future__ import annotations

import re

from mpta_pipeline.inference.models import ModelSpec

UNSUPPORTED = re.compile(
    r"(?i)unsupported|not support|deprecated|unrecognized|unknown (parameter|name|field)|extra input"
)
"""What an endpoint says of a request whose parameters it does not take: then it takes none of them."""
VERSION = re.compile(r"/v\d\w*(/|$)|/openai(/|$)")
"""What the root of an API ends in or holds: a version, or Azure's path."""


def remedy_of(reason: str, spec: ModelSpec) -> str:
    """What to change so that a model that was given up for this reason can be asked."""
    if "certificate" in reason.lower():
        return "correct base_url, or name the file of the authority that signed its certificate in SSL_CERT_FILE"
    if "key was rejected" in reason or "HTTP 403" in reason:
        return f"check the key in {spec.key_env or 'the environment'} and what it may use, then run again"
    if re.search("web page|redirect|in plain words|the address is none", reason):
        return (
            "correct base_url in models.yaml: it must be the API's root with the version, e.g. http://127.0.0.1:8000/v1"
        )
    if "no connection" in reason:
        return "start the server or correct base_url in models.yaml, then run again: only what is missing is asked"
    if "know the model" in reason or "HTTP 404" in reason:
        return "correct `model` or base_url of the entry in models.yaml"
    if "nothing is left to pay with" in reason or "quota" in reason or "billing" in reason:
        return "see the account with the provider, then run again: only what is missing is asked"
    if re.search(r"HTTP 4(00|13|22)|requests of batch \S+ failed", reason) and not re.search(
        r"(?i)context|too (long|large)|filter", reason
    ):
        return (
            "take what the endpoint names out of the entry in models.yaml: set a parameter to null in `parameters` "
            "(temperature too), and see max_tokens_field, top_logprobs, system_role, structured and reasoning"
        )
    if "HTTP 200 with error" in reason and spec.provider == "openai" and not VERSION.search(spec.url):
        return f"correct base_url in models.yaml: the API's root has a version, e.g. {spec.url}/v1"
    if "batch" in reason and "batches.json" in reason:
        return (
            "look at the batch with the provider, then run again. If it cannot be corrected there, delete the file "
            "named above: its requests are then asked, and paid, again"
        )
    return "see the endpoint's own status, then run again: only what is missing is asked"


def pattern_of(reason: str) -> str:
    """A reason without numbers and identifiers, by which two of one cause are told."""
    return re.sub(r"[\w.-]*\d[\w.-]*", "#", reason)
