"""What to do about an endpoint that cannot be used, by the reason that it gives."""

from __future__ import annotations

import re

from mpta_pipeline.inference.models import ModelSpec

UNSUPPORTED = re.compile(
    r"(?i)unsupported|not support|deprecated|unrecognized|unknown (parameter|name|field)|extra input"
)
"""How endpoints reject a request for its parameters; they would reject every other request as well."""
VERSION = re.compile(r"/v\d\w*(/|$)|/openai(/|$)")
"""What the root of an API contains: a version, or Azure's path."""


def remedy_of(reason: str, spec: ModelSpec) -> str:
    """Return what to change so that a model that cannot be used for this reason can be used."""
    if "certificate" in reason.lower():
        return "correct base_url, or name the file of the authority that signed its certificate in SSL_CERT_FILE"
    if "key was rejected" in reason or "HTTP 403" in reason:
        return f"check the key in {spec.key_variable or 'the environment'} and its permissions, then run again"
    if re.search("web page|redirect|plain-text error|address is not valid", reason):
        return (
            "correct base_url in models.yaml: it must be the API's root with the version, e.g. http://127.0.0.1:8000/v1"
        )
    if "no connection" in reason:
        return "start the server or correct base_url in models.yaml, then run again: only missing requests are sent"
    if "know the model" in reason or "HTTP 404" in reason:
        return "correct `model` or base_url of the entry in models.yaml"
    if "no credit left" in reason or "quota" in reason or "billing" in reason:
        return "check your account with the provider, then run again: only missing requests are sent"
    if re.search(r"HTTP 4(00|13|22)|requests of batch \S+ failed", reason) and not re.search(
        r"(?i)context|too (long|large)|filter", reason
    ):
        return (
            "remove what the endpoint names from the entry in models.yaml: set a parameter to null in `parameters` "
            "(temperature too), and see max_tokens_field, top_logprobs, system_role, structured and reasoning"
        )
    if "HTTP 200 with error" in reason and spec.provider_class.root_has_version and not VERSION.search(spec.url):
        return f"correct base_url in models.yaml: the API's root has a version, e.g. {spec.url}/v1"
    if "batch" in reason and "batches.json" in reason:
        return (
            "check the batch with the provider, then run again. If it cannot be corrected there, delete the file "
            "named above: its requests are then sent, and charged, again"
        )
    return "check the endpoint's own status, then run again: only missing requests are sent"


def pattern_of(reason: str) -> str:
    """Return a reason without numbers and identifiers, so that two of the same cause are equal."""
    return re.sub(r"[\w.-]*\d[\w.-]*", "#", reason)
