"""Decoding of what servers send: completions, tokens, lists of models and errors.

Only the fields in use are decoded and type-checked. Error texts of a server are passed on only
where they do not quote a rollout.
"""

import json
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Final

import msgspec

from citemark_schemas.retry_after import parse_retry_after
from citemark_service.errors import (
    JudgeError,
    JudgeOverloaded,
    JudgeRejected,
    JudgeServerError,
    JudgeTimeout,
    JudgeUnreachable,
    JudgeUnreadable,
    PromptTooLong,
)
from citemark_service.judges.chat import ChatReply, Message, Token
from citemark_service.judges.tasks import Usage

MAX_REPLY_BYTES: Final = 8 * 1024 * 1024  # verdicts of a rollout take a few kilobytes

_MESSAGE_CHARS: Final = 300  # of a server's error text
_ECHO_BLOCK: Final = 12  # characters
_FENCE: Final = re.compile(r"```[a-z]*\s*")
_STATUS: Final = re.compile(r"[45]\d\d")
_COUNT: Final = re.compile(r"\d[\d,]{0,12}")
# As vLLM, SGLang, llama.cpp, LM Studio, TGI and the hosted APIs say it.
_TOO_LONG: Final = re.compile(
    r"context.?(?:length|size|window)|`inputs` tokens|maximum (?:model|input) length"
    r"|(?:prompt|input|messages?|request|content)\b.{0,40}\b(?:too (?:long|large)|longer|exceed)"
    r"|too many (?:input )?tokens|reduce the length",
    re.IGNORECASE | re.DOTALL,
)
_LIMIT: Final = re.compile(
    rf"(?:context.?(?:length|size|window)|(?:model|input) length|limit|maximum|<=|>)"
    rf"[^\d.;]{{0,30}}({_COUNT.pattern})|({_COUNT.pattern}) (?:tokens )?(?:maximum|limit)",
    re.IGNORECASE,
)
_INEXACT: Final = re.compile(r"at least \d|\d characters")  # vLLM stops counting at its limit
_HALF: Final = "\N{REPLACEMENT CHARACTER}"  # for a token that is a part of a character
_NULL: Final = msgspec.Raw(b"null")
_UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


# gc=False: these cannot form cycles, and a reply has hundreds of tokens to track.
class _Logprobs(msgspec.Struct, gc=False):
    content: list[Token] | None = None


