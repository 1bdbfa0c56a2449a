"""Request and reply of one chat completion or one reading, independent of the transport."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import msgspec

from citemark_service.judges.tasks import Usage

ConstraintStyle = Literal["structured_outputs", "json_schema"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user"]
    content: str


@dataclass(frozen=True, slots=True)
class Constraint:
    """One reply language in the two forms that servers enforce."""

    regex: str  # no free white space, and strings are bounded
    json_schema: Mapping[str, Any]

    def payload(self, style: ConstraintStyle) -> dict[str, Any]:
        if style == "structured_outputs":
            return {"structured_outputs": {"regex": self.regex}}
        schema = {"name": "verdicts", "strict": True, "schema": dict(self.json_schema)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}


class LevelQuestion(NamedTuple):
    """A question whose answer is one of `levels`, from the lowest; the digits from 0 name them."""

    key: str
    text: str
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    messages: tuple[Message, ...]
    constraint: Constraint | None
    max_tokens: int
    temperature: float = 0.0
    top_logprobs: int = 0
    open_ended: bool = False  # the prompt ends with the last message, unclosed; vLLM only
    priority: int = 0  # lower goes first
    caller: str = ""
    affinity: str = ""
    """Equal for calls that share a long prefix: they go to one server, one after another."""
    shared: int = 0
    """Length in characters of the part of the last message that calls of this affinity have in
    common; 0 to send no prime."""
    omits: frozenset[str] = frozenset()
    """Of `settings.OptionalField`."""
    questions: tuple[LevelQuestion, ...] = ()
    """Read instead of a written reply; the messages are then the rules and the state."""

    def reading(self, model: str) -> dict[str, Any]:
        """The body that asks `questions` of vLLM's and SGLang's `/v1/systemone`."""
        instructions, state = (each.content for each in self.messages)
        questions = {
            each.key: {"type": "score", "instructions": each.text, "criteria": each.levels}
            for each in self.questions
        }
        rules = {"model": model, "instructions": instructions}
        return {**rules, "state": state, "questions": questions}

    def payload(self, model: str, **own: Any) -> dict[str, Any]:
        """The request's body: what is the same for every server, and `own` fields of one kind."""
        payload: dict[str, Any] = {
            "model": model,
            "messages": [{"role": each.role, "content": each.content} for each in self.messages],
            "temperature": self.temperature,
            "seed": 0,  # fixed, so that all samples of a group meet the same judge
            **own,
        }
        if self.top_logprobs:
            payload["logprobs"] = True
            payload["top_logprobs"] = self.top_logprobs
        for name in self.omits:
            payload.pop(name, None)
        return payload

    def without_surrogates(self) -> "ChatRequest":
        """Replace lone surrogates, which a rollout may hold and UTF-8 cannot encode, by `?`."""
        sound = [(each.role, each.content.encode(errors="replace")) for each in self.messages]
        messages = tuple(Message(role, content.decode()) for role, content in sound)
        return dataclasses.replace(self, messages=messages)


# Replies are decoded straight into these two, under OpenAI's field names: a reply has hundreds of
# tokens, and copying each cost more than decoding it. gc=False: they cannot form cycles.
# Alternatives stay undecoded until they are read, since few tokens of a reply are verdicts.
class Alternative(msgspec.Struct, frozen=True, gc=False):
    """A candidate token with its natural-log probability before any grammar mask."""

    text: str = msgspec.field(name="token")
    logprob: float | None = None  # None where the server had no number


class Token(Alternative, frozen=True, gc=False):
    """One generated token; its alternatives may or may not include itself."""

    top_logprobs: msgspec.Raw = msgspec.Raw(b"[]")

    @property
    def alternatives(self) -> list[Alternative]:
        """Decode the alternatives; none where they are anything but a list of tokens."""
        try:
            return _ALTERNATIVES.decode(self.top_logprobs)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return []


_ALTERNATIVES: Final = msgspec.json.Decoder(list[Alternative])


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A decoded reply whose content is not yet validated."""

    content: str
    finish_reason: str | None
    usage: Usage
    tokens: tuple[Token, ...] | None = None
    """None without logprobs, empty where they are unusable; otherwise their texts join to
    `content`."""
