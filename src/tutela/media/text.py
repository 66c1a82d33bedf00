"""Readings of a text: what it says as written, and what it says once disguised spelling is undone.

A text is read as it stands, and again with look-alike letters folded, letters that stand apart
joined, digits and signs taken for letters, and encoded parts put in clear, each only where the text
gives cause to. Folding harms genuine words of other scripts, so no reading replaces another: scan
them all. `docs/design/text-views.md` says what was measured and rejected.

How the work is bounded: every step is one pass over the text, there are at most `MOST` readings,
and encodings are undone at most `DEPTH` deep.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise, product
from typing import Final

import numpy as np

from tutela.media import encoded
from tutela.media.lookalikes import (
    EMOJI,
    INVISIBLE,
    MARKS,
    STACKED,
    as_cyrillic,
    folded,
    has,
    shape_of,
)

MOST: Final = 8
"""Readings of one text, at most."""
DEPTH: Final = 2
"""Encodings within encodings that are undone."""
SHORT: Final = 1000
"""Characters that composition may take quadratic time for."""
LONGEST: Final = 20
"""Letters of a known word that word borders are put around."""

_COMMON: Final = """
    the and that was for are with his they this have from had not but what all were when your can
    said there use each which she how their will about out many then them these some her would
    make like him into time has look two more see way could people than been who its find long
    down day did get come made may part over new take only little work know place year live give
    most very after our just name good man think say great where help through much before line
    right too old any same tell boy girl want show photo picture image woman child una los las
    del que con por para der die und ein eine mit von les des une dans est pour sur avec bir dan
    yang het een van jest nie
"""
COMMON: Final = frozenset(_COMMON.split())
"""Frequent words. A text is deciphered only where some of them, or of the caller's, come out."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One way of reading a text. `how` names the steps, never words of the text."""

    text: str
    how: str


def readings(text: str, words: frozenset[str] = frozenset()) -> tuple[Reading, ...]:
    """The readings of a text: as written first, then every other that differs, `MOST` at most.

    All but the first are as `plain` gives them. `words` are the lower-case words that matter to
    the caller: where signs, missing word borders, split words or a cipher leave a choice, they
    decide. Linear in the length of the text.
    """
    found = {text: Reading(text, "as written")}
    for reading in _candidates(text, _known(words)):
        if reading.text and reading.text not in found:
            found[reading.text] = reading
            if len(found) == MOST:
                break
    return tuple(found.values())


def plain(text: str) -> str:
    """The form that every reading but the first one has; for entries that are to match it.

    Lower-case NFKC without invisible characters, stacked marks and needless spaces.
    """
    return _even(_clean(text, shape_of(text)))


# --- The caller's words --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    words: frozenset[str]
    telling: frozenset[str]
    """Words that show that deciphering made sense."""
    parts: frozenset[str]
    """Words that letters without borders may be made of …"""
    begins: frozenset[str]
    """… and what they begin with."""
    masked: dict[tuple[str, int], list[str]]
    """Words by first letter and length."""
    solid: dict[str, list[str]]
    """Words of scripts without spaces, by their first two characters."""


_SOLID = re.compile("[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]+")


@lru_cache(maxsize=8)
def _known(words: frozenset[str]) -> _Known:
    masked: dict[tuple[str, int], list[str]] = {}
    for word in sorted(words):
        if len(word) > 3:
            masked.setdefault((word[0], len(word)), []).append(word)
    solid: dict[str, list[str]] = {}
    for word in words:
        if len(word) > 1 and _SOLID.fullmatch(word):
            solid.setdefault(word[:2], []).append(word)
    parts = words | COMMON if words else words
    begins = {word[:end] for word in parts for end in range(1, len(word) + 1)}
    # A syllable or an ideograph says as much as two letters.
    telling = COMMON | {word for word in words if len(word) > (1 if word >= "\u1100" else 3)}
    return _Known(words, telling, parts, frozenset(begins), masked, solid)


# --- What is seen as nothing ---------------------------------------------------------------

