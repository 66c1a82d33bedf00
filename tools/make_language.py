"""Make the weights that tell covered languages from others: detectors/intent/language.bin.

They are learnt from the translations that Django and Sphinx ship (BSD licences), from the standard
library's source (names, code, English), from the words of the lexicons, from scrambled letters,
and from every other line of what is given: English image prompts (`--texts`) and prose by
language (`--prose`).

    pip install django==5.2.19 sphinx==9.0.4 polib
    python tools/make_language.py [--texts prompts.txt] [--prose folder]
"""

from __future__ import annotations

import argparse
import re
import string
import sysconfig
import tomllib
import unicodedata
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import polib

from tutela.detectors.intent import language
from tutela.media.text import plain

FOLDER = Path(language.__file__).parent
COVERED = {"en", "es", "pt", "fr", "de", "it", "nl", "tr", "id", "sw", "pl", "vi", "ru", "ar", "ur"}
COVERED |= {"hi", "ms", "bn", "zh", "ja", "ko", "th"}
NEAR = {"gl", "ast", "ia", "io", "ca", "ca@valencia", "af", "fy", "lb", "br", "eo", "az", "tk"}
"""Too near to a covered language, or too mixed, to be called unreadable: not learnt from."""
EVERYDAY = {
    "sw": """
    mimi wewe yeye sisi ninyi wao huyu huyo yule hawa hao wale hii hiyo ile hizi hizo zile hiki
    hicho kile hivi hivyo vile hapa hapo pale huku huko kule leo kesho jana sasa baadaye mapema
    asubuhi mchana jioni usiku siku wiki mwezi mwaka saa dakika moja mbili tatu nne tano sita saba
    nane tisa kumi nyumba nyumbani mlango dirisha meza kiti kitanda jiko chumba bustani barabara
    njia mji kijiji nchi dunia bahari ufuo ufukweni ziwa mto mlima msitu shamba mti maua majani
    jua nyota mvua upepo wingu theluji moto maji chai maziwa mkate nyama samaki yai matunda ndizi
    chungwa embe chumvi sukari mtu watu mwanamume mwanamke mzee kijana msichana mvulana mtoto
    watoto mama baba kaka dada rafiki mwalimu mwanafunzi daktari mbwa paka ng'ombe mbuzi kuku
    ndege simba tembo twiga farasi nyoka mwavuli kofia nguo viatu shati gauni mfuko kitabu kalamu
    karatasi picha gari baiskeli treni meli mpira muziki wimbo ngoma mkono mguu kichwa uso jicho
    macho sikio mdomo pua nywele kubwa mdogo kidogo refu fupi nzuri mbaya mpya zamani safi chafu
    baridi nyeupe nyeusi nyekundu njano kijani bluu rangi anatembea anakimbia anakaa anasimama
    anacheza anakula anakunywa analala anasoma anaandika anaimba anaona anasikia anapenda anataka
    anajua anasema anakuja anakwenda alikuwa alikwenda alisema walikuwa wanacheza wanakwenda
    tunakwenda ninapenda nilikuwa itakuwa inaweza ana wana kuna hakuna wenye mwenye yenye lenye
    karibu mbali juu chini ndani nje mbele nyuma kati kando pamoja peke kwa sababu lakini kwamba
    kama ikiwa halafu kisha bado tena tayari labda hakika ndiyo hapana tafadhali asante habari
    kwaheri nani nini wapi lini vipi ngapi
    """,
}
"""Words of our own for a language of which the other sources hold few."""
EDGE = 1.2
"""The most that one run of letters may weigh."""
DROPPED = 0.5
MOST = 12_000
"""Stretches of each language from each source."""


def translations() -> Iterator[tuple[str, str]]:
    """Language and text of each message."""
    site = Path(polib.__file__).parent
    for root in ("django", "sphinx"):
        for file in sorted(site.glob(f"{root}/**/locale/*/LC_MESSAGES/*.po")):
            code = file.parts[-3]
            for entry in polib.pofile(str(file)):
                for text in [entry.msgstr] if entry.msgstr else entry.msgstr_plural.values():
                    if not entry.fuzzy:
                        yield code, text
                if code == "de":
                    yield "en", entry.msgid


def bare(text: str) -> str:
    """A message without its placeholders, as letters."""
    text = re.sub(r"%\(\w+\)[sd]|%[sdr]|\{\w*\}|<[^>]+>|&\w+;|https?://\S+|``?[^`]*``?", " ", text)
    return language.weighed(plain(text))


def unmarked(text: str) -> str:
    """Latin letters as they are typed without accents."""
    parts = unicodedata.normalize("NFD", text.translate(str.maketrans("łđøı", "ldoi")))
    return unicodedata.normalize("NFC", re.sub("[\u0300-\u036f]", "", parts))


def lexicon_words() -> dict[str, tuple[list[str], list[str]]]:
    """By language: everyday words, and all words of the lexicon."""
    found = {}
    for file in sorted((FOLDER / "lexicons").glob("*.toml")):
        lexicon = tomllib.loads(file.read_text("utf-8"))
        cues, code = lexicon["cues"], lexicon["language"]
        words = [bare(each.replace("_", " ").replace("*", "")) for each in chain(*cues.values())]
        everyday = map(bare, [*cues.get("common", []), *EVERYDAY.get(code, "").split()])
        found[code] = list(filter(None, everyday)), list(filter(None, words))
    return found


def scrambled(text: str, rng: np.random.Generator) -> str:
    """The letters of a text replaced by others, each by one or at random."""
    letters = list(string.ascii_lowercase)
    kind = rng.integers(3)
    if kind == 0:
        return text.translate(str.maketrans("".join(letters), "".join(rng.permutation(letters))))
    if kind == 1:
        return "".join(letters[rng.integers(26)] if "a" <= c <= "z" else c for c in text)
    return "".join(
        "".join(rng.permutation(list(word))) if len(word) > 2 else word
        for word in re.split("( )", text)
    )


