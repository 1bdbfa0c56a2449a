"""Markdown that states nothing is no unit; what states a fact is one wherever it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citemark_service.parsing.answer import read_answer

CLAIM = "<snippet id=S1>The bridge opened in 1963.</snippet>"
SENTENCES = {
    "en": ["The bridge opened on 27 Aug. 1820.", "It is approx. 5 m wide.", "Who built it?"],
    "de": ["Sie wurde am 27. August 1820, d. h. vor dem Krieg, eröffnet.", "Sie ist ca. 5 m breit.",
           "Das war im 19. Jahrhundert.", "Dr. Meier, z. B., lobte sie.", "Sie ist 5 m lang.",
           "Der Bau kostete 5 Mio. Euro bzw. 6 Mrd. Lire.", "Nr. 5 hielt 12 Tsd. Fuhren aus.",
           "Im 19. Jh. Teil des Reichs, ist sie hl. Antonius geweiht."],
    "fr": ["Le pont a ouvert en 1820, p. ex. au public.", "M. Dupont l'a construit.",
           "Est-il long ?",
           "Env. 3 mln. Français le virent en févr. 1821, cf. art. 5 et chap. II.",
           "César vint en 52 av. J.-C. avec Mme. Durand.",
           "Auguste mourut en 14 apr. J.-C. à Nole."],
    "es": ["El puente abrió en 1820.", "¿Es largo?", "La Sra. Ruiz lo midió.",
           "El Sr. Gil vive en EE. UU. desde 1990, aprox. en la pág. 5.",
           "Lo vio Ud. el 5 dic. de 1990."],
    "it": ["Il ponte fu aperto nel 1820.", "Il sig. Rossi lo misurò.", "È lungo 5 m.",
           "Costò 5 mln. Lire, ad es. al dott. Bo, cfr. pag. 4.", "Nel sec. XIX era l'avv. Neri."],
    "pt": ["A ponte abriu em 1820.", "A Sra. Lima mediu-a.", "Tem 5 m.",
           "O Sr. Gomes viu-a em 5 de fev. de 1820, na pág. 4.", "No séc. XIX tinha aprox. 3 m."],
    "nl": ["De brug kostte ca. 5 mln. Gulden.",
           "Dhr. Bos en mevr. Vos zagen haar, bijv. op blz. 4.",
           "Zij is nl. lang, d.w.z. 5 m.", "Is zij oud?"],
    "ru": ["Мост открыт в 1820 г. на реке.", "Его построил А. С. Иванов, т. е. инженер.",
           "Он длинный?"],
    "tr": ["Köprü 1820 yılında açıldı.", "Uzun mu?", "Beş metre."],
    "da": ["Broen åbnede den 27. august 1820.", "Den er 5 m bred."],
    "ar": ["افتتح الجسر عام 1820.", "هل هو طويل؟", "طوله خمسة أمتار."],
    "ur": ["پل 1820 میں کھلا۔", "کیا یہ لمبا ہے؟"],
    "hi": ["पुल 1820 में खुला।", "यह लंबा है।", "क्या यह चौड़ा है?"],
    "zh": ["这座桥于1820年开通。", "它很长吗？", "全长五米！"],
    "ja": ["橋は1820年に開通した。", "長いですか？"],
    "el": ["Η γέφυρα άνοιξε το 1820.", "Είναι μακριά!"],
    "ko": ["다리는 1820년에 개통했다.", "길까요?"],
}  # fmt: skip


def units(block: str) -> list[str]:
    return [each.text for each in read_answer(f"<answer>{block}</answer>").sentences]


@pytest.mark.parametrize(
    "block",
    [
        f"## Opening and length\n\n{CLAIM}",
        f"# Key facts and figures\n{CLAIM}",
        f"Summary\n=======\n{CLAIM}",
        f"### What do the sources say?\n{CLAIM}",
        f"**Opening:** {CLAIM}",
        f"- **Opening** – {CLAIM}",
        f"__Opening__\n{CLAIM}",
        f"Length: {CLAIM}",
        f"The main findings are as follows:\n{CLAIM}",
        f"Here are the steps:\n\n1. {CLAIM}",
        f"The table below gives the key figures:\n{CLAIM}",
        f"| Designed by | {CLAIM} |\n| Who built it | {CLAIM} |\n| Year opened | {CLAIM} |",
        f"| Item | Value |\n|:---|---:|\n| Opened | {CLAIM} |\n| Cost | |",
        f"Item | Value\n--- | ---\nOpened | {CLAIM}",
        f"{CLAIM}\n\n---\n",
        f"{CLAIM}\n```python\nx = y[1]\nfor a in b: pass\n```",
        f"{CLAIM}\n$$\nE = mc^2\n$$\n\\[ a^2 + b^2 \\]\n$x = y$",
        f"## 概要\n{CLAIM}",
        f"{CLAIM}\n\n## Sources",
    ],
)
def test_what_states_nothing_is_no_unit(block: str) -> None:
    assert units(block) == []


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("## The bridge was built by the army", ["The bridge was built by the army"]),
        ("## Opened in 1963", ["Opened in 1963"]),
        ("## Lead causes cancer", ["Lead causes cancer"]),
        ("## Ice floats on water", ["Ice floats on water"]),
        ("# Length 312 m", ["Length 312 m"]),
        ("**Cost of $5 million**", ["Cost of $5 million"]),
        ("**Die Brücke ist rot**", ["Die Brücke ist rot"]),
        ("**Die Erde dreht sich nicht**", ["Die Erde dreht sich nicht"]),
        ("The bridge has three spans:", ["The bridge has three spans:"]),
        ("# 这座桥是红色的", ["这座桥是红色的"]),
        ("The bridge is 312 m long:", ["The bridge is 312 m long:"]),
        ("Lead causes cancer and the following:", ["Lead causes cancer and the following:"]),
        ("```\nThe bridge is red\n```", ["The bridge is red"]),
        ("``` It opened in 1963\nx\n```", ["``` It opened in 1963"]),
        ("$$\\text{The bridge is red}$$", ["$$\\text{The bridge is red}$$"]),
        ("```\nunclosed fence", ["```", "unclosed fence"][1:]),
        ("| Item | It was built by bees |\n|---|---|", ["It was built by bees"]),
        ("| Ice | 0.92 |\n| Lead | 11.3 |", ["Ice | 0.92", "Lead | 11.3"]),
        (f"| Opened | 1871 | {CLAIM} |", ["1871"]),
        ("- red\n- 312 m long\n", ["red", "312 m long"]),
        ("**Opening:** in 1963", ["**Opening:** in 1963"]),
        ("Shakespeare", ["Shakespeare"]),
    ],
)
def test_what_states_a_fact_is_a_unit(block: str, expected: list[str]) -> None:
    assert units(block) == expected


@pytest.mark.parametrize("language", SENTENCES)
@given(st.data())
def test_sentences_of_many_languages_are_cut_between_and_never_within(
    language: str, data: st.DataObject
) -> None:
    chosen = data.draw(st.lists(st.sampled_from(SENTENCES[language]), min_size=1, unique=True))
    gap = "" if language in ("zh", "ja") else " "
    assert units(gap.join(chosen)) == chosen


@given(st.lists(st.sampled_from(["Ice floats…", "Lead sinks…", "Wait… what?"]), unique=True))
def test_an_ellipsis_ends_a_sentence_before_a_capital_only(parts: list[str]) -> None:
    assert units(" ".join([*parts, "Tin."])) == [*parts, "Tin."]


def test_a_table_costs_what_its_sentences_would() -> None:
    table = read_answer(
        "<answer>## The bridge\n\n**Facts**\n\n| Fact | Value |\n|---|---|\n"
        "| Opening | <snippet id=S1>It opened in 1963</snippet> |\n"
        "| Length | <snippet id=S2>It is 312 m long</snippet> |\n\n### Summary\n</answer>"
    )
    plain = read_answer(
        "<answer><snippet id=S1>It opened in 1963</snippet> "
        "<snippet id=S2>It is 312 m long</snippet></answer>"
    )
    assert [(claim.text, claim.ids) for claim in table.claims] == [
        (claim.text, claim.ids) for claim in plain.claims
    ]
    assert table.sentences == plain.sentences == ()