_UNSEEN = re.compile(f"[{INVISIBLE}]+")
_PILED = re.compile(f"[{STACKED}]+")
# Marks that no writing puts on a letter, or too many of them, are no part of it.
_USUAL = "\u0300-\u0304\u0306-\u030c\u0313\u0314\u031b\u0323\u0326-\u0328\u0331\u0342\u0345"
_HEAP = re.compile(
    f"[{_USUAL}]{{0,2}}(?![{_USUAL}])[{STACKED}][{STACKED}]*|[{_USUAL}]{{3}}[{STACKED}]*"
)
_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")
_LINES = re.compile(r"\s*\n\s*")


@cache
def _heap() -> re.Pattern[str]:
    """Long runs of marks, which composition would take quadratic time to sort."""
    marks = "".join(chr(c) for c in range(0x300, 0x1E950) if unicodedata.combining(chr(c)))
    return re.compile(f"([{marks}]{{4}})[{marks}]+")


def _clean(text: str, shape: str) -> str:
    """NFKC without what is not seen; case and spacing stay."""
    if "i" in shape:
        text = _UNSEEN.sub("", text)
    if text.isascii() or ("m" not in shape and unicodedata.is_normalized("NFKC", text)):
        return text
    if "m" in shape:
        text = _HEAP.sub("", text)
    if len(text) > SHORT:
        text = _heap().sub(r"\1", text)
    text = unicodedata.normalize("NFKC", text)
    return _PILED.sub("", _UNSEEN.sub("", text)).replace("\u2800", " ")


def _even(text: str) -> str:
    """Lower-case, with one space or one line break between words."""
    given, text = text, text.lower()
    if text != given and not text.isascii():
        # Capital dotted I gives a mark of its own, and lower case may compose anew.
        text = text.replace("i\u0307", "i")
        if not unicodedata.is_normalized("NFKC", text):
            text = _PILED.sub("", unicodedata.normalize("NFKC", text))
    if not text.isprintable():
        text = _LINES.sub("\n", text) if "\n" in text else text
        text = _SPACES.sub(" ", text)
    elif "  " in text:
        text = _SPACES.sub(" ", text)
    return text.strip()


# --- Letters that stand apart --------------------------------------------------------------

_GAP = (
    r"[ \t\n\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e\xa0-\xbf\xd7\xf7\u2000-\u2bff\u2e00-\u2e7f"
    r"\u3000-\u303f\U0001f000-\U0001faff]"
)
_ONE = rf"(?:[^\W_][{MARKS}]*(?![^\W_])(?![{MARKS}])|[@$€£!|](?!\w))"
_APART = re.compile(rf"(?<![^\W_])(?<![{MARKS}]){_ONE}(?:{_GAP}{{1,3}}?{_ONE}){{2,}}")
_STEP = re.compile(rf"({_GAP}{{1,3}}?)({_ONE})")
_AS_LETTERS: Final = frozenset("@$€£!|+(")
_FIRST = re.compile(_ONE)
_ALONE: Final[dict[int, str | None]] = {
    **dict.fromkeys(map(ord, " \n.e$"), " "),
    **dict.fromkeys(map(ord, "aA0hfsc"), "a"),
    ord("k"): None,
}


def _joined(text: str, shape: str, known: _Known) -> str:
    """Runs of three or more single letters as words; wider gaps part them."""
    letters = " ".join(shape.translate(_ALONE).split())
    if " a a " not in f" {letters} ":
        return text

    def turn(match: re.Match[str]) -> str:
        run = match[0]
        first = _FIRST.match(run)
        parts = [first[0] if first else run[0]]
        steps = [
            (len(gap) - len("".join(gap.split())), gap, one)
            for gap, one in _STEP.findall(run, len(parts[0]))
        ]
        if sum(char.isalpha() for char in run) < 2:
            return run
        widths = [width for width, _, _ in steps]
        usual = min(set(widths), key=lambda width: (-widths.count(width), width))
        signs = {gap.strip() for width, gap, _ in steps if width == usual}
        if any(sign in _AS_LETTERS for sign in signs) and (len(signs) > 1 or len(steps) < 3):
            # They part nothing, they are letters.
            return run
        for width, _, one in steps:
            if width > usual:
                parts.append(one)
            else:
                parts[-1] += one
        return " ".join(_parted(part, known) for part in parts)

    return _APART.sub(turn, text)


