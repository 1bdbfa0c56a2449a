"""Prompts and messages in the shapes in which trainers send them, as text. Pure; linear time.

A message is `{"role", "content"}` with text or a list of text parts, ShareGPT's
`{"from", "value"}`, or an item of a response (`{"type": "function_call_output", "output"}`). A
prompt is a list of messages or one text, which may have been through a chat template already.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_TOOL_ROLES: Final = ("tool", "function", "ipython", "observation")
_TOOL_ITEMS: Final = ("function_call_output",)
_INSTRUCTIONS: Final = ("system", "developer")
ROLES: Final = {"human": "user", "model": "assistant", "gpt": "assistant", "bot": "assistant"}
"""Roles under their other names."""
_MEDIA: Final = re.compile("image|audio|video")
_LONGEST_ROLE: Final = 64
_TEMPLATES: Final = (
    ("<|im_start|>", "\n", "<|im_end|>"),
    ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ("<start_of_turn>", "\n", "<end_of_turn>"),
)
"""How chat templates mark a turn: before its role, behind it, and at its end."""
_HEADERS: Final = (
    "<|im_start|>assistant",
    "<|start_header_id|>assistant<|end_header_id|>",
    "<start_of_turn>model",
    "<|begin_of_text|>",
    "<bos>",
    "<s>",
)
_ENDS: Final = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|finetune_right_pad_id|>",
    "<|return|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_turn>",
    "<eos>",
    "<pad>",
    "</s>",
    "[PAD]",
)
_FILLERS: Final = (*_ENDS, "<|begin_of_text|>", "<bos>", "<s>", "<unk>", "<|pad|>", "<｜▁pad▁｜>")
_PADDING: Final = re.compile(rf"\A(?:\s*(?:{'|'.join(map(re.escape, _FILLERS))}))+")
"""Tokens that fill up the left of a prompt, or begin a text."""
_THINK: Final = "<think>"
_SOURCE_TAGS: Final = ("<snippet", "<webpage", "<document")
_SEAM: Final = 32
_SHORTEST_SEAM: Final = 8
_INKED: Final = re.compile(r"\S")
_PIECE: Final = 4096


def said_in(message: Mapping[str, Any]) -> str:
    """The text of one message, its parts joined by line breaks; empty where it has none."""
    contents = (message.get(name) for name in ("content", "value", "output"))
    return _text_of(next((each for each in contents if each is not None), None))


def reply_in(messages: object) -> str:
    """What the policy said last: the text of the last assistant message; empty without one."""
    said = [said_in(message) for message in _messages(messages) if _role(message) == "assistant"]
    return said[-1] if said else ""


def reply_at_end(messages: object) -> str | None:
    """The text of the last message where that is the assistant's; None where it is not."""
    last = list(_messages(messages))[-1:]
    return (reply_in(last) or None) if last else None


def tools_in(messages: object) -> str | None:
    """All that tools answered, in order; None where none did."""
    told = [said_in(message) for message in _messages(messages) if _role(message) == "tool"]
    return "\n".join(told) if told else None


def question_in(prompt: object) -> str | None:
    """What was asked last: the last user message, or a text without its chat template.

    None where the prompt says nothing.
    """
    if isinstance(prompt, str):
        for before, behind, closing in _TEMPLATES:
            _, opened, turn = prompt.rpartition(f"{before}user{behind.strip()}")
            if opened:
                return turn.partition(closing)[0].strip() or None
        return prompt.strip() or None
    asked = [said_in(message) for message in _messages(prompt) if _role(message) == "user"]
    return (asked[-1].strip() or None) if asked else None


def conversation_in(prompt: object) -> list[dict[str, str]]:
    """What was said before the last user message, as `turns_in`; empty where nothing was."""
    if isinstance(prompt, str):
        return turns_in(list(_untemplate(prompt)))
    messages = list(_messages(prompt))
    asked = [at for at, message in enumerate(messages) if _role(message) == "user"]
    return turns_in(messages[: asked[-1]]) if asked else []


def holds_media(messages: object) -> bool:
    """Whether a message has a part that is an image, a sound or a film."""
    return any(
        isinstance(kind := part.get("type"), str) and _MEDIA.search(kind)
        for message in _messages(messages)
        for part in _messages(message.get("content"))
    )


def instructs(messages: object) -> bool:
    """Whether one of the messages is a system message."""
    return any(_role(message) in _INSTRUCTIONS for message in _messages(messages))


