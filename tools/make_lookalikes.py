"""Make the table of characters that look like Latin letters: src/tutela/media/lookalikes.tsv.

Each line is a letter, the characters that Unicode's confusables data takes for it, and those that
only stylised writing takes for it, parted by tabs. Characters that NFKC already turns into the
letter are left out.

    pip install confusable-homoglyphs
    python tools/make_lookalikes.py
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from importlib import resources
from pathlib import Path

TABLE = Path(__file__).parents[1] / "src" / "tutela" / "media" / "lookalikes.tsv"
LETTERS = "abcdefghijklmnopqrstuvwxyz"

# Alphabets of letters borrowed from other scripts, as decorated names use them; "." has none.
STYLISED = """
₳฿₵ĐɆ₣₲Ⱨł.₭Ⱡ₥₦Ø₱.Ɽ₴₮ɄV₩ӾɎⱫ
卂乃匚ᗪ乇千Ꮆ卄丨ﾌҜㄥ爪几ㄖ卩Ɋ尺丂ㄒㄩᐯ山乂ㄚ乙
ﾑ乃.ᗞ乇ｷ.んﾉﾌズﾚﾶ刀.ｱ.尺丂ｲ.√.ﾒﾘ乙
ᏗᏰፈᎴᏋᎦᎶᏂᎥᏠᏦᏝᎷᏁᎧᎮᎤᏒᏕᏖᏬᏉᏇጀᎩፚ
ᗩᗷᑕᗪ.ᖴ.ᕼ.ᒍ.ᒪᗰᑎ.ᑭᑫᖇ..ᑌᐯᗯ᙭.ᘔ
αв¢∂єƒ.нιנкℓмησρ.яѕтυνωχу.
ąҍçժҽƒցհìʝҟӀʍղօքզɾʂէմѵա.վՀ
ค๒ς๔єŦﻮђเןкɭ๓ภ๏קợгรτยשฬאץ.
ǟɮƈɖɛʄɢɦɨʝӄʟʍռօքզʀֆȶʊʋաӼʏʐ
ԹՅՇԺȝԲԳɧɿʝƙʅʍՌԾρφՐՏԵՄעաՃՎՀ
ልጌርዕቿቻኗዘጎጋጕረጠክዐየዒዪነፕሁሀሠሸሃጊ
ꍏꌃꉓꀸꍟꎇꁅꃅꀤꀭꀘ꒒ꂵꈤꂦꉣꆰꋪꌗ꓄ꀎꃴꅏꊼꌩꁴ
ДБ..Ξ.....Ҝ..И.ФǪЯ.ГЦ.ЩЖУ.
ΛВϾԀΣ....Ј..ШЙФР..Š.Ц.ШЖЧ.
..ㄈ....廾工丁长乚.冂口ㄗ..ㄎ七凵.川メ丫之
дБçđэ..ЋїљќĿмиθρ.гѕтцνшжўż
.ъ..ё.....κ..пф..ɹ.ţџ.щ..ʒ
...........ا.....ر........
⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵
ɐ...ǝɟƃɥᴉɾʞꞁɯ....ɹ.ʇ.ʌʍ.ʎ.
∀𐐒Ɔ◖ƎℲ⅁....⅂...Ԁ.ᴚ.⊥∩Λ..⅄.
∂.ↄ..⨍.♄..⋊..∏⊙..®§†⊔∨.×¥.
🅰🅱©.ℯ.....κ.ⓜ.🅾🅿..💲✝⛎♈〰❌..
....ԑ.ԍ...ҡӏ..ө...........
..☪.📧.......♏♑⭕..®...✔.✖..
Λ.ↃↁƐ......ℓ........Ʊ.Ɯ..Ƹ
""".split()  # noqa: SIM905

NAMED = (
    r"LATIN (?:SMALL|CAPITAL) LETTER (?:SMALL CAPITAL |TURNED |REVERSED |SIDEWAYS |INSULAR |SCRIPT "
    r"|BLACKLETTER |LONG |CLOSED |DOTLESS |AFRICAN |VOLAPUK |EGYPTOLOGICAL )*([A-Z])(?: WITH .*)?",
    r"LATIN LETTER (?:SMALL CAPITAL |TURNED |REVERSED |INVERTED )*([A-Z])(?: WITH .*)?",
    r"MODIFIER LETTER (?:SMALL |CAPITAL |TURNED |REVERSED )+([A-Z])(?: WITH .*)?",
    r"LATIN SUBSCRIPT SMALL LETTER ([A-Z])",
    r"(?:NEGATIVE |CROSSED NEGATIVE )?(?:SQUARED|CIRCLED|RAISED) (?:SMALL |LATIN )+"
    r"(?:CAPITAL |SMALL )?(?:LETTER )?([A-Z])",
    r"(?:NEGATIVE |CROSSED NEGATIVE )?(?:SQUARED|CIRCLED) LATIN (?:CAPITAL|SMALL) LETTER ([A-Z])",
    r"REGIONAL INDICATOR SYMBOL LETTER ([A-Z])",
)
OTHERS = {"LATIN SMALL LETTER ALPHA": "a", "LATIN SMALL LETTER DOTLESS I": "i"}


def plain(char: str) -> str:
    """What case folding and compatibility composition make of a character, without its marks."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", char).lower())
    return "".join(c for c in folded if not unicodedata.combining(c))