def _parted(letters: str, known: _Known) -> str:
    """Letters written without word borders, parted where known words cover most of them."""
    low = letters.lower()
    if not known.words or len(letters) < 5 or len(low) != len(letters) or low in known.words:
        return letters
    spelt = _spelt(low, known.words)[0]
    (cost, ends), text = min((_ends(each, known), each) for each in {low, spelt})
    if cost > 2 * len(letters):
        return letters
    return " ".join(text[start:end] for start, end in pairwise([0, *ends]))


def _ends(letters: str, known: _Known) -> tuple[int, list[int]]:
    """The cost of the best parting of letters without borders, and where its words end."""
    size = len(letters)
    # The cheapest parting up to each place; a letter of no word costs more than a word.
    costs = [4 * end for end in range(size + 1)]
    starts = [max(0, end - 1) for end in range(size + 1)]
    for start in range(size):
        here = costs[start]
        if here + 4 < costs[start + 1]:
            costs[start + 1], starts[start + 1] = here + 4, start
        number = letters[start].isdecimal()
        for end in range(start + 1, min(size, start + LONGEST) + 1):
            part = letters[start:end]
            if number:
                if not part.isdecimal():
                    break
            elif part not in known.begins:
                break
            elif part not in known.parts:
                continue
            cost = here + (3 if number or end - start < 3 else 1)
            if cost < costs[end]:
                costs[end], starts[end] = cost, start
    ends, end, lone = [size], size, size - starts[size] == 1
    while end := starts[end]:
        one = end - starts[end] == 1
        # Letters of no word stay together.
        if not (one and lone):
            ends.append(end)
        lone = one
    return costs[-1], ends[::-1]


# --- Digits and signs as letters, letters repeated -----------------------------------------

_LETTERS: Final = {
    "0": "o", "1": "il", "2": "z", "3": "e", "4": "a", "5": "s", "6": "gb", "7": "t", "8": "b",
    "9": "g", "@": "a", "$": "s", "!": "il", "|": "il", "€": "e", "£": "l", "+": "t", "(": "c",
    "<": "c", "^": "a", "#": "h", "¡": "i",
}  # fmt: skip
_CYRILLIC: Final = _LETTERS | {
    "0": "о", "1": "іл", "3": "ез", "4": "ач", "5": "сп", "6": "б", "7": "т", "8": "в", "9": "я",
    "@": "а", "$": "с", "!": "і", "€": "е", "£": "е", "(": "с", "^": "л",
}  # fmt: skip
_DRAWN: Final = tuple(
    (drawn, letter, re.compile(rf"(?<=\w){re.escape(drawn)}|{re.escape(drawn)}(?=\w)"))
    for drawn, letter in (
        ("/\\/\\", "m"), ("|\\/|", "m"), ("\\/\\/", "w"), ("|\\|", "n"), ("/\\", "a"),
        ("\\/", "v"), ("|_|", "u"), ("(_)", "u"), ("|-|", "h"), ("}{", "h"), ("|<", "k"),
        ("|)", "d"), ("|>", "p"), ("|3", "b"), ("|=", "f"), ("|2", "r"), ("()", "o"),
        ("[]", "o"), ("><", "x"),
    )
)  # fmt: skip
_CAUSE = re.compile(r"[aAhfcs][0$]{1,8}[aAhfcs0]|[0$]{1,8}[aAhfcs]|[aAhfcs][0$]")
_CHUNK = re.compile(r"[^\s,;:\"?._/\u2010-\u2015-]+")
_AMOUNT = re.compile(
    r"\d+(?:k|p|d|x|mm|cm|m|km|mp|px|th|s|yo|y|yr|yrs|years?|girls?|boys?|others?|fps|hz"
    r"|khz|mhz|ghz|gb|mb|kb|tb|bit|h|hrs?|mins?|secs?|am|pm|kg|g|lbs?|ft|in|inch|pcs?|ml|l|w|v|b|t"
    r"|f|c|a|e|r|n|er|ers|weeks?|months?|days?)|\d+x\d+(?:px)?|\d*(?:1st|2nd|3rd)"
)
_MODEL = re.compile(r"[a-z]\d+|[a-z]{2}\d|[a-z]+\d{3,}")
_AGAIN = re.compile(r"([^\W\d_])\1{2,}")
_DOUBLE = re.compile(r"([^\W\d_])\1")


