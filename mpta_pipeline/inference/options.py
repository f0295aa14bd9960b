"""Log-probabilities of whole options, by whichever way an OpenAI-compatible server really offers.

* `prompt_logprobs` (vLLM, SGLang, chat): the option as the assistant's message, scored as part of the prompt.
* `echo` (vLLM, completions): prompt and option echoed with their token log-probabilities.
* `grammar` (llama.cpp, which silently ignores both): a grammar that allows exactly the option's token ids; the reply's
  log-probabilities are the model's own. A grammar of the option's text would be wrong: it lets the model spell the
  option in other tokens (-57.5 instead of -31.4 was measured).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mpta_pipeline.inference.faults import Fault, Kind
from mpta_pipeline.inference.providers.base import Call, senseless

Way = Literal["prompt_logprobs", "echo", "grammar"]
_SKY = "The sky is blue."


async def find_way(api: str, native: str, body: Mapping[str, Any], call: Call) -> Way:
    """Find out by a small request each what the server does; a parameter that is accepted proves nothing.

    Args:
        api: chat or completions.
        native: Path prefix of llama.cpp's own endpoints, seen from the API's root.
        body: A small request of the model.
        call: Exchanges with the endpoint.

    Raises:
        Fault: It offers none of the ways, or cannot be reached.
    """
    if await _works(call, native + "/tokenize", {"content": _SKY}, lambda p: len(p["tokens"]) > 2):
        return "grammar"
    if api == "completions":
        echo = dict(body) | {"prompt": _SKY, "max_tokens": 1, "echo": True, "logprobs": 1}
        if await _works(call, "/completions", echo, lambda p: p["choices"][0]["text"].startswith(_SKY)):
            return "echo"
    else:
        asked = dict(body) | {"messages": [{"role": "user", "content": _SKY}], "max_tokens": 1, "prompt_logprobs": 0}
        if await _works(call, "/chat/completions", asked, lambda p: len(p["prompt_logprobs"]) > 2):
            return "prompt_logprobs"
    raise Fault(
        Kind.FATAL,
        "the endpoint gives no log-probabilities of whole options (neither prompt_logprobs, echo nor token grammars)",
    )


async def _works(call: Call, path: str, body: Mapping[str, Any], test: Any) -> bool:
    def read(payload: Any) -> bool:
        try:
            return bool(test(payload))
        except (KeyError, IndexError, TypeError, AttributeError):
            return False

    try:
        return await call(path, body, read)
    except Fault as fault:
        if fault.kind is Kind.ITEM or (fault.kind is Kind.DOWN and "HTTP 404" in fault.reason):
            return False
        raise


def token_grammar(tokens: list[int]) -> str:
    """A GBNF grammar that allows these tokens and nothing else."""
    return "root ::= " + " ".join(f"<[{token}]>" for token in tokens)


def sum_of_reply(payload: Any, n: int) -> float:
    """Sum of the `n` reply tokens' log-probabilities in a chat reply (llama.cpp uses that form for completions too)."""
    try:
        listed = [float(c["logprob"]) for c in payload["choices"][0]["logprobs"]["content"]]
    except (KeyError, IndexError, TypeError):
        raise senseless("no log-probabilities of the forced tokens") from None
    # A stop token may follow the option's own.
    if len(listed) < n:
        raise senseless(f"{len(listed)} forced tokens instead of {n}")
    return sum(listed[:n])


def sum_of_prompt(payload: Any, before: int) -> float:
    """Sum over the prompt's tokens after the first `before` (vLLM's `prompt_logprobs`: token id → its values)."""
    try:
        listed = payload["prompt_logprobs"][before:]
        values = [next(iter(entry.values()))["logprob"] for entry in listed]
    except (KeyError, IndexError, TypeError, AttributeError, StopIteration):
        raise senseless("no prompt_logprobs") from None
    if not values:
        raise senseless("the option has no tokens in prompt_logprobs")
    return float(sum(values))


def sum_of_echo(payload: Any, prompt: str, option: str) -> float:
    """Sum over the echoed tokens that reach beyond the prompt and begin within the option."""
    try:
        logprobs = payload["choices"][0]["logprobs"]
        offsets, values = logprobs["text_offset"], logprobs["token_logprobs"]
    except (KeyError, IndexError, TypeError):
        raise senseless("no echoed log-probabilities") from None
    end = len(prompt) + len(option)
    ends = [*offsets[1:], end]
    taken = [v for start, stop, v in zip(offsets, ends, values, strict=True) if stop > len(prompt) and start < end]
    if not taken or any(v is None for v in taken):
        raise senseless("the option's tokens have no log-probabilities")
    return float(sum(taken))