def turns_in(messages: object) -> list[dict[str, str]]:
    """The messages of users and assistants that have a text, as `{"role", "content"}`.

    System messages are instructions to the policy, and those of tools are sources.
    """
    turns = []
    for message in _messages(messages):
        role, text = _role(message), said_in(message).strip()
        if role and role not in ("tool", *_INSTRUCTIONS) and text:
            turns.append({"role": role[:_LONGEST_ROLE], "content": text})
    return turns


def _untemplate(prompt: str) -> Iterator[dict[str, str]]:
    """The messages of a templated text before its last user turn."""
    for before, behind, closing in _TEMPLATES:
        earlier, opened, _ = prompt.rpartition(f"{before}user{behind.strip()}")
        if opened:
            for turn in earlier.split(before)[1:]:
                role, _, text = turn.partition(behind)
                yield {"role": role.strip(), "content": text.partition(closing)[0]}
            return


def sources_in(prompt: object) -> str | None:
    """Where a prompt's sources stand: its tool messages, else what it says, if it has any.

    Of messages only the user's count, since a system prompt may show how to cite, and an
    assistant's are a policy's own words. None where there is neither a tool's answer nor a tag
    that looks like a source.
    """
    if isinstance(prompt, str):
        return prompt if _has_sources(prompt) else None
    told = tools_in(prompt)
    if told is not None:
        return told
    asked = "\n".join(said_in(m) for m in _messages(prompt) if _role(m) == "user")
    return asked if _has_sources(asked) else None


def continuation(whole: str, prompt: str) -> str | None:
    """What the policy wrote, of a text that holds its prompt as well; None where that is unsure.

    Trainers decode prompt and response together, and that may pad the prompt on its left, or
    change it a little. Then the response begins where the prompt's last words stand in `whole` for
    the same time as in the prompt, if that is about where the prompt should end. No text of the
    prompt is ever returned as the policy's.
    """
    if prompt.strip() and whole.startswith(prompt):
        return whole[len(prompt) :]
    if padding := _PADDING.match(whole):
        return continuation(whole[padding.end() :], _PADDING.sub("", prompt, count=1))
    seam = prompt.rstrip()[-_SEAM:].lstrip()
    if len(seam) < _SHORTEST_SEAM:
        return None
    at = _find_nth(whole, seam, prompt.count(seam))
    end = at + len(seam)
    if at < 0 or abs(end - len(prompt)) > 2 * _SEAM + len(prompt) // 8:
        return None
    return whole[end:]


def unwrap_response(response: str, prompt: object = None) -> str:
    """The policy's text without the chat template's tokens around it.

    A prompt that ends in `<think>` began the reasoning for the policy; its tag is put back, so
    that reasoning which never ends is not taken for an answer.
    """
    start = _find_start(response)
    end = _find_end(response, start)
    opened = isinstance(prompt, str) and prompt.rstrip().endswith(_THINK)
    return (_THINK if opened else "") + response[start:end]


def _messages(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from (message for message in value if isinstance(message, Mapping))


def _role(message: Mapping[str, Any]) -> str | None:
    role = message.get("role", message.get("from"))
    if role in _TOOL_ROLES or message.get("type") in _TOOL_ITEMS:
        return "tool"
    return ROLES.get(role, role) if isinstance(role, str) else None


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in _messages(content)]
    return "\n".join(part for part in parts if isinstance(part, str))


def _has_sources(text: str) -> bool:
    lowered = text.lower()
    return any(tag in lowered for tag in _SOURCE_TAGS)


def _find_nth(text: str, part: str, count: int) -> int:
    """Where `part` stands in `text` for the `count`-th time; -1 where it does not."""
    at = -len(part)
    for _ in range(count):
        at = text.find(part, at + len(part))
        if at < 0:
            return -1
    return at


def _find_start(text: str) -> int:
    """Where the text begins after white space and a turn's header."""
    start = 0
    while True:
        inked = _INKED.search(text, start)
        bare = inked.start() if inked else len(text)
        token = next((token for token in _HEADERS if text.startswith(token, bare)), None)
        if token is None:
            return start
        start = bare + len(token)


def _find_end(text: str, start: int) -> int:
    """Where the text ends before the tokens that end a turn or fill it up."""
    end = len(text)
    while True:
        bare = _strip_end(text, start, end)
        token = next((token for token in _ENDS if text.endswith(token, start, bare)), None)
        if token is None:
            return end
        end = bare - len(token)


def _strip_end(text: str, start: int, end: int) -> int:
    """Where `text[start:end]` ends without white space; without copying all of it each time."""
    while end > start:
        piece = max(start, end - _PIECE)
        end = piece + len(text[piece:end].rstrip())
        if end > piece:
            break
    return end