def _unsigned(text: str, shape: str, words: frozenset[str]) -> tuple[str, str]:
    """Digits and signs inside words as letters: the first choice and, where two fit, the second."""
    if not _CAUSE.search(shape):
        return text, text
    for drawn, letter, pattern in _DRAWN:
        if drawn in text:
            text = pattern.sub(letter, text)
    # An opening bracket that is never closed is a letter.
    edge = "+^#*(<" if ")" in text or ">" in text else "+^#*"
    first, second = [], []
    done = 0
    for match in _CHUNK.finditer(text):
        token = match[0]
        if token.isalpha() or token.isdecimal() or _AMOUNT.fullmatch(token):
            continue
        start = token.lstrip(edge)
        body = start.rstrip("!|+(<^#)>*'")
        if body.isalpha() or not any(char.isalpha() for char in body):
            continue
        at = match.start() + len(token) - len(start)
        spelt, other = _spelt(body, words)
        if _MODEL.fullmatch(body) and spelt not in words:
            continue
        first += [text[done:at], spelt]
        second += [text[done:at], other]
        done = at + len(body)
    if not done:
        return text, text
    return "".join([*first, text[done:]]), "".join([*second, text[done:]])


def _spelt(token: str, words: frozenset[str]) -> tuple[str, str]:
    """The likeliest letters of a word with signs, and the next likely.

    A known word, or else vowels between consonants and consonants beside vowels.
    """
    table = _CYRILLIC if any("\u0400" <= char <= "\u04ff" for char in token) else _LETTERS
    choices = [table.get(char, char) for char in token]
    several = sum(len(choice) > 1 for choice in choices)
    if not several:
        spelt = "".join(choices)
        return spelt, spelt
    if several <= 5:
        for letters in map("".join, product(*choices)):
            if letters in words or letters in COMMON:
                return letters, letters
    first = second = ""
    for at, choice in enumerate(choices):
        if choice != "il":
            first += choice[0]
            second += choice[-1]
            continue
        follows = choices[at + 1][:1] if at + 1 < len(choices) else ""
        beside = any(char and char in "aeiou" for char in (first[-1:], follows))
        first += "l" if beside else "i"
        second += "i" if beside else "l"
    return first, second


def _single(text: str, words: frozenset[str], other: bool) -> str:
    """Letters written three times or more once, or twice; and known words with letters doubled."""

    def turn(match: re.Match[str]) -> str:
        token = match[0]
        if len(token) > 5 and token[::2] == token[1::2]:
            return token[::2]
        if _AGAIN.search(token):
            once, twice = _AGAIN.sub(r"\1", token), _AGAIN.sub(r"\1\1", token)
            if once in words:
                return once
            if twice in words:
                return twice
            bare = _DOUBLE.sub(r"\1", once)
            return bare if bare in words else twice if other else once
        bare = _DOUBLE.sub(r"\1", token)
        return bare if bare in words and token not in words else token

    return re.sub(r"[^\W\d_]{3,}", turn, text)


_ODD_PAIRS: Final = ("aa", "ii", "uu")