class _Content(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Content
    finish_reason: str | None = None
    error: object = None  # where OpenRouter puts one that came after the reply had begun
    logprobs: msgspec.Raw = _NULL  # a server's odd bookkeeping costs no verdict

    def tokens(self, content: str) -> tuple[Token, ...] | None:
        try:
            logprobs = _LOGPROBS.decode(self.logprobs)
        except _UNDECODABLE:
            return ()
        if logprobs is None or logprobs.content is None:
            return None
        return align_tokens(logprobs.content, content) or ()


class Completion(msgspec.Struct):
    """The envelope of a reply with status 200: a chat completion, or answers to questions."""

    choices: list[_Choice] | None = None
    answers: msgspec.Raw = _NULL
    diagnostics: msgspec.Raw = _NULL
    usage: object = None
    error: object = None

    def cost(self) -> Usage:
        """The usage of this call; zero tokens where the server reports no number."""
        bill = self.usage if isinstance(self.usage, dict) else {}
        return Usage(
            calls=1,
            prompt_tokens=_read_count(bill, "prompt_tokens") or _read_count(bill, "input_tokens"),
            cached_tokens=_read_count(bill.get("prompt_tokens_details"), "cached_tokens"),
            completion_tokens=_read_count(bill, "completion_tokens")
            or _read_count(bill, "output_tokens"),
        )

    def reply(self, cost: Usage) -> ChatReply:
        """The answers, or the first choice's text. Raises `JudgeUnreadable` without either."""
        if self.answers != _NULL:
            answers = {"answers": self.answers, "diagnostics": self.diagnostics}
            return ChatReply(msgspec.json.encode(answers).decode(errors="replace"), None, cost)
        if not self.choices:
            raise JudgeUnreadable("the reply has no choices")
        choice = self.choices[0]
        content = choice.message.content
        if content is None:
            raise JudgeUnreadable("the reply has no content")
        return ChatReply(content, choice.finish_reason, cost, choice.tokens(content))


def _read_count(bill: object, name: str) -> int:
    count = bill.get(name) if isinstance(bill, dict) else None
    return int(count) if isinstance(count, int | float) and 0 <= count < 2**53 else 0


_COMPLETION: Final = msgspec.json.Decoder(Completion)
_LOGPROBS: Final = msgspec.json.Decoder(_Logprobs | None)


def decode_completion(body: bytes, prompt: Iterable[Message] = ()) -> Completion:
    """Decode the body of a reply with status 200.

    Raises `JudgeUnreachable` where it ends early, and `JudgeUnreadable` where it is too large, not
    JSON, an error object, or has a field of another type; the message names the field, never its
    value. An error object with a status, as OpenRouter's, raises as that status would. NaN and
    infinities, which some servers write among logprobs, are read as null.
    """
    if len(body) > MAX_REPLY_BYTES:
        raise JudgeUnreadable(f"the reply is larger than {MAX_REPLY_BYTES} bytes")
    try:
        completion = _read_envelope(body)
    except (*_UNDECODABLE, ValueError) as error:
        raise JudgeUnreadable(f"the reply is no chat completion: {error}") from error
    fault = completion.error
    if fault is None and completion.choices:
        fault = completion.choices[0].error
    if fault is not None:
        code = str(fault.get("code")) if isinstance(fault, dict) else ""
        status = int(code) if _STATUS.fullmatch(code) else 200
        said = "HTTP 200 with an error" + f" {code}" * (status != 200)
        words = msgspec.json.encode({"error": fault})
        raise to_status_error(status, words, None, prompt, said=said)
    return completion


def _read_envelope(body: bytes) -> Completion:
    try:
        return _COMPLETION.decode(body)
    except msgspec.DecodeError as error:
        try:
            finite = json.loads(body, parse_constant=lambda _: None)
        except ValueError:
            # msgspec says it of lone surrogates, too, but not of a cut number.
            cut_number = body.startswith(b"{") and not body.rstrip().endswith(b"}")
            if cut_number or str(error) == "Input data was truncated":
                raise JudgeUnreachable("the reply ends before its JSON does") from error
            raise error from None
    return _COMPLETION.decode(msgspec.json.encode(finite))


async def read_bounded(chunks: AsyncIterator[bytes], limit: int = MAX_REPLY_BYTES) -> bytes:
    """Join the chunks, up to the first one that exceeds `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            break
    return b"".join(parts)


def align_tokens(tokens: Sequence[Token], content: str) -> tuple[Token, ...] | None:
    """Tokens whose texts join to `content`, or None where they cannot be matched. Linear time.

    Byte-level tokenizers split a character over tokens, and a server that decodes each token
    alone prints U+FFFD for the parts: these become one token without alternatives. End-of-turn
    tokens and a code fence around JSON, which `content` may lack, are dropped.
    """
    spelt = "".join([token.text for token in tokens])
    if spelt == content:
        return tuple(tokens)
    shown = [token for token in tokens if token.text]
    fence = _FENCE.match(spelt)
    if fence is not None and not content.startswith(fence[0]):  # llama.cpp strips it
        starts = list(accumulate((len(token.text) for token in shown), initial=0))
        shown = shown[starts.index(fence.end()) :] if fence.end() in starts else shown
    return _merge_halves(shown, content)


def _merge_halves(tokens: Sequence[Token], content: str) -> tuple[Token, ...] | None:
    merged: list[Token] = []
    halves: list[Token] = []
    at = 0
    for token in tokens:
        if at == len(content) and not halves:
            break
        if _HALF in token.text:
            halves.append(token)
            continue
        # Each half prints at least one U+FFFD, so they spell no more characters than they print.
        last = at + sum(len(half.text) for half in halves)
        starts = (n for n in range(at, last + 1) if content.startswith(token.text, n))
        start = next((n for n in starts if _are_halves(halves, content[at:n])), None)
        if start is None:
            return None
        if halves:
            merged.append(Token(content[at:start]))
        merged.append(token)
        halves, at = [], start + len(token.text)
    rest = content[at:]
    if not halves:
        return None if rest else tuple(merged)
    merged.append(Token(rest))
    return tuple(merged) if _are_halves(halves, rest) else None


def _are_halves(halves: Sequence[Token], piece: str) -> bool:
    """Whether the halves may spell `piece`: their ASCII, such as verdicts, must be the same."""
    spelt = "".join([half.text for half in halves])
    return [*filter(str.isascii, spelt)] == [*filter(str.isascii, piece)]


class _Model(msgspec.Struct):
    id: str
    max_model_len: object = None


class _Models(msgspec.Struct):
    data: list[_Model]


def read_context(listing: bytes, model: str) -> int | None:
    """The most tokens of a prompt and its reply, if the list of models has it, as vLLM's.

    Raises `JudgeRejected`, naming the served models, if `model` is not among them. A list in
    another format than OpenAI's is accepted.
    """
    try:
        served = {each.id: each for each in msgspec.json.decode(listing, type=_Models).data}
    except _UNDECODABLE:
        return None
    if model not in served:
        names = ", ".join(served)[:_MESSAGE_CHARS] or "no model"
        raise JudgeRejected(f"the judge serves {names}, not {model}")
    context = served[model].max_model_len
    return context if isinstance(context, int) and context > 0 else None


class _Tokenized(msgspec.Struct):
    count: int
    max_model_len: int


def read_token_count(body: bytes) -> tuple[int, int] | None:
    """A prompt's tokens and the server's context, from a reply as vLLM's; None for another."""
    try:
        counted = msgspec.json.decode(body, type=_Tokenized)
    except _UNDECODABLE:
        return None
    return counted.count, counted.max_model_len


def find_words(error: object) -> str:
    """The message of an error body, as OpenAI, vLLM, TGI, LM Studio, FastAPI or Mistral put it."""
    match error:
        case str():
            return error
        case {"msg": str(said), "loc": [*place]}:
            return f"{'.'.join(map(str, place))}: {said}"
        case dict():
            inner = (error.get(name) for name in ("error", "message", "detail"))
            return next(filter(None, map(find_words, inner)), "")
        case list():
            return "; ".join(filter(None, map(find_words, error[:8])))
    return ""


def to_status_error(
    status: int,
    body: bytes,
    retry_after: str | None,
    prompt: Iterable[Message],
    *,
    said: str = "",
) -> JudgeError:
    try:
        whole = find_words(msgspec.json.decode(body))
    except _UNDECODABLE:
        whole = ""
    words = quotable(whole, prompt)
    message = f"the judge answered {said or f'HTTP {status}'}" + (f": {words}" if words else "")
    if status in (429, 503):
        wait_s = parse_retry_after(retry_after, now=datetime.now(UTC))
        return JudgeOverloaded(message, retry_after_s=wait_s)
    if status >= 500 and status != 501:  # what is not implemented will not be at the next try
        return JudgeServerError(message)
    if status == 408:
        return JudgeTimeout(message)
    # A redirect is not followed: the prompt goes nowhere but to the configured server.
    if status in (400, 413, 422) and _TOO_LONG.search(whole):
        asked, context = find_overflow(whole)
        return PromptTooLong(message, status=status, asked=asked, context=context)
    if status >= 300:
        return JudgeRejected(message, status=status)
    return JudgeUnreadable(message)


def find_overflow(words: str) -> tuple[int | None, int | None]:
    """The tokens of a prompt that was refused for its length, and the most that fit."""
    limit = _LIMIT.search(words)
    context = int((limit[1] or limit[2]).replace(",", "")) if limit else 0
    if not context:
        return None, None
    counts = [int(count.replace(",", "")) for count in _COUNT.findall(words)]
    return None if _INEXACT.search(words) else max(counts), context


def to_unreachable(error: BaseException, base_url: str) -> JudgeUnreachable:
    detail = str(error)[:_MESSAGE_CHARS] or type(error).__name__
    return JudgeUnreachable(f"no whole reply from {base_url}: {detail}")


def quotable(words: str, prompt: Iterable[Message]) -> str:
    """At most 300 characters of a server's text on one line; empty where it echoes the prompt.

    Failures are logged and returned to others than the prompt's author.
    """
    line = " ".join(words[: 2 * _MESSAGE_CHARS].split())
    kept = "".join(filter(str.isprintable, line))[:_MESSAGE_CHARS]
    # Any run of 23 characters covers a whole aligned block of 12, so each such echo is caught.
    starts = range(0, len(kept) - _ECHO_BLOCK + 1, _ECHO_BLOCK)
    blocks = [kept[start : start + _ECHO_BLOCK] for start in starts]
    for message in prompt:
        folded = " ".join(message.content.split())
        if any(block in folded for block in blocks):
            return ""
    return kept
