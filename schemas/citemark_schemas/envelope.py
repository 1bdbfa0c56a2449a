"""The row envelope: what a data set says of a rollout, wherever a trainer can carry it. Pure.

Trainers pass a row's own data to the reward in one place or another: `label`, `ground_truth`,
`answer`, `extra_info`, `metadata`, the row itself. Whatever object stands there is an envelope:

    question, conversation, tool_output, snippets, positive_rubrics, negative_rubrics, rubrics, id,
    finish_reason, run, step, group, knobs, and each knob by its own name; other names of these
    and chats are read as `citemark_schemas.rows` says

Keys that are none of these are the data set's own and left alone, unless a missing field was
clearly meant. Neither the response nor what it says is ever looked at for a source or a rubric.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from pydantic import ValidationError

from citemark_schemas.cells import (
    TooDeep,
    object_in,
    replace_surrogates,
    to_json_value,
)
from citemark_schemas.columns import RUBRIC_COLUMNS, RUBRICS, RUBRICS_APART, columns_apart
from citemark_schemas.details import LONGEST_KEY, clip, to_detail, to_details
from citemark_schemas.knobs import Knobs
from citemark_schemas.rollout import Rollout
from citemark_schemas.rows import (
    ALIASES,
    CHATS,
    FAINT,
    SOURCES,
    UNSEEN,
    Misread,
    differing,
    read_chat,
    read_chats,
    read_documents,
    to_name,
)
from citemark_schemas.rubric import GRADED, IGNORED_KEYS
from citemark_schemas.score import ProblemDetail

_NAMES: Final = ("id", "group", "run", "finish_reason")
_FIELDS: Final = (
    "question",
    "conversation",
    *SOURCES,
    *RUBRICS,
    *_NAMES,
    "step",
    "knobs",
    *Knobs.model_fields,
)
_KNOWN: Final = frozenset({*_FIELDS, *ALIASES})
NESTED: Final = (
    "citemark",
    "label",
    "ground_truth",
    "answer",
    "reward_model",
    "extra_info",
    "info",
    "metadata",
    "verifier_metadata",
    "row",
)
"""Keys under which an envelope may hold another."""
_UNSEARCHED: Final = _KNOWN | {*NESTED, *CHATS, *GRADED, "response"}
"""Of an object all that is read; the policy's words are no columns."""
_MEDIA: Final = ("image", "images", "video", "videos", "audio", "audios")
_DEEPEST: Final = 4
_NEAR: Final = 0.85  # "question_id" is .84 from "question", "positive_rubric" .97
_MOST_KEYS: Final = 256
_MOST_DETAILS: Final = 20
_OPENED: Final = re.compile(r"""(?:\[\s*)?\{\s*["']""")
"""How an object's text begins, JSON or Python's own; no answer in LaTeX or prose does."""


class EnvelopeError(ValueError):
    """A row from which no rollout can be made; `details` name each place and field."""

    def __init__(self, details: Sequence[ProblemDetail]) -> None:
        self.details = tuple(details)
        first, more = self.details[0], len(self.details) - 1
        super().__init__(f"{first.loc}: {first.message}" + (f" (and {more} more)" if more else ""))


class _Placed(NamedTuple):
    """A value, or an object that may hold fields, and where it stood."""

    place: str
    value: Any


_Fields: TypeAlias = dict[str, _Placed]