def _repeats(text: str, tokens: set[str]) -> bool:
    """Whether letters are written more often than words have them."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    same = codes[1:] == codes[:-1]
    again = codes[2:][same[1:] & same[:-1]]
    if any(chr(code).isalpha() for code in set(again.tolist())):
        return True
    return any(pair in text for pair in _ODD_PAIRS) or any(
        len(token) > 5 and token[::2] == token[1::2] for token in tokens
    )


# --- Words with a part missing or split ----------------------------------------------------

_MASKED = re.compile(
    r"(?<![^\W\d_])[^\W\d_][^\W\d_*#]*[*#]{1,4}[^\W\d_*#]*(?:[*#]{1,4}[^\W\d_*#]+)?"
)


def _unmasked(text: str, known: _Known) -> str:
    """Words with letters starred out as the known words that fit."""

    def turn(match: re.Match[str]) -> str:
        token = match[0]
        if sum(char.isalpha() for char in token) < 2:
            return token
        pattern = re.compile(re.sub(r"[*#]", ".", token))
        near = known.masked.get((token[0], len(token)), ())
        return " ".join([word for word in near if pattern.fullmatch(word)][:3]) or token

    return _MASKED.sub(turn, text)


def _runs(text: str) -> re.Pattern[str]:
    """What finds the words of a text."""
    return _LETTER_RUN if text.isascii() or not _MARK.search(text) else _MARKED_RUN


def _glued(text: str, tokens: list[str], known: _Known) -> str:
    """Known words that are split in two or three, by signs or by spaces, as one."""
    words = known.words
    pairs = {first + second for first, second in pairwise(tokens)} & words
    threes = {"".join(three) for three in zip(tokens, tokens[1:], tokens[2:], strict=False)} & words
    if not pairs and not threes:
        return text
    out, at, done = [], 0, 0
    found = list(_runs(text).finditer(text))
    while at < len(found):
        for count, wholes in ((3, threes), (2, pairs)):
            parts = found[at : at + count]
            whole = "".join(part[0] for part in parts)
            if len(parts) == count and len(whole) > 2 and whole in wholes:
                gaps = [text[a.end() : b.start()] for a, b in pairwise(parts)]
                # A space may stand between words: it must have split what is none.
                spaced = any(_SPACE.search(gap) for gap in gaps)
                doubt = len(whole) < 5 or any(p[0] in words or p[0] in COMMON for p in parts)
                if all(map(_PARTING.fullmatch, gaps)) and not (spaced and doubt):
                    out += [text[done : parts[0].start()], whole]
                    done = parts[-1].end()
                    at += count - 1
                    break
        at += 1
    return "".join([*out, text[done:]])


# --- Emoji ---------------------------------------------------------------------------------

_PICTURED = re.compile(f"[{EMOJI}]")
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff]")


def _named(text: str) -> str:
    """Emoji as their names."""
    return _PICTURED.sub(lambda m: f" {unicodedata.name(m[0], '').lower()} ", _SKIN.sub("", text))


# --- All together --------------------------------------------------------------------------

_LETTER_RUN = re.compile(r"[^\W\d_]+")
_MARKED_RUN = re.compile(rf"(?:[^\W\d_]|[{MARKS}])+")
_MARK = re.compile(f"[{MARKS}]")
_SPACE = re.compile(r"\s")
_PARTING = re.compile(f"(?!['\u2019]){_GAP}{{1,3}}")
_TELLING: Final = 2
"""Words that deciphering has to give, if they are short."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A text with its letters put right."""

    first: str
    second: str
    """With the other choice, where signs or repeated letters leave one."""
    tokens: list[str]
    """The words of the first."""
    joined: str
    """Only with look-alikes folded and single letters joined; case stays."""


def _letters(text: str, shape: str, known: _Known) -> _Read:
    """Every step on the letters of a clean text."""
    joined = text if text.isascii() else folded(text, shape)
    joined = _joined(joined, shape_of(joined) if joined != text else shape, known)
    first = second = was = _even(joined)
    if "0" in shape or "$" in shape:
        shape = shape_of(first)
    tokens = _runs(first).findall(first)
    if ("*" in first or "#" in first) and known.masked:
        first = second = _unmasked(first, known)
    if "0" in shape or "$" in shape:
        first, second = _unsigned(first, shape, known.words)
    if _repeats(first, set(tokens)):
        first = _single(first, known.words, False)
        second = _single(second, known.words, True)
    if known.words:
        first = _glued(first, tokens if first is was else _runs(first).findall(first), known)
        second = first if second == first else _glued(second, _runs(second).findall(second), known)
    return _Read(first, second, tokens if first is was else _runs(first).findall(first), joined)


