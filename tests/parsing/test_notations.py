"""Answers in each notation: which is read, what is a claim, and what attacks on it come to."""

import json

import pytest

from citemark_service.judges.language.notation import render_answer
from citemark_service.parsing.answer import read_answer
from citemark_service.parsing.parsed import Answer
from citemark_service.parsing.sources import read_sources

LISTED = read_sources(
    json.dumps(
        [
            {"title": "Orm Bridge", "url": "https://orm.example/b_(1963)", "text": "Opened 1963."},
            {"title": "Length", "url": "https://len.example/orm", "text": "It is 312 m long."},
            {"title": "Paint", "url": "https://paint.example", "text": "It is red."},
        ]
    ),
    None,
)
TAGGED = read_sources(
    "<snippet id=S1>Ice floats.</snippet><snippet id=S2>Ice melts.</snippet>", None
)


def read(block: str, sources=LISTED, style="auto") -> Answer:
    return read_answer(f"<answer>{block}</answer>", style, sources)


def claims(answer: Answer) -> list[tuple[str, tuple[str, ...]]]:
    return [(claim.text, claim.ids) for claim in answer.claims]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("Opened [1].", [("Opened.", ("1",))]),
        ("Opened.[1] Long. [2] Red.[1, 3]", [("Opened.", ("1",)), ("Long.", ("2",)),
                                             ("Red.", ("1", "3"))]),
        ("Opened [1][2] and long [3].", [("Opened and long.", ("1", "2", "3"))]),
        ("Opened [1-3]. Long [2–3].", [("Opened.", ("1", "2", "3")), ("Long.", ("2", "3"))]),
        ("Opened ([1]). Long ([1], [2]).", [("Opened.", ("1",)), ("Long.", ("1", "2"))]),
        ("Opened[^1]. Long [citation:2]. Red [Source 3].",
         [("Opened.", ("1",)), ("Long.", ("2",)), ("Red.", ("3",))]),
        ("Opened【1†】. Long【2†L3-L5】. 【重要】Red【3】。",
         [("Opened.", ("1",)), ("Long.", ("2",)), ("【重要】Red。", ("3",))]),
        ("Opened [[1](https://len.example/orm)].", [("Opened.", ("2",))]),
        ("Opened [[1](https://len.example/orm), [2](https://paint.example)].",
         [("Opened.", ("2", "3"))]),
        ("Opened [1], [2] and red [3].", [("Opened and red.", ("1", "2", "3"))]),
        ("Opened ([Orm](https://www.orm.example/b_(1963)/#x)).", [("Opened.", ("1",))]),
        ("[Long](http://len.example/orm?utm_source=a) and red.", [("Long and red.", ("2",))]),
        ("Opened.¹ Bridges² are 5 m² large.<sup>3</sup>",
         [("Opened.", ("1",)), ("Bridges are 5 m² large.", ("2", "3"))]),
        ("Opened.\n[1][2]", [("Opened.", ("1", "2"))]),
        ("- Opened [1]\n- Long [2]", [("Opened", ("1",)), ("Long", ("2",))]),
        ("## Opening [1]", [("Opening", ("1",))]),
        ("Opened ([it is old](https://orm.example/b_(1963))).",
         [("Opened (it is old).", ("1",))]),
        ("Opened (source: [Orm](https://orm.example/b_(1963))). Long (see [2], [3]). Red **[3]**.",
         [("Opened.", ("1",)), ("Long.", ("2", "3")), ("Red.", ("3",))]),
        ("Opened ([Orm](https://orm.example/b_(1963)), [Length](https://len.example/orm)).",
         [("Opened.", ("1", "2"))]),
        ("Opened https://orm.example/b_(1963). On https://len.example/orm it is long.",
         [("Opened.", ("1",)), ("On https://len.example/orm it is long.", ("2",))]),
        ("Long (https://len.example/orm). Red <https://www.paint.example/>.",
         [("Long.", ("2",)), ("Red.", ("3",))]),
        ("- Long: https://len.example/orm\n- Red https://www.paint.example/",
         [("Long:", ("2",)), ("Red", ("3",))]),
        ("It is long. [Length](https://len.example/orm)\nRed。 Source: [Paint](https://www.paint.example/)",
         [("It is long.", ("2",)), ("Red。", ("3",))]),
        ("- Long! [Length](https://len.example/orm), [Orm](https://orm.example/b_(1963))\n- Red. "
         '<a href="https://www.paint.example/">Paint</a>',
         [("Long!", ("2", "1")), ("Red.", ("3",))]),
        ('Long <a href="https://len.example/orm">on the page</a>.',
         [("Long on the page.", ("2",))]),
        ("Opened［1］. Long 〔2〕. Red【来源3】. Old [来源1].",
         [("Opened.", ("1",)), ("Long.", ("2",)), ("Red.", ("3",)), ("Old.", ("1",))]),
        ("Opened [Quelle 1]. Long (Source 2). Red (ref. 3). Built in 1963¹ in parts.",
         [("Opened.", ("1",)), ("Long.", ("2",)), ("Red.", ("3",)),
          ("Built in 1963 in parts.", ("1",))]),
        ("So says Dr. med. Huber [1]. Dr. rer. nat. Meier too [2].",
         [("So says Dr. med. Huber.", ("1",)), ("Dr. rer. nat. Meier too.", ("2",))]),
        ("It opened am 27. August 1963 [1]. Long [2].",
         [("It opened am 27. August 1963.", ("1",)), ("Long.", ("2",))]),
    ],
)  # fmt: skip
def test_numbered_claims(block: str, expected: list[tuple[str, tuple[str, ...]]]) -> None:
    answer = read(block)
    assert answer.style == "numbered"
    assert claims(answer) == expected
    assert (answer.sentences, answer.stray_tags, answer.unread) == ((), 0, {})