def rollout_of(
    places: Mapping[str, object],
    *,
    response: str,
    prompt: object = None,
    tool_output: str | None = None,
    ignored_rubric_keys: Set[str] = frozenset(),
    agreeing: Set[str] = frozenset(),
    sources_needed: bool = True,
) -> Rollout:
    """The rollout that a trainer's data describe.

    Args:
        places: by name, strongest first, what stands where row data may be: an object, a JSON
            string of one, either alone in a list, an array of a numeric library, plain text or
            None. What is no object is skipped, unless it is a broken one's text and no rubric
            stands elsewhere. A field counts where it stands first; an object
            inside `extra_info`, `metadata`, `reward_model` and their like comes after the
            object that it is in.
        response: what the policy wrote, as it is to be judged.
        prompt: text or messages; gives the question, the conversation and the sources that no
            place has. Where it is None, the places' own `prompt` or `messages` stands in.
        tool_output: what tools answered in this very rollout; stronger than the prompt, and than
            a row's own sources where these are empty.
        ignored_rubric_keys: keys of rubrics, and columns beside them, that are knowingly not read.
        agreeing: fields that must say the same in all places.
        sources_needed: whether it is an error that there are none, not even empty ones.

    Raises:
        EnvelopeError: something is missing or malformed.
    """
    layers: list[_Placed] = []
    for place, value in places.items():
        try:
            layers += _find_layers(place, object_in(value), depth=0)
        except TooDeep as error:
            raise EnvelopeError([to_detail(place, str(error))]) from error
    fields = _read_fields(layers, agreeing)
    _refuse_misspelt(layers, fields, ignored_rubric_keys)
    whole = {name: field.value for name, field in _spread_knobs(fields).items()}
    # A row that was written without sources says so by an empty field.
    if tool_output is not None and not any(whole.get(name) for name in SOURCES):
        whole["tool_output"] = replace_surrogates(tool_output)
    if prompt is None:
        chats = (read_chat(held.get(name)) for _, held in layers for name in CHATS)
        prompt = next(filter(None, chats), None)
    said = {"prompt": prompt, "response": replace_surrogates(response)}
    try:
        whole = read_chats({**whole, **said})
    except Misread as error:
        raise EnvelopeError([to_detail(error.place, error.message)]) from error
    if not sources_needed and all(whole.get(name) is None for name in SOURCES):
        whole["tool_output"] = ""
    problems = list(_broken_texts(places, fields)) or list(_missing(whole, places, layers))
    # What is missing stands in, so that all other errors are named with it.
    given = {name: whole[name] for name in whole if name not in CHATS and whole[name] is not None}
    try:
        rollout = Rollout.model_validate(
            {"question": "?", "tool_output": "", **given} if problems else given,
            context={IGNORED_KEYS: ignored_rubric_keys},
        )
    except ValidationError as error:
        stood = {name: field.place for name, field in fields.items()}
        problems += to_details(error, root="row", places=stood)
    if problems:
        raise EnvelopeError(problems[:_MOST_DETAILS])
    apart = _columns_apart(layers, rollout, ignored_rubric_keys, strict=bool(agreeing))
    if told := next(apart, None):
        raise EnvelopeError([told])
    return rollout


def _find_layers(place: str, held: Mapping[Any, Any] | None, depth: int) -> Iterator[_Placed]:
    """The object at a place, and after it those that stand inside."""
    if held is None:
        return
    yield _Placed(place, held)
    for name in NESTED if depth < _DEEPEST else ():
        if name in held:
            yield from _find_layers(f"{place}.{name}", object_in(held[name]), depth + 1)


def _read_fields(layers: Sequence[_Placed], agreeing: Set[str]) -> _Fields:
    """Each field from the first layer that has it."""
    fields: _Fields = {}
    for place, held in layers:
        known = set(fields)
        for name in (*_FIELDS, *ALIASES):
            field = ALIASES.get(name, name)
            if name not in held or (field in known and field not in agreeing):
                continue
            at = f"{place}.{name}"
            value = _read(field, held[name], at)
            if value is None or (name in FAINT and _stands_aside(value, fields)):
                continue
            first = fields.setdefault(field, _Placed(at, value))
            if field == "id" or first.value == value:
                continue
            told = differing(field, name).message
            if field in known:
                told = f"and {first.place} say different things: keep one of them"
            raise EnvelopeError([to_detail(at, told)])
        graded = {name: held[name] for name in GRADED if name in held}
        if graded.keys() <= {"Context"}:  # that alone is a passage
            continue
        at = f"{place}.{'/'.join(graded)}"
        if held.get("rubrics") is not None or (agreeing and "rubrics" in fields):
            raise EnvelopeError([to_detail(at, RUBRICS_APART)])
        if "rubrics" not in fields:
            fields["rubrics"] = _Placed(at, _read("rubrics", graded, at))
    return fields


def _stands_aside(value: object, fields: _Fields) -> bool:
    """Whether a column that may hold sources is taken for the data set's own."""
    return not isinstance(value, list) or any(
        name in fields and fields[name].value for name in SOURCES
    )


def _read(field: str, cell: object, place: str) -> Any:
    """A cell as its field takes it; None where it says nothing."""
    try:
        value = to_json_value(cell, keep_nan=field in RUBRICS)
        if field == "snippets":
            return read_documents(value, place)
    except TooDeep as error:
        raise EnvelopeError([to_detail(place, str(error))]) from error
    except Misread as error:
        raise EnvelopeError([to_detail(error.place, error.message)]) from error
    if field == "knobs":
        return object_in(value) or value or None
    if field == "conversation":
        return read_chat(value)
    if field in _NAMES:
        # What can be no name is a column of the data set's own.
        name = to_name(value)
        if value is not None and place.endswith(".id") and not isinstance(name, str):
            raise EnvelopeError([to_detail(place, "must be text or a whole number")])
        return name if isinstance(name, str) and name else None
    return None if field == "question" and isinstance(value, str) and not value.strip() else value


