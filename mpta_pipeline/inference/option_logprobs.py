"""Log-probabilities of whole options, by the method that an OpenAI-compatible server supports.

* `prompt_logprobs` (vLLM, SGLang, chat): the option is the assistant's message, scored as part of the prompt.
* `echo` (vLLM, completions): prompt and option are echoed with their token log-probabilities. Which tokens are the
  option's follows from their own text: vLLM's `text_offset` counts a leading special token that the text does not have.
* `grammar` (llama.cpp, which silently ignores both): a grammar allows exactly the option's token ids; the response's
  log-probabilities are the model's own. A grammar of the option's text would be wrong, because it lets the model spell
  the option with other tokens (measured: -57.5 instead of -31.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mpta_pipeline.inference.provider_errors import ErrorKind, ProviderError
from mpta_pipeline.inference.providers.base import Call
from mpta_pipeline.inference.response_checks import unreadable_response
from mpta_pipeline.inference.response_fields import listing, logprob, mapping, words

Way = Literal["prompt_logprobs", "echo", "grammar"]
_SKY = "The sky is blue."


async def find_way(api: str, native: str, body: Mapping[str, Any], call: Call) -> Way:
    """Find out which method works, by one small request each; that a parameter is accepted proves nothing.

    Args:
        api: chat or completions.
        native: Path prefix of llama.cpp's own endpoints, seen from the API's root.
        body: A small request of the model.
        call: HTTP calls to the endpoint.

    Raises:
        ProviderError: It supports none of the methods, or cannot be reached.
    """
    if await _works(call, native + "/tokenize", {"content": _SKY}, lambda p: len(p["tokens"]) > 2):
        return "grammar"
    if api == "completions":
        echo = dict(body) | {"prompt": _SKY, "max_tokens": 1, "echo": True, "logprobs": 1}
        if await _works(call, "/completions", echo, _echoes):
            return "echo"
    else:
        asked = dict(body) | {"messages": [{"role": "user", "content": _SKY}], "max_tokens": 1, "prompt_logprobs": 0}
        if await _works(call, "/chat/completions", asked, lambda p: len(p["prompt_logprobs"]) > 2):
            return "prompt_logprobs"
    raise ProviderError(
        ErrorKind.FATAL,
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
    except ProviderError as error:
        if error.kind is ErrorKind.REQUEST or (error.kind is ErrorKind.UNREACHABLE and "HTTP 404" in error.reason):
            return False
        raise


def token_grammar(tokens: list[int]) -> str:
    """Return a GBNF grammar that allows these tokens and nothing else."""
    return "root ::= " + " ".join(f"<[{token}]>" for token in tokens)


def _echoes(payload: Any) -> bool:
    """Return whether a known string is echoed with tokens of which only the last belong to its last word."""
    if not words(mapping(listing(payload["choices"])[0]).get("text")).startswith(_SKY):
        return False
    head, _, last = _SKY.rpartition(" ")
    try:
        sum_of_echo(payload, head, f" {last}")
    except ProviderError:
        return False
    return True


def sum_of_response(payload: Any, n: int) -> float:
    """Return the sum of the log-probabilities of the `n` generated tokens (llama.cpp: of chat and completions)."""
    choice = _first_choice(payload)
    listed = [logprob(mapping(c).get("logprob")) for c in listing(mapping(choice.get("logprobs")).get("content"))]
    # A stop token may follow those of the option.
    if len(listed) < n:
        raise unreadable_response(f"{len(listed)} forced tokens instead of {n}")
    return _total(listed[:n])


def sum_of_prompt(payload: Any, before: int, option: str) -> float:
    """Return the sum over the prompt's tokens after the first `before` (vLLM's `prompt_logprobs`: token id → values).

    If the tokens' text is given, it must be the option's. A template may render an assistant's message differently
    from the beginning of a response (with an empty thought before it); the tokens are then counted from the end.
    """
    entries = [mapping(entry) for entry in listing(mapping(payload).get("prompt_logprobs"))]
    values = [mapping(next(iter(entry.values()), None)) for entry in entries]
    taken = values[before:]
    if not taken:
        raise unreadable_response("the option has no tokens in prompt_logprobs")
    decoded = [value.get("decoded_token") for value in values]
    if all(isinstance(text, str) for text in decoded[1:]) and not any("\ufffd" in str(text) for text in decoded):
        texts = [_plain(str(text)) for text in decoded]
        if "".join(texts[before:]).strip() != option.strip():
            starts = [i for i in range(len(texts) - 1, 0, -1) if "".join(texts[i:]).strip() == option.strip()]
            if not starts:
                raise unreadable_response("the tokens in prompt_logprobs are not the option's")
            taken = values[starts[0] :]
    return _total([logprob(value.get("logprob")) for value in taken])


def sum_of_echo(payload: Any, prompt: str, option: str) -> float:
    """Return the sum over the echoed tokens that extend beyond the prompt and begin within the option."""
    logprobs = mapping(_first_choice(payload).get("logprobs"))
    values = listing(logprobs.get("token_logprobs"))
    offsets = _offsets(listing(logprobs.get("tokens")), prompt + option)
    if offsets is None:
        offsets = _checked(listing(logprobs.get("text_offset")), listing(logprobs.get("tokens")), prompt + option)
    if offsets is None or not values:
        raise unreadable_response("the echoed tokens cannot be aligned with the text that was sent")
    end = len(prompt) + len(option)
    ends = [*offsets[1:], end]
    taken = [
        v for start, stop, v in zip(offsets, ends, values, strict=False) if stop > len(prompt) and 0 <= start < end
    ]
    if not taken:
        raise unreadable_response("the option's tokens have no log-probabilities")
    return _total([logprob(value) for value in taken])


def _offsets(tokens: list[Any], text: str) -> list[int] | None:
    """Return where each echoed token begins in the text, by the tokens' own text; -1 for special tokens before it.

    One or two tokens at the beginning of a sequence may not belong to the text.
    """
    pieces = [_plain(token) if isinstance(token, str) else "" for token in tokens]
    for skipped in range(min(3, len(pieces))):
        joined = "".join(pieces[skipped:])
        # A tokenizer may add a space before the first word that the text does not have.
        lead = 1 if joined.startswith(" " + text) and not text.startswith(" ") else 0
        if not joined.startswith(text, lead):
            continue
        offsets, at = [-1] * skipped, -lead
        for piece in pieces[skipped:]:
            offsets.append(max(at, 0))
            at += len(piece)
        return offsets
    return None


def _checked(offsets: list[Any], tokens: list[Any], text: str) -> list[int] | None:
    """Return the server's own offsets if they fit the text: from 0, with the generated tokens from its end on."""
    if not offsets or any(type(offset) is not int for offset in offsets) or offsets[0] != 0:
        return None
    special = bool(tokens) and isinstance(tokens[0], str) and bool(tokens[0]) and not text.startswith(tokens[0])
    return None if special or len(text) not in offsets or offsets != sorted(offsets) else offsets


def _plain(token: str) -> str:
    """Return a token's text as it appears in the text: vocabularies write spaces and line ends as marks."""
    return token.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "\n").replace("<0x0A>", "\n")


def _first_choice(payload: Any) -> Mapping[str, Any]:
    choices = listing(mapping(payload).get("choices"))
    if not choices:
        raise unreadable_response("it has no choices")
    return mapping(choices[0])


def _total(values: Sequence[float | None]) -> float:
    """Return the sum; raise if a token has no finite log-probability."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        raise unreadable_response("the option's tokens have no log-probabilities")
    return float(sum(known))
