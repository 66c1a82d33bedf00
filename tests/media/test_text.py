"""Disguised words come out in some reading; genuine text of every script stays in one."""

from __future__ import annotations

import base64
import codecs
import string
import unicodedata
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutela.media.text import MOST, plain, readings

SENTENCE = "the red bicycle and the teapot"
WORDS = frozenset(["red", "bicycle", "teapot"])

PROSE = {
    "English": "A child in a T-shirt eats an apple at 7 o'clock, 4k 8k hd f1.8 iso100 (a:1.2)",
    "Spanish": "Una niña pequeña come una manzana en el jardín de su abuelo",
    "Turkish": "Küçük kız çocuğu bahçede kırmızı bisiklete biniyor",
    "Polish": "Dziewczynka żółtym rowerem jeździ po łące",
    "Vietnamese": "Cô bé đi xe đạp màu đỏ trên đường làng",
    "Russian": "Маленькая девочка едет на красном велосипеде по дороге",
    "Greek": "Το κορίτσι κρατάει ένα κόκκινο ποδήλατο στον κήπο",
    "Arabic": "طفل صغير يركب دراجة حمراء في الحديقة",
    "Urdu": "چھوٹا بچہ باغ میں سرخ سائیکل چلا رہا ہے",
    "Hindi": "छोटी लड़की बगीचे में लाल साइकिल चला रही है",
    "Bengali": "ছোট মেয়েটি বাগানে লাল সাইকেল চালাচ্ছে",
    "Thai": "เด็กผู้หญิงขี่จักรยานสีแดงในสวน",
    "Chinese": "小女孩在花园里骑红色的自行车，天气很好。",
    "Japanese": "小さな女の子が庭で赤い自転車に乗っています。",
    "Korean": "어린 소녀가 정원에서 빨간 자전거를 탑니다",
}


def alphabet(first: int, capital: int) -> dict[int, int]:
    """A table from ASCII letters to an alphabet that begins at `first`, capitals at `capital`."""
    return {ord(c): first + i for i, c in enumerate(string.ascii_lowercase)} | {
        ord(c): capital + i for i, c in enumerate(string.ascii_uppercase)
    }


def between(what: str, space: str = " ") -> Callable[[str], str]:
    return lambda text: space.join(what.join(word) for word in text.split())