def _spread_knobs(fields: _Fields) -> _Fields:
    """The fields with what `knobs` holds among them; a knob under its own name is stronger."""
    rest = dict(fields)
    held = rest.pop("knobs", None)
    if held is None:
        return rest
    try:
        given = Knobs.model_validate(held.value)
    except ValidationError as error:
        raise EnvelopeError(to_details(error, held.place, root="row")[:_MOST_DETAILS]) from error
    inner = {name: _Placed(held.place, getattr(given, name)) for name in given.model_fields_set}
    return inner | rest


def _broken_texts(places: Mapping[str, object], fields: _Fields) -> Iterator[ProblemDetail]:
    """Texts that were meant to be the envelope; without it the static rubrics alone would judge."""
    if fields.keys() & set(RUBRICS):
        return
    for place, cell in places.items():
        if isinstance(cell, str) and _OPENED.match(cell.lstrip()) and object_in(cell) is None:
            yield to_detail(
                place, "begins like an object but is no JSON; write json.dumps(…) of one"
            )


def _missing(
    fields: Mapping[str, Any], places: Mapping[str, object], layers: Sequence[_Placed]
) -> Iterator[ProblemDetail]:
    where = " or ".join(places) or "the row"
    if places and not layers:
        where += " (where no object stands)"
    likeliest = next(iter(places), "row")
    if fields.get("question") is None:
        yield to_detail(f"{likeliest}.question", f"is neither in {where} nor in a prompt")
    if fields.get("tool_output") is None and fields.get("snippets") is None:
        yield to_detail(
            f"{likeliest}.tool_output",
            f"neither it nor snippets are in {where}, and no prompt has a source tag; "
            'write "tool_output": "" where there are no sources',
        )


def _refuse_misspelt(layers: Sequence[_Placed], fields: _Fields, ignored: Set[str]) -> None:
    """A row's own columns are left alone; one that is all but a missing field is a slip."""
    rubrics = [name for name in RUBRICS if name in fields and fields[name].value]
    missing = (
        *(() if "question" in fields else ("question", "query")),
        *(() if fields.keys() & set(SOURCES) else (*SOURCES, "documents")),
        *(() if rubrics else ("rubrics",)),
        *(name for name in RUBRICS[:2] if name not in rubrics),
        *(name for name in ("finish_reason", *Knobs.model_fields) if name not in fields),
    )
    for place, held in layers:
        for key in islice(held, _MOST_KEYS):
            name = str(key)
            near = None if name in ignored else _nearest(name[:LONGEST_KEY], missing)
            if near is not None:
                loc = f"{place}.{clip(name, LONGEST_KEY)}"
                known = name.casefold() in RUBRIC_COLUMNS
                told = RUBRICS_APART if known else f"is unknown; did you mean {near!r}?"
                raise EnvelopeError([to_detail(loc, told)])


@lru_cache(maxsize=4096)  # the rows of a data set have the same keys again and again
def _nearest(key: str, missing: tuple[str, ...]) -> str | None:
    if key in _KNOWN:
        return None
    near = difflib.get_close_matches(key.casefold(), missing, 1, _NEAR)
    return near[0] if near else None


def _columns_apart(
    layers: Sequence[_Placed], rollout: Rollout, ignored: Set[str], *, strict: bool
) -> Iterator[ProblemDetail]:
    """What may be rubrics, weights or signs beside what is read.

    Unless `strict`, an object without rubrics may hold a data set's own beside another's.
    """
    counts = {len(getattr(rollout, name)) for name in RUBRICS} | {len(rollout.criteria)}
    counts = counts if rollout.criteria else set()
    for place, held in layers:
        for name in _MEDIA:
            if name not in ignored and to_json_value(held.get(name)) not in (None, "", [], {}):
                yield to_detail(
                    f"{place}.{name}",
                    f"may be an image, {UNSEEN}, or name it in CITEMARK_IGNORED_RUBRIC_KEYS",
                )
        lone = not strict and counts and all(held.get(name) is None for name in RUBRICS)
        unread = {key: held[key] for key in islice(held, _MOST_KEYS) if str(key) not in _UNSEARCHED}
        for path, told in columns_apart(unread, counts, ignored):
            if not (lone and told == RUBRICS_APART):
                yield to_detail(f"{place}.{path}", told)