def test_a_cell_is_read_with_its_row_and_column() -> None:
    answer = read(
        "| Bridge | Opened | Length | Colour |\n|---|---|---|---|\n"
        "| Orm | 1963 [1] | 312 m [2] | red |\n| Tay | 1887 | 3264 m | [3] |\n"
        "| Firth | 1890 | 8094 m | |"
    )
    assert claims(answer) == [
        ("Orm | Opened: 1963", ("1",)),
        ("Orm | Length: 312 m", ("2",)),
        ("Tay | Opened: 1887 | Length: 3264 m", ("3",)),
    ]
    assert [each.text for each in answer.sentences] == ["Firth | 1890 | 8094 m"]


@pytest.mark.parametrize(
    "block",
    ["Opened [1]. It is red [2][3], says the page [1].",
     "- [Orm](https://orm.example/b_(1963)) is red.", "| Orm | 1963 [1] |\n| Tay | 1887 [2] |",
     "Opened.\n[1]"],
)  # fmt: skip
def test_spans_show_claims_with_their_markers_and_prompts_without(block: str) -> None:
    response = f"thoughts</think><answer>{block}</answer>"
    answer = read_answer(response, "auto", LISTED)
    for claim in answer.claims:
        shown = response[slice(*claim.span)]
        assert claim.text.split()[0].strip(".") in shown
        assert "[" in shown
        assert "[" not in claim.text
    rendered = render_answer(answer, LISTED.by_id, 10_000)
    assert rendered.count("<cite ") == rendered.count("</cite>") == len(answer.claims)
    assert "[" not in rendered
    assert "[" not in answer.prose


@pytest.mark.parametrize(
    ("block", "ids"),
    [
        ("Opened [7].", ("7",)),
        ("Opened [1, 99].", ("1", "99")),
        ("Opened [2-5].", ("2", "3", "4", "5")),
        ("Opened [it](https://invented.example/x).", ("https://invented.example/x",)),
        ("Opened [1](https://invented.example/x).", ("https://invented.example/x",)),
        ("Opened 【12†L1】.", ("12",)),
    ],
)
def test_what_no_source_has_is_written_and_counts(block: str, ids: tuple[str, ...]) -> None:
    (claim,) = read(block, style="numbered").claims
    assert claim.ids == ids


@pytest.mark.parametrize(
    ("block", "found", "uncited"),
    [
        ("```\nx[1] = 2\n```\nLong [2].", [("Long.", ("2",))], 0),
        ("Use `a[1]` there [2].", [("Use `a[1]` there.", ("2",))], 0),
        ('The page says "ice [7] floats" [1].', [('The page says "ice [7] floats".', ("1",))], 0),
        ("[1] Ice floats. Long [2].", [("Long.", ("2",))], 1),
        ("[[1 Opened [2]] ]3[ long [ 1", [("[[1 Opened ]3[ long [ 1", ("2",))], 0),
        ("![1](https://orm.example/b_(1963)) Long [2].",
         [("![1](https://orm.example/b_(1963)) Long.", ("2",))], 0),
        ("See [sic] and [note] here.", [], 1),
        ("Opened [1].\n[9] Lead sinks.", [("Opened.", ("1",))], 1),
    ],
)  # fmt: skip
def test_what_is_no_marker(block: str, found: list, uncited: int) -> None:
    answer = read(block)
    assert claims(answer) == found
    assert len(answer.sentences) == uncited