def windows(text: str, rng: np.random.Generator) -> Iterator[str]:
    """Stretches of four to fourteen words, a quarter of them without accents."""
    words = text.split()
    at = 0
    while len(words) - at >= 4:
        count = int(rng.integers(4, 15))
        stretch = " ".join(words[at : at + count])
        yield unmarked(stretch) if rng.random() < 0.25 else stretch
        at += count


def stretches(lines: list[str], rng: np.random.Generator) -> list[str]:
    """Texts in random order, again and again up to eight times, cut into stretches."""
    run: list[str] = []
    lines = [line for line in dict.fromkeys(lines) if line]
    for _ in range(8):
        if len(run) < MOST:
            run += windows(" ".join(rng.permutation(lines).tolist()), rng)
    return run[:MOST]


def mixed(everyday: list[str], words: list[str], rng: np.random.Generator) -> str:
    """Words of a lexicon in random order, every other one an everyday word."""
    run = np.column_stack([rng.choice(everyday, 8_000), rng.choice(words, 8_000)])
    return " ".join(run.ravel().tolist())


def gather(
    texts: list[str], prose: dict[str, list[str]], rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    by: dict[str, list[str]] = {}
    for code, text in translations():
        by.setdefault(code, []).append(bare(text))
    found = [(code, stretches(messages, rng)) for code, messages in by.items()]
    found += [
        (code, stretches([bare(line) for line in lines], rng)) for code, lines in prose.items()
    ]
    lexicons = lexicon_words()
    found += [(code, list(windows(mixed(*each, rng), rng))) for code, each in lexicons.items()]
    covered, others = [], []
    for code, run in found:
        base = re.split("[_@]", code)[0]
        if code not in NEAR and base not in NEAR:
            (covered if base in COVERED else others).extend(run)
    code_lines = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:120]:
        code_lines += list(windows(bare(file.read_text("utf-8", "replace")), rng))
    lines = [line for text in texts for line in windows(bare(text), rng)]
    words = np.array([word for _, every in lexicons.values() for word in every])
    tags = [" ".join(rng.choice(words, int(rng.integers(4, 9)))) for _ in range(30_000)]
    some = np.array(sorted({word for line in [*code_lines, *lines] for word in line.split()}))
    tags += [" ".join(rng.choice(some, int(rng.integers(4, 9)))) for _ in range(30_000)]
    latin = [line for line in map(unmarked, covered) if line.isascii()]
    others += [scrambled(str(line), rng) for line in rng.choice(latin, 80_000)]
    return covered + code_lines + lines + tags, others


def learn(covered: list[str], others: list[str], rng: np.random.Generator) -> np.ndarray:
    """Logistic regression on the sum of the weights, by Adam.

    Covered languages have six times the say: to hold a clear text is the worse error.
    """
    size = language.SIZE
    features = []
    for line in covered + others:
        triples, fours = language.runs(line)
        features.append(np.concatenate([triples, fours + np.uint32(size)]))
    truth = np.array([0.0] * len(covered) + [1.0] * len(others), np.float32)
    say = np.where(truth > 0, len(truth) / len(others), 6 * len(truth) / len(covered)) / 2
    weights = np.zeros(2 * size, np.float32)
    mean, spread = np.zeros_like(weights), np.zeros_like(weights)
    step = 0
    for epoch in range(8):
        order = rng.permutation(len(truth))
        for at in range(0, len(order), 2048):
            batch = order[at : at + 2048]
            chosen = [features[i] for i in batch]
            sizes = np.array([len(each) for each in chosen])
            flat = np.concatenate(chosen)
            owner = np.repeat(np.arange(len(batch)), sizes)
            # Half of the runs are left out each time, so that none is relied on.
            keep = rng.random(len(flat)) > DROPPED
            flat, owner = flat[keep], owner[keep]
            total = (
                np.bincount(owner, weights[flat] / (1 - DROPPED), len(batch))
                - language.DRIFT * sizes / 2
            )
            off = (1 / (1 + np.exp(-np.clip(total, -30, 30))) - truth[batch]) * say[batch]
            slope = np.bincount(flat, off[owner], 2 * size) / len(batch) + 2e-6 * weights
            step += 1
            mean = 0.9 * mean + 0.1 * slope
            spread = 0.999 * spread + 0.001 * slope**2
            rate = 0.03 * (1 - epoch / 8)
            weights -= (
                rate * (mean / (1 - 0.9**step)) / (np.sqrt(spread / (1 - 0.999**step)) + 1e-8)
            )
            np.clip(weights, -EDGE, EDGE, out=weights)
        print(f"epoch {epoch + 1}: {np.mean((total > 0) == (truth[batch] > 0)):.4f} right")
    return np.round(weights * language.SCALE).astype(np.int8).reshape(2, size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, help="English image prompts, one a line")
    parser.add_argument("--prose", type=Path, help="folder of es.txt, sv.txt …: texts, one a line")
    parser.add_argument("--to", type=Path, default=FOLDER / "language.bin", help="file made")
    given = parser.parse_args()
    rng = np.random.default_rng(7)
    texts = given.texts.read_text("utf-8").splitlines()[::2] if given.texts else []
    files = sorted(given.prose.glob("*.txt")) if given.prose else []
    prose = {file.stem: file.read_text("utf-8").splitlines()[::2] for file in files}
    covered, others = gather(texts, prose, rng)
    print(f"{len(covered)} stretches of covered languages, {len(others)} of others")
    given.to.write_bytes(learn(covered, others, rng).tobytes())


if __name__ == "__main__":
    main()