def _candidates(text: str, known: _Known) -> Iterator[Reading]:
    shape = shape_of(text)
    clean = _clean(text, shape)
    yield Reading(_even(clean), "plain")
    todo = [(clean, shape if clean == text else shape_of(clean), "", 0)]
    if "i" in shape:
        seen = _clean(encoded.revealed(text), shape)
        if seen != clean:
            todo.insert(0, (seen, shape_of(seen), "revealed, ", 0))
    while todo:
        seen, shape, how, depth = todo.pop(0)
        if how:
            yield Reading(_even(seen), how.removesuffix(", "))
        read = _letters(seen, shape, known)
        yield Reading(read.first, how + "letters")
        yield Reading(read.second, how + "other letters")
        if not seen.isascii():
            yield from _scripts(seen, shape, how, known)
        if depth < DEPTH:
            for step, clear in _clear(seen, read, known):
                todo.append((clear, shape_of(clear), f"{how}{step}, ", depth + 1))


def _scripts(text: str, shape: str, how: str, known: _Known) -> Iterator[Reading]:
    """Readings that only other scripts and pictures give cause to."""
    if "f" in shape and has(shape, "aA0$"):
        yield Reading(_even(as_cyrillic(text, shape)), how + "Cyrillic")
    upright = encoded.upright(text)
    if upright != text:
        yield Reading(_letters(upright, shape_of(upright), known).first, how + "upside down")
    if "e" in shape:
        yield Reading(_even(_named(text)), how + "emoji")


def _clear(text: str, read: _Read, known: _Known) -> Iterator[tuple[str, str]]:
    """Texts that a text may encode, with the name of the code."""
    clear = encoded.decoded(text)
    if clear == text and read.joined != text:
        text = read.joined
        clear = encoded.decoded(text)
    if clear != text:
        yield "decoded", _clean(clear, shape_of(clear))
    ascii_ = text.isascii()
    every = set(read.tokens)
    tokens = every if ascii_ else {token for token in every if token.isascii()}
    if len(tokens) < len(every) and (
        _tells([token[::-1] for token in every], every, known) or _tells_solid(text, known)
    ):
        yield "backwards", text[::-1]
        yield "words backwards", " ".join(word[::-1] for word in text.split())
    if not tokens:
        return
    mute = clear == text and not tokens & known.telling
    line = " ".join(tokens)
    odd = read.first != _even(text)
    coded = encoded.like_base64(text)
    for how, turn in encoded.EASY:
        turned = turn(line).split()
        if _tells(turned, tokens, known) or (mute and odd and _tells_of(turn(text), known)):
            yield how, turn(text)
            if how == "backwards":
                yield "words backwards", " ".join(word[::-1] for word in text.split())
        elif mute and coded and encoded.decoded(turn(text)) != turn(text):
            yield how, turn(text)
    if mute and len(tokens) > 1:
        yield from _shifted(text, line, tokens, known)


def _shifted(text: str, line: str, tokens: set[str], known: _Known) -> Iterator[tuple[str, str]]:
    """A text of no known word, with its letters shifted in the alphabet."""
    for how, turn in encoded.SHIFTS:
        if _tells(turn(line).split(), tokens, known):
            yield how, turn(text)
            return
    turned = encoded.rot47(text)
    if _tells(_LETTER_RUN.findall(turned.lower()), tokens, known):
        yield "rot47", turned


def _tells_of(text: str, known: _Known) -> bool:
    return _tells(_letters(text, shape_of(text), known).tokens, set(), known)


def _tells_solid(text: str, known: _Known) -> bool:
    """Whether a text in a script without spaces has more known words from its end."""
    if not known.solid or not _SOLID.search(text):
        return False
    counts = []
    for way in (text, text[::-1]):
        heads = known.solid.keys() & set(map("".join, pairwise(way)))
        counts.append(sum(word in way for head in heads for word in known.solid[head]))
    return counts[1] >= _TELLING and counts[1] > counts[0]


def _tells(turned: list[str], tokens: set[str], known: _Known) -> bool:
    """Whether deciphering gave words that weren't there: several, or one that is no accident."""
    found = (known.telling & set(turned)) - tokens
    if len(found) < _TELLING:
        return any(len(word) > 5 for word in found)
    return (
        len(found) > _TELLING
        or len(tokens & known.telling) < _TELLING
        or any(len(word) > 5 for word in found)
    )
