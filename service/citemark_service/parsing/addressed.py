"""Finds answer text that addresses a grader. For review only: it never changes a score.

Looked for are notes to a grader, orders to ignore rules, claims of a verdict or a mark, the reply
of a judge and the tags of prompts, in the languages that models write most.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from citemark_service.parsing.abbreviations import word_set
from citemark_service.parsing.visible import fold_space, visible

_PIECE_CHARS = 200
_PIECES = 8
_WINDOW = 100_000  # characters searched at a time

_GRADER = (
    r"(?:graders?|judges?|evaluators?|raters?|scorers?|assessors?|verifiers?|reviewers?|examiners?"
    r"|(?:reward|grading|evaluation|judge|scoring)\s++model|llm[\s-]as[\s-]a[\s-]judge)"
)
_GRADERS = """
    grader graders judge judges evaluator evaluators rater raters scorer scorers assessor assessors
    verifier verifiers reviewer reviewers examiner examiners model llm
"""
_FOREIGN_GRADER = (
    r"(?:bewerter|gutachter|prufer|juroren|richter|evaluateur|correcteur|examinateur|juge|evaluador"
    r"|calificador|juez|avaliador|corretor|juiz|valutator|giudic|beoordelaar|oceniajac|sedzi"
    r"|degerlendirici|bedomare|penilai|giam\skhao)\w{0,5}"
)
_EARLIER = (
    r"(?:vorherig|vorig|bisherig|obig|precedent|anterior|previ|preced|eerder|bovenst|poprzedni"
    r"|wczesniejsz|sebelum|tidigare|onceki|truoc|ci-dessus)\w{0,5}"
)
_RULES = (
    r"(?:anweisung|instru[kcz]|regel|kriteri|vorgabe|consigne|criter|reglas|regras|istruzion|regol"
    r"|polece|talimat|yonerge|perintah|huong\sdan)\w{0,7}"
)
_PRAISE = (
    r"(?:(?:voll|maximal|hochst|beste)\w{0,3}\s++(?:punkt|bewertung|note|score)\w{0,5}"
    r"|hochstpunktzahl|bestnote|tous\sles\spoints"
    r"|(?:note|score|nota|puntuacion|puntaje|calificacion|pontuacao|punteggio|voto|nilai)\s++"
    r"(?:maxim|parfait|perfect|perfeit|complet|pien|massim|penuh|sempurna|maksimal)\w{0,5}"
    r"|(?:maxim|massim|meilleur)\w{0,4}\s++(?:note|nota|puntuacion|puntaje|pontuacao|punteggio|voto)"
    r"|(?:volle|maximale|hoogste)\s++(?:punten|score)|maksymaln\w{1,3}\s++(?:punkt|ocen|liczb)\w{0,4}"
    r"|tam\spuan|hogsta\sbetyg|diem\stoi\sda)"
)
# Letters that look like those of ASCII; what Unicode itself decomposes is added to them.
_LETTERS = (
    ("авекмнорстухіјѕԁԛԝѵһӏ", "abekmhopctyxijsdqwvhl"),
    ("αβεηικμνορτυχωγ", "abenikuvoptuxwy"),
    ("АВЕКМНОРСТУХІЈЅ", "abekmhopctyxijs"),
    ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "abezhikmnoptyx"),
    ("ıſɑɡłøđոս", "isaglodnu"),
    ("ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ", "abcdefghijklmnoprstuvwyz"),
)
_DECOMPOSED = (
    *(range(0xC0, 0x250), range(0x1E00, 0x1F00), range(0x2100, 0x2190), range(0x24B6, 0x24EA)),
    *(range(0xFF01, 0xFF5F), range(0x1D400, 0x1D800), range(0x1F110, 0x1F150)),
)


def _find_folds() -> dict[int, str]:
    """One character for one, so that places in a folded text are those in the text."""
    codes = (code for codes in _DECOMPOSED for code in codes)
    parts = ((code, unicodedata.normalize("NFKD", chr(code)).strip("()")) for code in codes)
    folds = {code: part[0].lower() for code, part in parts if part and part[0].isascii()}
    for letters, plain in _LETTERS:
        folds |= dict(zip(map(ord, letters), plain, strict=True))
    return folds


_FOLDS = _find_folds()
_OTHERS = re.compile(r"[^\x00-\x7f]++")
_WORD = re.compile(r"\w++")
_LAST_GREEK = "\u03ff"  # Greek letters are those of formulas


class _Address(NamedTuple):
    """A pattern, and what rules it out, which is found ten times as fast as a match."""

    pattern: re.Pattern[str]
    needs: tuple[frozenset[str], ...]
    """Of each group a text that matches has a word, or one that begins with these five letters."""


def _address(pattern: str, *needs: str) -> _Address:
    return _Address(re.compile(pattern, re.MULTILINE), tuple(map(word_set, needs)))


# For text in lower case, which is searched several times as fast as any case.
# Every repetition is possessive or bounded, so that no text causes long backtracking.
_LATIN = (
    _address(
        rf"\b(?:notes?|messages?|memo|instructions?|reminder|attention|hints?)\s++(?:to|for)\s++"
        rf"(?:(?:the|any|all|our|whichever|llm|ai)\s++){{0,3}}{_GRADER}\b"
        rf"|\b(?:dear|hey|hello|attention)[\s,:]++(?:(?:the|llm|ai)\s++){{0,2}}{_GRADER}\b"
        rf"|\b(?:you\s++are|act\s++as)\s++(?:an?|the|my|now)\s++(?:\w++\s++){{0,2}}?{_GRADER}\b"
        rf"|\bto\s++(?:the|any)\s++(?:\w++\s++)?{_GRADER}\s?:"
        rf"|\bas\s++(?:the|an?)\s++(?:\w++\s++)?{_GRADER},?\s++you\s++(?:must|should|will|have\s++to)"
        r"\s++(?:output|give|award|return|score|rate|mark|assign|accept|treat)\b",
        _GRADERS,
    ),
    _address(
        rf"\b{_GRADER}\s++(?:should|must|shall|will|has\s++to|is\s++to)\s++"
        r"(?:give|award|assign|return|output|mark|accept|treat|rate|grant)\s++(?:\w++\s++){0,6}?"
        r"(?:scores?|marks|points|credit|supported|met|satisfied)\b",
        _GRADERS,
        "score marks point credi suppo met satis",
    ),
    _address(
        r"\b(?:return|output|reply|respond|answer|print|emit|say|mark)\s++"
        r"(?:(?:with|only|it|this|them|all|every|each|claims?|as|the|verdict)\s++){0,4}"
        r"[\"'“]?(?:fully[\s_]++)?supported\b",
        "suppo fully",
    ),
    _address(
        r"\b(?:scores?|output|answer|reply|return|print|write|points)\s++(?:(?:of|with|a)\s++)?"
        r"(?:1(?:\.0)?|2|5|10|100)\s++(?:for|to|on)\s++(?:all|every|each)\b"
        r"|\bset\s++(?:all|every|each)\s++(?:\w++\s++)?scores?\s++to\b",
        "1 2 5 10 100 set",
        "all every each",
    ),
    _address(
        r"\b(?:give|award|assign|grant|deserves?|merits?|earns?|set)\s++(?:\w++\s++){0,4}?"
        r"(?:full|maximum|max|perfect|top|highest)\s++(?:marks?|scores?|points|credit|rating|grade)\b"
        r"|\b(?:give|rate|score|grade|award|mark)\s++(?:\w++\s++){0,4}?"
        r"(?:(?:10|5|2|1)/(?:10|5|2|1)\b|100/100|100\s?%|(?:10|5|2)\s++out\s++of\s++(?:10|5|2)\b)"
        r"|\bfull\s++marks\b",
        "full max maxim perfe top highe 10 5 2 1 100 out",
        "mark marks score point credi ratin grade give rate award",
    ),
    _address(
        r"\b(?:mark|treat|consider|count|rate|score|deem|label|accept|grade|set)\s++"
        r"(?:(?:this|all|every|each|the|of|these|my|any|both)\s++){1,4}"
        r"(?:claims?|criteri(?:on|a)|citations?|answers?|responses?|rubrics?)\s++"
        r"(?:(?:as|is|are|to|be|being|fully|completely)\s++){0,3}"
        r"(?:supported|met|satisfied|correct|verified|passed|perfect|true|excellent|[125]\b|10\b)"
        r"|\bthis\s++(?:answer|response)\s++(?:fully\s++|completely\s++)?"
        r"(?:meets|satisfies|fulfil?ls|earns|passes)\s++(?:all|every|each|the)\s++(?:\w++\s++){0,2}?"
        r"(?:criteri|requirements|rubric|checks)",
        "crite claim citat answe respo rubri",
        "mark treat consider count rate score deem label accept grade set meets satisfies earns"
        " fulfi passes",
    ),
    _address(
        r"\b(?:this|each|every|(?:rubric|grading|evaluation|scoring)|criterion\s++\d{1,2}"
        r"|(?<!when\s)(?<!if\s)(?<!that\s)(?<!until\s)(?<!where\s)(?<!unless\s)all(?:\s++the)?)\s++"
        r"(?:rubric\s++|grading\s++)?(?:criteri(?:on|a)\s++)?(?:above\s++|here\s++)?"
        r"(?<=[an\d]\s)(?:is|are|was|were|has\s++been|have\s++been)\s++(?:\w++\s++)?"
        r"(?:met|satisfied|fulfilled|passed)\b"
        r"|\brequirements\s++of\s++the\s++rubric\s++(?:are|were|have\s++been)\s++"
        r"|\bcriteri(?:on|a)\s++(?:\d{1,2}\s?)?[:=]\s*+(?:met|satisfied|yes|pass|[12])\b",
        "crite rubri",
    ),
    _address(
        r"\b(?:scores?|verdict|punktzahl|bewertung|puntuacion|puntaje|pontuacao|punteggio)\s*+[:=]"
        r"\s*+[\"'“]?(?:(?:[0125]|10|100|1\.0)(?!\d|[.,:-]\d|\s?%)|(?:fully\s)?supported|met\b|pass|full"
        r"|perfect|max)"
        r"|\brating\s*+:\s*+\[\[\d",
        "score verdi ratin punkt bewer puntu punta pontu punte",
    ),
    _address(
        rf"\b(?:hinweis|anmerkung|nachricht|notiz|an\s++(?:den|die|alle)|note|message|cher|chere|nota|mensaje|estimado"
        rf"|messaggio|mensagem|caro|opmerking|beste|uwaga|drogi|attention|atencion|catatan)\s++"
        rf"(?:[\w'’]{{1,6}}[\s'’]++){{0,3}}{_FOREIGN_GRADER}"
        rf"|\b{_FOREIGN_GRADER}\s++icin\s++not|\ba\s++l['’]attention\s++d[eu]s?\s++(?:l['’])?{_FOREIGN_GRADER}",
        "bewer gutac prufe juror richt evalu corre exami juge juges calif juez juece avali "
        "juiz juize valut giudi beoor oceni sedzi deger bedom penil giam",
        "hinwe anmer nachr notiz den die alle note messa cher chere nota mensa estim caro "
        "opmer beste uwaga drogi atten atenc catat not",
    ),
    _address(
        rf"\b(?:ignor|missacht|vergiss|vergesst|vergessen|oubli|olvid|esque|desconsider|dimentic"
        rf"|negeer|vergeet|abaikan|zignoruj|pomin|bo\squa)\w{{0,7}}\s++(?:[\w'’]++\s++){{0,4}}?"
        rf"(?:{_EARLIER}\s++(?:\w++\s++){{0,2}}?{_RULES}|{_RULES}\s++(?:\w++\s++){{0,2}}?{_EARLIER})"
        rf"|\b{_EARLIER}\s++(?:\w++\s++){{0,2}}?{_RULES}\s++(?:yok\s++say|gormezden|unut|dikkate\s++alma)",
        "ignor missa vergi verge oubli olvid esque desco dimen negee abaik zigno pomin bo yok "
        "gorme unut dikka",
        "anwei instr regel regol krite crite vorga consi regla regra istru polec talim yoner "
        "perin huong",
    ),
    _address(
        rf"\b(?:vergib|vergebt|vergeben|gib|gebt|geben|bewerte\w{{0,2}}|verdient|att?ribu\w{{1,5}}|donne\w{{0,2}}"
        rf"|accorde\w{{0,2}}|merit[ea]\w{{0,2}}|otorg\w{{1,4}}|asign\w{{1,4}}|dale|da|de|merece|assegn\w{{1,4}}"
        rf"|dai|geef|verdient|przyznaj\w{{0,3}}|daj\w{{0,3}}|ge|cho|beri(?:kan)?)\s++"
        rf"(?:[\w'’]++\s++){{0,5}}?{_PRAISE}|\btam\spuan\sver",
        "volle voll hochs beste bestn maxim tous parfa perfe compl pien pieno massi penuh "
        "sempu maksi maksy meill hoogs tam hogst diem",
        "hochs bestn punkt bewer note score nota puntu punta calif pontu punte voto nilai "
        "point puan betyg diem ocen ocena ocene oceny liczb",
    ),
    _address(
        r"\bkriteri(?:um|en)\s++(?:ist|sind|wurden?)\s++(?:\w++\s++)?erfullt"
        r"|\b(?:ce|ces|chaque|tous\sles|les)\s++criteres?\s++(?:est|sont)\s++(?:\w++\s++)?(?:rempli|satisfait)"
        r"|\b(?:este|cada|todos\slos)\s++criterios?\s++(?:se\s++cumple|(?:esta|estan|ha\ssido|han\ssido)"
        r"\s++(?:cumplid|satisfech))"
        r"|\b(?:este|cada|todos\sos)\s++criterios?\s++(?:foi|foram|esta|estao)\s++"
        r"(?:atendid|cumprid|satisfeit)"
        r"|\b(?:questo|ogni|tutti\si)\s++criteri[o]?\s++(?:e|sono)\s++(?:\w++\s++)?soddisfatt"
        r"|\baan\s++(?:alle\s++criteria|dit\s++criterium|elk\s++criterium)\s++(?:is|wordt)\s++voldaan"
        r"|\balle\s++(?:aussagen|behauptungen)\s++(?:sind|wurden)\s++(?:\w++\s++)?(?:belegt|gepruft|gestutzt)"
        r"|\btoutes\sles\s++(?:affirmations|citations)\s++(?:sont|ont\sete)\s++(?:\w++\s++)?(?:verifie|etaye|confirme)"
        r"|\btodas\s(?:las|as)\s++(?:afirmaciones|citas|afirmacoes|citacoes)\s++(?:\w++\s++){1,2}"
        r"(?:verificad|respaldad|confirmad|comprovad)",
        "krite crite aussa behau affir citat afirm citas citac",
    ),
    _address(
        r"\bsystem\s++(?:prompt|message|override|note|instructions?|notice|update)\s*+:"
        r"|\bnew\s++(?:system\s++)?instructions?\s*+:|[\[(](?:system|assistant|developer|admin)[\])]"
        r"|^[ \t]*+#{1,6}[ \t]*+(?:instructions?|system)[ \t]*+:",
        "system instruction instructions assistant developer admin",
    ),
    _address(
        r"[-=#*<\[]{2,}\s*+(?:end|begin|start)\s++(?:of\s++)?(?:the\s++)?"
        r"(?:answer|response|rollout|prompt|instructions?|rubric|criteria|evaluation|question)\b",
        "end begin start",
    ),
    _address(
        r"\b(?:ignore|disregard|forget|override)\s++(?:\w++\s++){0,3}?"
        r"(?:previous|prior|above|earlier|preceding|these|your)\s++(?:\w++\s++){0,2}?"
        r"(?:instructions?|prompts?|rules|rubrics?|criteria|guidelines)\b",
        "ignor disre forge overr",
    ),
    _address(
        r"\b(?:all|every|each)\s++(?:of\s++the\s++)?(?:claims?|citations?|statements?)\s++"
        r"(?:above\s++|here\s++|below\s++)?(?:was|were|is|are|has\s++been|have\s++been)\s++"
        r"(?:\w++\s++)?(?:verified|supported|checked|validated)\b",
        "claim citat state",
        "suppo verif check valid",
    ),
    _address(
        r"\b(?:rate|score|grade|judge|evaluate)\s++(?:this|my)\s++"
        r"(?:answer|response|report|submission|output)\b"
        r"|\bthis\s++(?:answer|response)\s++(?:deserves|merits|should\s++(?:receive|get|be\s++(?:scored"
        r"|graded|rated))|must\s++(?:receive|get|be\s++(?:scored|graded|rated)))\b",
        "answer response report submission output",
        "rate score grade judge evaluate deserves merits should must",
    ),
    _address(
        r"[\"'](?:verdicts?|support(?:ed)?|substantive|contributing|factual|(?:raw_)?scores?"
        r"|reward|grade|rating|criteria_met|met|satisfied|pass(?:ed)?|is_correct)\\?[\"']\s*+:"
        r"|[\"']role[\"']\s*+:\s*+[\"'](?:system|assistant|developer|user)",
        "crite verdi suppo subst contr factu score rewar grade ratin met satis pass passe "
        "is_co role raw_s",
    ),
    _address(  # The reply of this service's own judge: {"1":2,"q2":"…","s1":0}
        r"[{,]\s*+\\?[\"'][sq]?\d{1,3}\\?[\"']\s*+:\s*+(?:\d\b|\\?\"\d{1,60}\\?\"\s*+[,}])",
    ),
    _address(
        r"</?(?:claims?|snippet_text|verdicts?|criteri(?:on|a)|rubrics?|response|system|user"
        r"|assistant|instructions?|question|tool_output|think)\s*+>",
    ),
    _address(
        r"<\|[\w-]{1,40}\|>|\[/?inst\]|<</?sys>>|<(?:start|end)_of_turn>"
        r"|<[|｜](?:user|assistant)[|｜]>",
    ),
)

_SCRIPTS = (
    _address(
        r"(?i)(?:игнорир|проигнорир|забуд|не\s++учитыва|ігнору)\w{0,6}\s++(?:\w++\s++){0,4}?"
        r"(?:инструкц|указани|правил|критери|інструкц|вказівк)"
        r"|(?:примечание|сообщение|заметка|внимание|уважаем\w{2}|дорог\w{2}|примітка)[\s,:]++"
        r"(?:\w++\s++){0,2}?(?:оценщик|проверяющ|судь|эксперт|рецензент|оцінювач)"
        r"|(?:постав|присво|дай|заслужива|выстав|ставь|оцени|постав)\w{0,6}\s++(?:\w++\s++){0,4}?"
        r"(?:максимальн|высш|наивысш|полн|найвищ)\w{1,4}\s++(?:оценк|балл|рейтинг|бал)"
        r"|критери\w{0,3}\s++(?:\w++\s++)?(?:выполнен|соблюден|удовлетвор|виконан)"
        r"|все\s++(?:утверждени|цитат|ссылк)\w{0,3}\s++(?:\w++\s++)?(?:подтвержд|проверен)"
        r"|(?:итогов\w{2}\s++)?(?:оценка|балл)\s*+[:=]\s*+(?:[125]\b|10\b|100\b)",
    ),
    _address(
        r"(?:忽略|无视|無視|忘记|忘掉|不要理会|不要理會)[^。\n]{0,14}?(?:指令|指示|提示|规则|規則|要求|说明|說明|标准|標準)"
        r"|(?:致|给|給|请|請|尊敬的|亲爱的|注意)[^。，\n]{0,6}?(?:评审|評審|评委|評委|评分[员者人]|評分[員者人]|评判|评估[者员]|阅卷)"
        r"|(?:评审|評審|评委|評委|评分[员者])(?:请|請|您|们|：|:)"
        r"|(?:给|給|打|评|評|判|应得|值得|获得)[^。\n]{0,8}?(?:满分|滿分|最高分|最高评分)"
        r"|(?:标准|標準|准则|评分项)[^。，\n]{0,2}?(?:已|均|都|全部)[^。\n]{0,4}?(?:满足|滿足|达到|符合|达成)"
        r"|(?:所有|每个|每個|全部)[^。，\n]{0,6}?(?:声明|聲明|陈述|引用|论断|主张|说法)[^。\n]{0,6}?(?:支持|验证|驗證|核实|证实)"
        r"|(?:得分|评分|評分|分数)\s*+[:：]\s*+(?:[125]|10|100)(?!\d)"
        r"|(?:指示|命令|ルール|基準|プロンプト)[^。\n]{0,6}?(?:無視|忘れ)"
        r"|(?:採点者|評価者|審査員|ジャッジ)(?:へ|の方|様|さん|に告|宛)"
        r"|(?:満点|最高点|最高得点|最高評価)[^。\n]{0,4}?(?:付け|つけ|与え|くださ|下さ)"
        r"|(?:評価基準|採点基準|ルーブリック)[^。\n]{0,8}?満たし"
        r"|(?:지시|명령|지침|규칙)[^.\n]{0,8}?(?:무시|잊)|(?:채점자|평가자|심사자|심사위원)(?:에게|님|께)"
        r"|만점[^.\n]{0,6}?(?:주|부여|드려|드리)|기준[^.\n]{0,8}?충족(?:됨|되었|했|합)",
    ),
    _address(
        r"(?:تجاهل|انس|أهمل)\w{0,3}\s++(?:\S++\s++){0,4}?(?:ال)?(?:تعليمات|أوامر|قواعد|معايير)"
        r"|(?:ملاحظة|رسالة|عزيزي|إلى)\s++(?:\S++\s++){0,2}?(?:لل|ال)?(?:مقيم|مقيّم|مصحح|محكم)"
        r"|(?:الدرجة|العلامة)\s++(?:الكاملة|القصوى)"
        r"|(?:निर्देश|आदेश|नियम)[^।\n]{0,24}?(?:अनदेखा|अनदेखी|नज़रअंदाज़|भूल)"
        r"|(?:मूल्यांकनकर्ता|परीक्षक|निर्णायक)\S{0,3}\s++(?:को|के\s++लिए|से)"
        r"|(?:पूरे|पूर्ण|अधिकतम)\s++(?:अंक|स्कोर)\s++(?:दें|दो|दीजिए)"
        r"|(?:התעלם|התעלמו)\s++(?:\S++\s++){0,3}?(?:מההוראות|הוראות)|ละเว้นคำสั่ง|เพิกเฉยต่อคำสั่ง",
    ),
)


def addressed_pieces(text: str) -> tuple[str, ...]:
    """At most 8 excerpts of at most 200 characters, each from the start of a match.

    Looks for phrases of Latin script in the text with look-alike letters folded, so that neither
    accents nor letters of another alphabet hide them.
    """
    shown = visible(text)
    pieces: list[str] = []
    at = 0
    # One search of megabytes would hold the interpreter, and with it the event loop.
    for begin in range(0, len(shown), _WINDOW):
        window = shown[begin : begin + _WINDOW + _PIECE_CHARS]
        sought = _choose(window)
        while len(pieces) < _PIECES and (starts := _starts(sought, max(0, at - begin))):
            if (first := min(starts)) >= _WINDOW:
                break  # the next window's
            at = begin + first + _PIECE_CHARS
            pieces.append(fold_space(shown[begin + first : at]))
    return tuple(pieces)


def _choose(text: str) -> list[tuple[re.Pattern[str], str]]:
    """The patterns that may match, each with what it searches: the text as it is, or folded."""
    # Emphasis and code marks between words are spaces.
    folded = text.replace("*", " ").replace("`", " ")
    if not folded.isascii():
        folded = _OTHERS.sub(lambda run: run[0].translate(_FOLDS), folded)
    folded = folded.lower()
    sought = [(pattern, folded) for pattern in _possible(_LATIN, folded)]
    if not text.isascii() and any(start[0] > _LAST_GREEK for start in _word_starts(text)):
        sought += [(pattern, text) for pattern in _possible(_SCRIPTS, text)]
    return sought


def _possible(addresses: Sequence[_Address], text: str) -> list[re.Pattern[str]]:
    starts = _word_starts(text)
    return [pattern for pattern, needs in addresses if not any(map(starts.isdisjoint, needs))]


def _word_starts(text: str) -> frozenset[str]:
    words = frozenset(_WORD.findall(text.lower()))
    return words.union([word[:5] for word in words])


def _starts(sought: Sequence[tuple[re.Pattern[str], str]], at: int) -> list[int]:
    """The start of each pattern's first match from `at` on."""
    matches = (pattern.search(text, at) for pattern, text in sought)
    return [match.start() for match in matches if match]