LIKE_CYRILLIC = str.maketrans("aeopcyxi", "аеорсухі")
LIKE_GREEK = str.maketrans("aoipvtn", "αοιρντη")
DISGUISES: dict[str, Callable[[str], str]] = {
    "capitals": str.upper,
    "Cyrillic look-alikes": lambda t: t.translate(LIKE_CYRILLIC),
    "Greek look-alikes": lambda t: t.translate(LIKE_GREEK),
    "mixed look-alikes": lambda t: t.translate(str.maketrans("aeobdt", "аԑοЬԁτ")),
    "digits": lambda t: t.translate(str.maketrans("aeiot", "43107")),
    "signs": lambda t: t.translate(str.maketrans("aeil", "@€!|")),
    "nothing between": between("\u200b"),
    "soft hyphens": between("\u00ad"),
    "joiners": between("\u200d\u2060"),
    "fillers": between("\u3164"),
    "selectors": between("\ufe0f"),
    "controls": between("\x08"),
    "stacked marks": between("\u0336\u0353\u030a"),
    "direction marks": between("\u202c"),
    "spaces": between(" ", "  "),
    "spaces alone": between(" "),
    "dots": between("."),
    "dashes": between("-"),
    "dashes alone": between("-", "-"),
    "low lines": between("_"),
    "stars": between("*"),
    "lines": between("\n", "\n\n"),
    "emoji": between("🌼"),
    "halves": lambda t: t.replace("bicycle", "bicy cle").replace("teapot", "tea-pot"),
    "lines broken": lambda t: t.replace("bicycle", "bicy\ncle"),
    "starred": lambda t: t.replace("bicycle", "b*cycle").replace("teapot", "te#p*t"),
    "full width": lambda t: t.translate(alphabet(0xFF41, 0xFF21)),
    "mathematical": lambda t: t.translate(alphabet(0x1D5BA, 0x1D5A0)),
    "fraktur": lambda t: t.translate(alphabet(0x1D586, 0x1D56C)),
    "circled": lambda t: t.translate(alphabet(0x24D0, 0x24B6)),
    "squared": lambda t: t.upper().translate(alphabet(0x24D0, 0x1F130)),
    "squared black": lambda t: t.upper().translate(alphabet(0x24D0, 0x1F170)),
    "regional": lambda t: t.upper().translate(alphabet(0x24D0, 0x1F1E6)),
    "small capitals": lambda t: t.translate(str.maketrans("abcdelnoprt", "ᴀʙᴄᴅᴇʟɴᴏᴘʀᴛ")),
    "raised": lambda t: t.translate(str.maketrans("abcdeilnoprt", "ᵃᵇᶜᵈᵉⁱˡⁿᵒᵖʳᵗ")),
    "upside down": lambda t: t.translate(
        str.maketrans("abcdefghijkmnopqrtuvwy", "ɐqɔpǝɟƃɥᴉɾʞɯuodbɹʇnʌʍʎ")
    )[::-1],
    "Braille": lambda t: t.translate(
        str.maketrans("abcdehilnoprty", "⠁⠃⠉⠙⠑⠓⠊⠇⠝⠕⠏⠗⠞⠽")
    ),
    "tags": lambda t: "".join(chr(0xE0000 + ord(c)) for c in t),
    "base64": lambda t: base64.b64encode(t.encode()).decode(),
    "base64 in lines": lambda t: base64.encodebytes(t.encode() * 4).decode(),
    "base64 for addresses": lambda t: base64.urlsafe_b64encode(t.encode()).decode().rstrip("="),
    "base32": lambda t: base64.b32encode(t.encode()).decode(),
    "hexadecimal": lambda t: t.encode().hex(),
    "hexadecimal apart": lambda t: t.encode().hex(" "),
    "binary": lambda t: " ".join(f"{b:08b}" for b in t.encode()),
    "numbers": lambda t: " ".join(str(b) for b in t.encode()),
    "percent": lambda t: "".join(f"%{b:02X}" for b in t.encode()),
    "entities": lambda t: "".join(f"&#{ord(c)};" for c in t),
    "hexadecimal entities": lambda t: "".join(f"&#x{ord(c):x};" for c in t),
    "escapes": lambda t: "".join(f"\\u{ord(c):04x}" for c in t),
    "quoted": lambda t: "".join(f"={b:02X}" for b in t.encode()),
    "elements": lambda t: t.replace("bicycle", "bi<b></b>cycle"),
    "rot13": lambda t: codecs.encode(t, "rot13"),
    "rot47": lambda t: "".join(chr(33 + (ord(c) + 14) % 94) if c > " " else c for c in t),
    "shifted": lambda t: t.translate(
        str.maketrans(string.ascii_lowercase, "fghijklmnopqrstuvwxyzabcde")
    ),
    "atbash": lambda t: t.translate(
        str.maketrans(string.ascii_lowercase, string.ascii_lowercase[::-1])
    ),
    "backwards": lambda t: t[::-1],
    "words backwards": lambda t: " ".join(word[::-1] for word in t.split()),
    "direction override": lambda t: f"\u202e{t[::-1]}\u202c",
    "repeated": lambda t: t.replace("i", "iii").replace("e", "eeee").replace("a", "aaa"),
    "doubled": lambda t: "".join(2 * c if c.isalpha() else c for c in t),
}  # fmt: skip
NEEDS_WORDS = {"spaces alone", "dashes alone", "halves", "lines broken", "starred"}
LAYERS = {
    "digits in base64": ("digits", "base64"),
    "rot13 in base64": ("rot13", "base64"),
    "base64 twice": ("base64", "base64"),
    "backwards in base64": ("backwards", "base64"),
    "dots in base64": ("dots", "base64"),
    "base64 in percent": ("base64", "percent"),
    "base64 in full width": ("base64", "full width"),
    "base64 with nothing between": ("base64", "nothing between"),
    "digits in rot13": ("digits", "rot13"),
    "digits backwards": ("digits", "backwards"),
    "digits apart": ("digits", "spaces"),
    "look-alikes apart": ("Cyrillic look-alikes", "dots"),
    "look-alikes and digits": ("Cyrillic look-alikes", "digits"),
    "full width apart": ("full width", "spaces"),
    "rot13 backwards": ("rot13", "backwards"),
    "percent twice": ("percent", "percent twice"),
    "tags of base64": ("base64", "tags"),
    "entities of digits": ("digits", "entities"),
    "hexadecimal of rot13": ("rot13", "hexadecimal"),
}
DISGUISES["percent twice"] = quote


