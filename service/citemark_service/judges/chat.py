"""One chat completion as values: what a language judge sends through `server/`, and gets back."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from citemark_service.errors import JudgeUnreadable
from citemark_service.judges.tasks import Usage

ConstraintStyle = Literal["structured_outputs", "json_schema"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user"]
    content: str


@dataclass(frozen=True, slots=True)
class Constraint:
    """The same reply language twice: each server gets the form that it enforces."""

    regex: str
    """Compact: fixed keys, no free white space, bounded strings. For `structured_outputs`."""
    json_schema: Mapping[str, Any]
    """For `response_format`."""

    def payload(self, style: ConstraintStyle) -> dict[str, Any]:
        """The field of the request's body that enforces it."""
        if style == "structured_outputs":
            return {"structured_outputs": {"regex": self.regex}}
        schema = {"name": "verdicts", "strict": True, "schema": dict(self.json_schema)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One call."""

    messages: tuple[Message, ...]
    constraint: Constraint | None
    max_tokens: int
    temperature: float = 0.0
    top_logprobs: int = 0
    open_ended: bool = False
    """True ends the prompt where the last message ends, without closing it; for vLLM only."""
    priority: int = 0
    """Lower goes first; sent to servers that schedule by it."""
    caller: str = ""
    affinity: str = ""
    """Equal for calls that share a long prefix: they go to one server, one after another."""
    shared: int = 0
    """Characters of the last message that, after the messages before it, many calls of this
    affinity begin with; 0 where that is not worth priming."""

    def payload(self, model: str) -> dict[str, Any]:
        """The fields of the request's body that every server reads."""
        payload: dict[str, Any] = {
            "model": model,
            "messages": [{"role": each.role, "content": each.content} for each in self.messages],
            "temperature": self.temperature,
            "seed": 0,  # fixed, so that all samples of a group meet the same judge
        }
        if self.top_logprobs:
            payload["logprobs"] = True
            payload["top_logprobs"] = self.top_logprobs
        return payload

    def without_surrogates(self) -> "ChatRequest":
        """The request with lone surrogates as `?`: a rollout may hold some, UTF-8 cannot."""
        sound = [(each.role, each.content.encode(errors="replace")) for each in self.messages]
        messages = tuple(Message(role, content.decode()) for role, content in sound)
        return dataclasses.replace(self, messages=messages)


# Replies are decoded straight into these two, under OpenAI's names: a reply has hundreds of them,
# and copying each cost more than reading it. They hold no cycles for the collector to look for.
# Alternatives stay bytes until they are asked for, since few tokens of a reply are verdicts.
class Alternative(msgspec.Struct, frozen=True, gc=False):
    """A token that the server weighed, with its natural-log probability before any mask."""

    text: str = msgspec.field(name="token")
    logprob: float


class Token(Alternative, frozen=True, gc=False):
    """One generated token with its alternatives (itself among them or not)."""

    top_logprobs: msgspec.Raw = msgspec.Raw(b"[]")

    @property
    def alternatives(self) -> list[Alternative]:
        """What else the server weighed here.

        Raises:
            JudgeUnreadable: they are no list of tokens.
        """
        try:
            return _ALTERNATIVES.decode(self.top_logprobs)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise JudgeUnreadable(f"the alternatives of a token: {error}") from error


_ALTERNATIVES: Final = msgspec.json.Decoder(list[Alternative])


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What the server said; not yet validated."""

    content: str
    finish_reason: str | None
    usage: Usage
    tokens: tuple[Token, ...] | None = None
    """None where the server gave no logprobs; else their texts join to `content`."""
