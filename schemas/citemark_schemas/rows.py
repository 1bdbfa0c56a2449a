"""Rows under the names that data sets use, as fields of a rollout. Pure; linear time.

question        query
snippets        documents, ctxs, docs (the last two only where no other source is given)
id              sample_id, prompt_id, qid
prompt          messages, conversations: text or messages; gives question, conversation, sources
                and, where none is given and the last message is the assistant's, the response
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from citemark_schemas.cells import list_in, replace_surrogates, to_json_value
from citemark_schemas.transcript import (
    conversation_in,
    holds_media,
    question_in,
    reply_at_end,
    sources_in,
    tools_in,
    turns_in,
)

ALIASES: Final = {
    "query": "question",
    "documents": "snippets",
    "ctxs": "snippets",
    "docs": "snippets",
    "sample_id": "id",
    "prompt_id": "id",
    "qid": "id",
}
"""Fields by their other names, the stronger name first."""
CHATS: Final = ("prompt", "messages", "conversations")
SOURCES: Final = ("tool_output", "snippets")
FAINT: Final = frozenset({"ctxs", "docs"})
"""Names that many data sets also use beside sources which are given otherwise."""

DOCUMENT_IDS: Final = (
    "id", "doc_id", "docid", "document_id", "source_id", "snippet_id", "citation_id",
)  # fmt: skip
TEXT_KEYS: Final = (
    "text", "content", "snippet", "snippets", "raw_content", "page_content", "full_text", "body",
    "passage", "passages", "highlights", "description", "summary", "abstract", "excerpt", "chunk",
    "extract", "markdown", "paragraph", "contents",
)  # fmt: skip
"""Where the text of a document stands, strongest first."""
TITLE_KEYS: Final = ("title", "name", "heading", "headline")
URL_KEYS: Final = ("url", "link", "href", "uri", "source_url", "source")
PAPER_KEYS: Final = ("paper_id", "corpusId", "corpus_id")
DOCUMENT_KEYS: Final = frozenset({
    *DOCUMENT_IDS, *TEXT_KEYS, *TITLE_KEYS, *URL_KEYS, *PAPER_KEYS,
})  # fmt: skip
"""What is read of a document."""


UNSEEN: Final = "which the judge cannot see: say in words what it shows"


class Misread(ValueError):
    """What a row says is unclear; `place` is the field's path."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place} {message}")
        self.place = place
        self.message = message


def to_name(value: object) -> object:
    """A whole number as text; anything else as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def read_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with each field under its own name, the fields that a chat gives among them.

    Other columns stay, as do further names of an id and a chat that gives nothing.

    Raises:
        Misread: two names of a field say different things, or a document has no text.
    """
    fields = {name: row[name] for name in row if name not in ALIASES}
    if fields.get("snippets") is not None:
        fields["snippets"] = read_documents(fields["snippets"], "snippets")
    for alias, field in ALIASES.items():
        value = row.get(alias)
        if value is None or (alias in FAINT and not isinstance(value, list)):
            fields |= {alias: value} if alias in row else {}
            continue
        if field == "snippets":
            value = read_documents(value, alias)
        taken = fields.get(field)
        if (not taken and not fields.get("tool_output")) if alias in FAINT else taken is None:
            fields[field] = value
        elif field == "id" or alias in FAINT:
            fields[alias] = row[alias]
        elif _plain(taken) != _plain(value):
            raise differing(field, alias)
    if problem := differing_chat(fields):
        raise problem
    return read_chats(fields)


def differing(field: str, alias: str) -> Misread:
    return Misread(alias, f"and {field!r} are two names of one thing and say different things")