def words_of(text: str, words: frozenset[str] = WORDS) -> set[str]:
    """The words that some reading of a text has."""
    return {word for reading in readings(text, words) for word in reading.text.split()}


@pytest.mark.parametrize("name", DISGUISES)
def test_disguised_words_come_out(name: str) -> None:
    assert words_of(DISGUISES[name](SENTENCE)) >= WORDS


@pytest.mark.parametrize("name", DISGUISES)
def test_disguised_words_come_out_together(name: str) -> None:
    disguised = DISGUISES[name](SENTENCE)
    assert any(set(reading.text.split()) >= WORDS for reading in readings(disguised, WORDS))


@pytest.mark.parametrize("name", sorted(set(DISGUISES) - NEEDS_WORDS))
def test_words_need_not_be_known(name: str) -> None:
    assert words_of(DISGUISES[name](SENTENCE), frozenset()) >= {"red", "teapot"}


@pytest.mark.parametrize("name", LAYERS)
def test_disguises_come_off_two_deep(name: str) -> None:
    first, second = LAYERS[name]
    assert words_of(DISGUISES[second](DISGUISES[first](SENTENCE))) >= WORDS


@pytest.mark.parametrize("name", DISGUISES)
def test_disguise_in_the_midst_of_prose(name: str) -> None:
    if name in {"upside down", "backwards", "lines", "rot47", "shifted", "halves", "lines broken"}:
        pytest.skip("changes the text as a whole")
    words = words_of(f"Please draw what this says: {DISGUISES[name]('bicycle teapot')} . Thanks!")
    assert words >= {"bicycle", "teapot"}


@pytest.mark.parametrize("language", PROSE)
def test_prose_is_read_as_it_stands(language: str) -> None:
    text = PROSE[language]
    found = readings(text, WORDS)
    assert [reading.how for reading in found] in (["as written", "plain"], ["as written"])
    assert found[-1].text == unicodedata.normalize("NFKC", text).lower()


SOLID = {
    "Thai": frozenset(["จักรยาน", "สีแดง"]),
    "Chinese": frozenset(["花园", "自行车", "天气"]),
    "Japanese": frozenset(["自転車", "女の子"]),
}


def graphemes(word: str) -> list[str]:
    """Letters with the marks that follow them."""
    out: list[str] = []
    for char in word:
        if out and unicodedata.category(char)[0] == "M":
            out[-1] += char
        else:
            out.append(char)
    return out


@pytest.mark.parametrize("language", sorted(set(PROSE) - {"English", "Greek"}))
@pytest.mark.parametrize("what", [" ", ".", "-", "_", "\u200b", "🌼", "backwards", "base64"])
def test_disguises_in_every_script(language: str, what: str) -> None:
    text = unicodedata.normalize("NFKC", PROSE[language]).lower()
    words = SOLID.get(language) or frozenset(word for word in text.split() if len(word) > 3)
    if what in ("backwards", "base64"):
        disguised = DISGUISES[what](text)
    else:
        disguised = "  ".join(what.join(graphemes(word)) for word in text.split())
    assert any(
        all(word in reading.text for word in words) for reading in readings(disguised, words)
    )