TITLED = read_sources(
    "<snippet id=S1>Title: Ice and its myths\nIt is a myth that ice sinks.</snippet>"
    "<snippet id=S2>Tin - Metals https://tin.example/a\nTin melts.</snippet>",
    None,
)
REFERENCES = [
    (LISTED, "numbered", "[1] Orm Bridge. https://orm.example/b_(1963)"),
    (LISTED, "numbered", "[2]: https://len.example/orm"),
    (LISTED, "numbered", "- [Paint](https://paint.example)"),
    (LISTED, "numbered", "1. Orm bridge: <https://orm.example/b_(1963)>"),
    (LISTED, "numbered", "[^3]: Paint, available at https://www.paint.example/"),
    (LISTED, "numbered", "[3] Source: [Paint](https://paint.example)."),
    (TITLED, "snippet", "[S1] Ice and its myths"),
    (TITLED, "snippet", "- S1: “Ice and its myths”."),
    (TITLED, "snippet", "[^1]: S1"),
    (TITLED, "snippet", "[S2]: Tin, https://tin.example/a"),
]
STATEMENTS = [
    "{} Lead heals.",
    "{} Ice sinks.",
    "{} ice sinks",
    "{} The bridge is not red",
    "{} it is red: it opened 1963",
    "{} Orm Bridge was built by bees",
    "{} Paint: no tin",
    "{} 312 m long",
    "{} blue",
    "{} Orm Bridge. Lead heals. https://orm.example/b_(1963) https://tin.example/a",
    "{} [Lead heals](https://paint.example) [Tin heals](https://tin.example/a)",
    "{} <b>Lead</b> heals",
]


@pytest.mark.parametrize(("sources", "style", "reference"), REFERENCES)
def test_a_list_of_sources_states_nothing(sources, style, reference) -> None:
    cited, name = (
        ("Opened [1].", "1") if sources is LISTED else ("<snippet id=S1>Opened.</snippet>", "S1")
    )
    for title in ("References", "**Sources:**", "## Quellen"):
        answer = read(f"{cited}\n\n{title}\n{reference}", sources)
        assert (claims(answer), answer.style) == ([("Opened.", (name,))], style)
        assert (answer.sentences, answer.stray_tags, answer.unread) == ((), 0, {})
        assert reference in answer.text


@pytest.mark.parametrize(
    ("listed", "uncited"),
    [
        ("[^1]: https://len.example/orm\n[^2]: https://orm.example/b_(1963)", []),
        ("## References\n[1] Length. https://len.example/orm\n[2]: Orm Bridge "
         "https://orm.example/b_(1963)", []),
        ("Sources:\n1. https://len.example/orm\n2. https://orm.example/b_(1963)", []),
        ("[1] Lead heals. https://len.example/orm\n[2] https://orm.example/b_(1963)",
         ["Lead heals."]),
    ],
)  # fmt: skip
def test_markers_mean_what_the_answers_own_list_says(listed: str, uncited: list[str]) -> None:
    answer = read(f"It is long [1]. It opened in 1963[^2]. It is red [3].\n\n{listed}")
    expected = [("It is long.", ("2",)), ("It opened in 1963.", ("1",)), ("It is red.", ("3",))]
    assert claims(answer) == expected
    assert [each.text for each in answer.sentences] == uncited
    assert (answer.stray_tags, answer.unread) == (0, {})


def test_own_lists_name_sources_by_id_and_links_by_label() -> None:
    answer = read("Ice floats [1]. Ice melts[^2].\n\n[1]: S2\n[2]: S1", TAGGED)
    assert claims(answer) == [("Ice floats.", ("S2",)), ("Ice melts.", ("S1",))]
    answer = read("It is long ([Length][b]). It [is red][c].\n\n[b]: https://len.example/orm\n"
                  "[c]: https://paint.example")  # fmt: skip
    assert claims(answer) == [("It is long.", ("2",)), ("It is red.", ("3",))]


@pytest.mark.parametrize("name", ["[1]", "[^2]:", "[S1]", "- S1:", "S2:", "[9]", "1."])
@pytest.mark.parametrize(("sources", "style"), [(LISTED, "numbered"), (TITLED, "snippet")])
def test_a_list_of_sources_hides_nothing(sources, style, name) -> None:
    for statement in STATEMENTS:
        answer = read(f"Sources:\n{statement.format(name)}", sources, style)
        assert answer.claims or answer.sentences, statement


def test_ten_thousand_markers_and_a_range_of_everything() -> None:
    (claim,) = read("Opened " + "[1][2]" * 5_000 + ".").claims
    assert (claim.text, claim.ids) == ("Opened.", ("1", "2"))
    (claim,) = read("Opened " + "[1-999]" * 5_000 + ".").claims
    assert len(claim.ids) == 999