def confusables() -> dict[str, str]:
    text = resources.files("confusable_homoglyphs").joinpath("confusables.json").read_text("utf-8")
    found: dict[str, str] = {}
    for char, entries in json.loads(text).items():
        if len(char) != 1 or char.isascii():
            continue
        for entry in entries:
            other = entry["c"]
            if len(other) == 1 and other.isascii() and other.isalpha():
                # The data's own fold of i, l and 1 is to l, whatever the case.
                found.setdefault(char, "i" if other == "I" else other.lower())
    for char, letter in list(found.items()):
        if letter == "l" and char.lower() != char and found.get(char.lower()) == "i":
            found[char] = "i"
    return found


def named(char: str) -> str:
    name = unicodedata.name(char, "")
    if name in OTHERS:
        return OTHERS[name]
    for pattern in NAMED:
        match = re.fullmatch(pattern, name)
        if match:
            return match[1].lower()
    return ""


def main() -> None:
    sure = confusables()
    style: dict[str, str] = {}
    for code in range(0xA0, sys.maxunicode + 1):
        char = chr(code)
        letter = named(char)
        if letter and char not in sure:
            style[char] = letter
    for alphabet in STYLISED:
        if len(alphabet) != len(LETTERS):
            raise SystemExit(f"{alphabet} has {len(alphabet)} characters")
        for letter, char in zip(LETTERS, alphabet, strict=True):
            for form in {char, char.lower(), char.upper(), unicodedata.normalize("NFKC", char)}:
                if form != "." and len(form) == 1 and not form.isascii() and form not in sure:
                    style.setdefault(form, letter)
    # Letters with a stroke, tail or hook are taken for the letter without.
    for code in range(0x370, 0x600):
        char = chr(code)
        base, _, rest = unicodedata.name(char, "").partition(" WITH ")
        if rest and char not in sure and char not in style:
            try:
                letter = sure.get(unicodedata.lookup(base))
            except KeyError:
                continue
            if letter:
                style[char] = letter
    lines = []
    for letter in LETTERS:
        rows = []
        for table in (sure, style):
            chars = [c for c, to in table.items() if to == letter and plain(c) != letter]
            rows.append("".join(sorted(chars)))
        lines.append("\t".join([letter, *rows]))
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{sum(len(line) - 3 for line in lines)} characters in {TABLE.name}")


if __name__ == "__main__":
    main()
