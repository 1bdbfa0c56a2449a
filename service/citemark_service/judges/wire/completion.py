"""Reading a chat completion: only the fields that count, checked for type, nothing else kept."""

from typing import Annotated, Final

import msgspec

from citemark_service.errors import JudgeUnreadable
from citemark_service.judges.chat import ChatReply, Token
from citemark_service.judges.protocol import Usage
from citemark_service.judges.wire.alignment import aligned

MAX_REPLY_BYTES: Final = 8 * 1024 * 1024
"""A reply above this is refused unread: verdicts of a rollout take a few kilobytes."""

_Count = Annotated[int, msgspec.Meta(ge=0)]


# Trees of plain values hold no cycles, so none of these need be tracked for collection.
class _Logprobs(msgspec.Struct, gc=False):
    content: list[Token] | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Details(msgspec.Struct, gc=False):
    cached_tokens: _Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count = 0
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None


class Completion(msgspec.Struct, gc=False):
    """The envelope of a reply with status 200."""

    choices: list[_Choice] = []
    usage: _Usage | None = None

    def cost(self) -> Usage:
        """What the server billed, as one call; zeros where it does not say."""
        usage = self.usage or _Usage()
        details = usage.prompt_tokens_details or _Details()
        return Usage(
            calls=1,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=details.cached_tokens or 0,
            completion_tokens=usage.completion_tokens or 0,
        )

    def reply(self) -> ChatReply:
        """The first choice as a value. Reasoning is not read, wherever a server puts it.

        Raises:
            JudgeUnreadable: there is no choice, or it has no text.
        """
        if not self.choices:
            raise JudgeUnreadable("the reply has no choices")
        choice = self.choices[0]
        content = choice.message.content
        if content is None:
            raise JudgeUnreadable("the reply has no content")
        return ChatReply(content, choice.finish_reason, self.cost(), _tokens(choice, content))


def _tokens(choice: _Choice, content: str) -> tuple[Token, ...] | None:
    listed = choice.logprobs.content if choice.logprobs is not None else None
    if not listed:
        return None
    return aligned(listed, content)


class _Envelope(Completion, gc=False):
    error: object = None


_DECODER: Final = msgspec.json.Decoder(_Envelope)


def decode_completion(body: bytes) -> Completion:
    """Read the body of a reply with status 200.

    Raises:
        JudgeUnreadable: too large, not JSON, an error object, or a field of another type; the
            message names the field, never its value.
    """
    if len(body) > MAX_REPLY_BYTES:
        raise JudgeUnreadable(f"the reply is larger than {MAX_REPLY_BYTES} bytes")
    try:
        envelope = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JudgeUnreadable(f"the reply is no chat completion: {error}") from error
    if envelope.error is not None:
        raise JudgeUnreadable("the reply is an error object with HTTP status 200")
    return envelope