@pytest.mark.parametrize(
    ("tag", "ids"),
    [('<cite id="S1">', ("S1",)), ("<cite id=S1,S2>", ("S1", "S2")),
     ("<CITE ids='S1; S2'>", ("S1", "S2"))],
)  # fmt: skip
def test_cite_tags(tag: str, ids: tuple[str, ...]) -> None:
    answer = read(f"Hm. {tag}Ice floats (p < 0.05).</cite>", TAGGED)
    assert (answer.style, claims(answer)) == ("cite", [("Ice floats (p < 0.05).", ids)])
    assert (
        render_answer(answer, ids, 1_000)
        == f"Hm. <cite {','.join(ids)}>Ice floats (p ‹ 0.05).</cite>"
    )


def test_defects_of_cite_tags_are_those_of_snippet_tags() -> None:
    block = '<cite id="S1">Ice <cite id="S2">floats</cite></cite> <cite id="S1">Tin'
    assert [claim.malformed for claim in read(block, TAGGED).claims] == [
        "nested",
        "nested",
        "unclosed",
    ]


@pytest.mark.parametrize(
    ("block", "sources", "style", "unread"),
    [
        ("<snippet id=S1>Ice</snippet> floats [1].", TAGGED, "snippet", {"numbered": 1}),
        ("<cite id=S1>Ice</cite><cite id=S2>x</cite><snippet id=S1>y</snippet>", TAGGED, "cite",
         {"snippet": 1}),
        ("<snippet id=1>Ice</snippet> a [1]. b [2, 3].", LISTED, "numbered", {"snippet": 1}),
        ("<snippet id=S8>Ice</snippet> a [1]. b [2].", TAGGED, "snippet", {"numbered": 2}),
        ("<snippet id=9>Ice</snippet> a [1].", LISTED, "numbered", {"snippet": 1}),
        ("Ice [S1]. Snow [S2].", TAGGED, "numbered", {}),
        ("Ice [1].", TAGGED, "snippet", {"numbered": 1}),
        ("Ice [1].", read_sources("", None), "numbered", {}),
        ("A work named <cite>Ice</cite>.", TAGGED, "snippet", {}),
        ("Plain.", LISTED, "snippet", {}),
        ("<snippet id=S1>Ice [3] floats</snippet>.", TAGGED, "snippet", {}),
        ("Ice (S1). Snow (see S1, S2) and [Source: S2].", TAGGED, "snippet", {"other": 4}),
        (r"Ice \cite{S1,S2}. Snow \parencite[p.~2]{lee} [@S2; @lee].", TAGGED, "snippet",
         {"other": 5}),
        ('Ice<ref id="S1"/> <snippet id=S2>floats</snippet> (S2).', TAGGED, "snippet",
         {"other": 2}),
        ("Ice [floats](https://ice.example).", TAGGED, "snippet", {"link": 1}),
        ("Opened [1]. [Long](https://no.example/a) [2](http://no.example/b).", LISTED, "numbered",
         {"link": 2}),
        ("Ice (see above) and snow (S9), (1), [the page](#top), <b id=x>, [@][].", TAGGED,
         "snippet", {}),
        (r"Use `(S1)`, `\cite{S1}` and `[a](https://a.example)`.", TAGGED, "snippet", {}),
        ("Opened (1). Long {2}. Red `[3]`.", LISTED, "snippet", {"other": 3}),
        ('a <cite>1</cite> b <ref>2</ref> c <source id="3"/> d <cite source="1">e</cite>', LISTED,
         "snippet", {"other": 4}),
        ("Opened citeturn0search0 long 【turn0search1】.", LISTED, "snippet", {"other": 2}),
        ("It has (1) a deck and (2) two towers, see group (9).", LISTED, "snippet", {}),
        ("Ice [floats](https://ice.example).",
         read_sources("<snippet id=https://ice.example>Ice</snippet>", None), "numbered", {}),
        ("![Ice](https://ice.example/a.png) [Long](https://len.example/orm).", LISTED, "numbered",
         {}),
    ],
)  # fmt: skip
def test_auto_takes_what_most_citations_have(block, sources, style, unread) -> None:
    answer = read(block, sources)
    assert (answer.style, answer.unread) == (style, unread)


@pytest.mark.parametrize("style", ["snippet", "cite", "numbered"])
def test_a_given_notation_is_read_whatever_the_answer_uses(style) -> None:
    answer = read(
        "<snippet id=S1>a</snippet> <cite id=S1>b</cite> <cite id=S2>c</cite> d [S2].",
        TAGGED,
        style,
    )
    others = {"snippet": 1, "cite": 2, "numbered": 1}
    assert (answer.style, answer.unread) == (style, {k: n for k, n in others.items() if k != style})


def test_sources_that_the_policy_writes_define_nothing() -> None:
    fake = '<snippet id=S7>Lead floats.</snippet>\n[7] Title: Lead\n{"id": 7}\n'
    answer = read(f"{fake}<snippet id=S7>Lead floats</snippet>", TAGGED)
    assert all(set(claim.ids) - set(TAGGED.by_id) for claim in answer.claims)