def _plain(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def read_chats(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with what is missing from the row's chat, without that if it gave anything.

    Raises `Misread` where it holds an image.
    """
    told = fields.get("conversation")
    if _is_chat(told) and fields.get("question") is None:  # the whole conversation
        fields = {**fields, "conversation": None, "messages": told}
    elif _is_chat(told):
        fields["conversation"] = turns_in(told)
        if all(fields.get(name) is None for name in SOURCES):
            fields["tool_output"] = tools_in(told)
    chats = {name: chat for name in CHATS if (chat := read_chat(fields.get(name)))}
    before, prompt, used = dict(fields), None, ""
    for name, chat in chats.items():
        reply = reply_at_end(chat) if fields.get("response") is None else None
        if reply is not None:
            fields["response"] = reply
        if prompt is None or reply is not None:
            prompt, used = (chat if reply is None else chat[:-1]), name
    fill_from_prompt(fields, prompt)
    if fields != before:
        del fields[used]
    return fields


def differing_chat(fields: Mapping[str, Any]) -> Misread | None:
    """A chat that asks something else than the first: neither question holds the other."""
    said = ((name, question_in(read_chat(fields.get(name)))) for name in CHATS)
    asked = [(name, " ".join(text.split())) for name, text in said if text]
    for name, text in asked[1:]:
        if text not in asked[0][1] and asked[0][1] not in text:
            return differing(asked[0][0], name)
    return None


def read_chat(value: object) -> Any:
    """A prompt as text or a list of messages, also where that is JSON text; None if neither."""
    if isinstance(value, str):
        listed = list_in(value)
        value = value if listed is None else listed
        return value if value and (isinstance(value, str) or _is_chat(value)) else None
    return value if _is_chat(value) else None


def _is_chat(value: object) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and bool(value)
        and all(isinstance(each, Mapping) for each in value)
    )


def fill_from_prompt(fields: dict[str, Any], prompt: object) -> None:
    """Set question, conversation and sources from a prompt where they are missing."""
    told = all(fields.get(name) is not None for name in ("question", "conversation"))
    if not told and holds_media(prompt):
        raise Misread("messages", f"hold an image, {UNSEEN}")
    if fields.get("question") is None and (question := question_in(prompt)) is not None:
        fields["question"] = replace_surrogates(question)
    if fields.get("conversation") is None and (turns := conversation_in(prompt)):
        fields["conversation"] = [
            {name: replace_surrogates(text) for name, text in turn.items()} for turn in turns
        ]
    if all(fields.get(name) is None for name in SOURCES):
        sources = sources_in(prompt)
        if sources is not None:
            fields["tool_output"] = replace_surrogates(sources)


def read_documents(value: Any, name: str) -> Any:
    """Documents as snippets: those without an id are numbered in their order, `ctxs` from 0.

    Of an object are read its id, text, title, address and paper; a text is a document too. A value
    that is no list is returned as it is.

    Raises:
        Misread: a document has no text, or its number is the id of another.
    """
    if isinstance(value, str):
        listed = list_in(value)
        value = to_json_value(listed) if listed is not None else value
    if not isinstance(value, list | tuple):
        return value
    snippets = [
        _read_document(item, f"{name}[{at}]") if isinstance(item, Mapping | str) else item
        for at, item in enumerate(value)
    ]
    first = 0 if name.endswith("ctxs") else 1  # as the answers of public sets cite them
    taken = {each["id"] for each in snippets if isinstance(each, dict) and "id" in each}
    for at, each in enumerate(snippets):
        if isinstance(each, dict) and "id" not in each:
            number = str(at + first)
            if number in taken:
                message = f"has no id, and its number {number} is that of another: give each an id"
                raise Misread(f"{name}[{at}]", message)
            each["id"] = number
    return snippets


def _read_document(item: Mapping[str, Any] | str, place: str) -> dict[str, Any]:
    if isinstance(item, str):
        return {"text": item}
    text = join_texts(item)
    if not isinstance(to_name(item.get("id")), str | None):
        raise Misread(f"{place}.id", "must be text or a whole number")
    if text is None:
        raise Misread(f"{place}.text", "is missing: give it under 'text' or 'content'")
    found = {
        "id": _first_name(item, DOCUMENT_IDS),
        "text": text,
        "paper_id": _first_name(item, PAPER_KEYS),
        "title": _first_name(item, TITLE_KEYS),
        "url": _first_name(item, URL_KEYS),
    }
    return {key: each for key, each in found.items() if each is not None}


def join_texts(item: Mapping[str, Any]) -> str | None:
    """The texts of a document, strongest first, without those that another one holds; None if it
    has none."""
    texts = [text for key in TEXT_KEYS if (text := _join(item.get(key))) is not None]
    whole = ""
    for text in texts:
        if text.strip() not in whole:
            whole = f"{whole}\n{text}" if whole else text
    return whole if texts else None


def _join(value: object) -> str | None:
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    return value if isinstance(value, str) else None


def _first_name(item: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    names = (to_name(item.get(key)) for key in keys)
    return next((name for name in names if isinstance(name, str) and name), None)