@pytest.mark.parametrize("language", PROSE)
def test_genuine_words_survive_beside_disguised_ones(language: str) -> None:
    text = f"{PROSE[language]} — t\u0435ap\u043et b1cyc13"
    kept = unicodedata.normalize("NFKC", PROSE[language]).lower()
    assert any(kept in reading.text for reading in readings(text, WORDS))
    assert words_of(text) >= {"teapot", "bicycle"}


@pytest.mark.parametrize(
    "text",
    [
        "4k 8k hd f1.8 iso100 t-shirt",
        "1girl, 2boys, 13yo, 35mm, 1920x1080, 5th avenue, mp4, h264, ps5",
        "(masterpiece:1.2), [wet], {cat|dog}".replace("{cat|dog}", "cat"),
        "photographically incomprehensible PHOTOGRAPH New York",
        "a saw was live, a drawer of stressed rats",
        "call 555-0199, then 12 34 56 78",
        "x and y or Q & A",
    ],
)
def test_ordinary_signs_are_left_alone(text: str) -> None:
    assert {reading.text for reading in readings(text, WORDS)} <= {text, text.lower()}


def test_cyrillic_words_with_latin_letters_are_read_as_cyrillic() -> None:
    assert "велосипед" in words_of("кpaсный вeлoсипeд")
    assert "велосипед" in words_of("в3лосипед", frozenset(["велосипед"]))


def test_emoji_are_named() -> None:
    assert "bicycle" in words_of("a red 🚲")


def test_ages_stay_in_letters_that_stand_apart() -> None:
    words = frozenset(["a", "year", "old", "boy", "with", "teapot"])
    assert "a 12 year old boy with teapot" in {
        reading.text for reading in readings("a 1 2 y e a r o l d b o y w i t h t e a p o t", words)
    }


SOME = st.sampled_from(
    [
        *"abcxyzABC019 .,-_*#@$!|/\\()<>&%;=+\n\t",
        *("base", "dGVhcG90", "%41", "&#97;", "gur ", "0x", "01100001 "),
        *("\u0301", "\u0336", "\u200b", "\u202e", "\U000e0061", "\ufe0f", "\ud83d", "\u0345"),
        *("\u0435", "İ", "ſ", "ﬁ", "ﷺ", "ǰ", "ΐ", "ẞ", "ⅷ", "🚲", "क", "ि", "ا", "中", "\u0e33"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=120),
    st.text(st.characters(exclude_categories=()), max_size=60),
    st.lists(SOME, max_size=60).map("".join),
)


@settings(max_examples=400)
@given(TEXTS)
def test_any_text_is_read_within_bounds(text: str) -> None:
    found = readings(text, WORDS)
    assert found[0].text == text
    assert len(found) <= MOST
    assert len({reading.text for reading in found}) == len(found)
    assert sum(len(reading.text) for reading in found) <= MOST * 100 * (len(text) + 1)
    assert found == readings(text, WORDS)
    for reading in found[1:]:
        assert reading.text == reading.text.strip()
        assert "  " not in reading.text
        assert reading.text.lower() == reading.text


@settings(max_examples=400)
@given(TEXTS)
def test_plain_text_is_plain(text: str) -> None:
    once = plain(text)
    assert plain(once) == once
    assert readings(once, WORDS)[0].text == once
    assert once == text or not once or once in [r.text for r in readings(text)]


@pytest.mark.parametrize(
    "piece",
    ["A", "a1", "!", "e\u0323\u0301", "%41", "- ", "<b", "dGVhcG90", "\\/", "а", "🔥", "=="],
)
def test_long_texts_take_no_longer_for_each_letter(piece: str) -> None:
    assert len(readings(piece * (60_000 // len(piece)), WORDS)) <= MOST
