"""Texts in covered languages are readable; those in others, or in none, are not."""

from __future__ import annotations

import string
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutela.detectors.intent import language
from tutela.detectors.intent.language import (
    FEWEST,
    PASSAGE,
    SIZE,
    against,
    identify,
    runs,
    weighed,
)
from tutela.media.text import plain

COVERED = {
    "en": "A child in a yellow raincoat jumps over a puddle while her dog is watching",
    "es": "Una niña con un paraguas amarillo camina por la playa con su perro",
    "pt": "Uma menina com um guarda-chuva amarelo caminha na praia com o seu cachorro",
    "fr": "Une petite fille avec un parapluie jaune marche sur la plage avec son chien",
    "de": "Ein kleines Mädchen mit einem gelben Regenschirm läuft mit dem Hund am Strand",
    "it": "Una bambina con un ombrello giallo cammina sulla spiaggia con il suo cane",
    "nl": "Een klein meisje met een gele paraplu loopt met haar hond over het strand",
    "tr": "Sarı şemsiyeli küçük bir kız köpeğiyle birlikte sahilde yürüyor",
    "id": "Seorang anak perempuan dengan payung kuning berjalan di pantai bersama anjingnya",
    "sw": "Msichana mdogo mwenye mwavuli wa njano anatembea ufukweni na mbwa wake",
    "pl": "Mała dziewczynka z żółtym parasolem idzie po plaży ze swoim psem",
    "vi": "Một bé gái cầm chiếc ô màu vàng đi dạo trên bãi biển với con chó của mình",
    "ru": "Маленькая девочка с жёлтым зонтом идёт по пляжу со своей собакой",
    "ar": "فتاة صغيرة تحمل مظلة صفراء وتمشي على الشاطئ مع كلبها",
    "ur": "ایک چھوٹی بچی پیلی چھتری لے کر اپنے کتے کے ساتھ ساحل پر چل رہی ہے",
    "hi": "एक छोटी लड़की पीली छतरी लेकर अपने कुत्ते के साथ समुद्र तट पर चल रही है",
    "bn": "একটি ছোট মেয়ে হলুদ ছাতা নিয়ে তার কুকুরের সাথে সৈকতে হাঁটছে",
    "th": "เด็กหญิงถือร่มสีเหลืองเดินบนชายหาดกับสุนัขของเธอ",
    "zh": "一个小女孩打着黄色的雨伞和她的狗在海滩上散步",
    "ja": "黄色い傘をさした小さな女の子が犬と一緒に浜辺を歩いている",
    "ko": "노란 우산을 든 어린 소녀가 강아지와 함께 해변을 걷고 있다",
}
UNCOVERED = {
    "Swedish": "En liten flicka med ett gult paraply går längs stranden tillsammans med sin hund",
    "Finnish": "Pieni tyttö keltaisen sateenvarjon kanssa kävelee rannalla koiransa kanssa",
    "Hungarian": "Egy kislány sárga esernyővel sétál a tengerparton a kutyájával együtt",
    "Czech": "Malá holčička se žlutým deštníkem se prochází po pláži se svým psem",
    "Romanian": "O fetiță cu o umbrelă galbenă se plimbă pe plajă împreună cu câinele ei",
    "Lithuanian": "Maža mergaitė su geltonu skėčiu vaikšto paplūdimiu kartu su savo šunimi",
    "Basque": "Neskato txiki bat aterki hori batekin hondartzan dabil bere txakurrarekin",
    "Welsh": "Mae merch fach gydag ymbarél melyn yn cerdded ar y traeth gyda'i chi",
    "Greek": "Ένα κοριτσάκι με κίτρινη ομπρέλα περπατά στην παραλία με τον σκύλο της",
    "Hebrew": "ילדה קטנה עם מטרייה צהובה הולכת על החוף עם הכלב שלה",
    "Tamil": "மஞ்சள் குடையுடன் ஒரு சிறுமி தன் நாயுடன் கடற்கரையில் நடக்கிறாள்",
    "Armenian": "Փոքրիկ աղջիկը դեղին հովանոցով քայլում է ծովափին իր շան հետ",
    "Georgian": "პატარა გოგონა ყვითელი ქოლგით სეირნობს სანაპიროზე თავის ძაღლთან ერთად",
    "Amharic": "አንዲት ትንሽ ልጅ ቢጫ ጃንጥላ ይዛ ከውሻዋ ጋር በባህር ዳርቻ ትሄዳለች",
}
NEUTRAL = [
    "",
    "   ",
    "👧🐕🌊",
    "42",
    "zebra",
    "Zlatan Ibrahimović",
    "sdxl, 8k, masterpiece, best quality, bokeh, artstation, octane render, unreal engine 5",
    "1girl, solo, long hair, looking at viewer, smile, school uniform, cherry blossoms",
    "Nikon D850 f1.8 iso100 85mm Kodachrome, IKEA Malm dresser, Samsung Galaxy S23 Ultra",
    "greg rutkowski, alphonse mucha, wlop, ilya kuvshinov, makoto shinkai, hayao miyazaki",
    "spaghetti carbonara, bibimbap, tiramisu, sushi, croissants and tacos on a wooden table",
    "def resize(image, width=512): return image.resize((width, width), Image.LANCZOS)",
    "<lora:add_detail:0.8> score_9, score_8_up, source_anime, rating_safe, BREAK",
    "α and β in the formula E = mc², Ω resistance",
    "tyrannosaurus rex, velociraptor, triceratops and stegosaurus at the Grand Canyon",
]

PROSE = [
    "Donde falta el tiempo tambien falta la paciencia. -- Johann Wolfgang von Goethe",
    "No basta con mirar la luna; ademas hay que salir. -- Friedrich Nietzsche",
    "Wer zuletzt kocht, ißt am längsten. -- Aleksandr Solženicyn",
    "Il gatto e' piu' furbo di me, perche' dorme. -- Arthur Schopenhauer",
    "Wczoraj bylem u babci i zjadlem caly tort, a potem juz tylko spalem",
    "Кто рано встаёт, тот весь день зевает. -- Народная мудрость",
    "Qui dort dîne, disait Rabindranath Tagore à Wisława Szymborska",
    "Chiếc thuyền nhỏ của bà ngoại đậu cạnh bến sông, ngoài ấy trời đã tối và gió thổi rất mạnh",
    "床前的小猫喜欢看雨, 用 numpy matplotlib scipy 画图",
]
"""Sayings of our own, with names from elsewhere and as people type them."""


@pytest.mark.parametrize("text", PROSE)
def test_names_and_missing_accents_condemn_no_prose(text: str) -> None:
    assert identify(plain(text)).readable


@pytest.mark.parametrize("code", COVERED)
def test_covered_languages_are_readable_and_named(code: str) -> None:
    found = identify(plain(COVERED[code]))
    assert found.readable
    assert found.likelihood < 0.2
    assert found.code == code


def test_other_languages_are_not_readable() -> None:
    found = {name: identify(plain(text)) for name, text in UNCOVERED.items()}
    assert all(each.readable == (each.likelihood < 0.5) for each in found.values())
    assert all(each.code == "und" for each in found.values() if not each.readable)
    # One short sentence may pass; most do not.
    assert sum(not each.readable for each in found.values()) >= len(UNCOVERED) - 1


def test_words_in_clear_hide_no_passage() -> None:
    for text in UNCOVERED.values():
        passage = f"{text}. {text}"
        if not identify(plain(passage)).readable:
            assert not identify(plain(f"{COVERED['en']}. {passage}. {COVERED['en']}")).readable


def test_a_few_foreign_words_condemn_no_longer_text() -> None:
    quoted = " ".join(UNCOVERED["Swedish"].split()[: PASSAGE // 2])
    assert identify(plain(f"{COVERED['en']}, and says: {quoted}. {COVERED['en']}")).readable


@pytest.mark.parametrize("text", NEUTRAL)
def test_names_tags_and_code_are_readable(text: str) -> None:
    assert identify(plain(text)).readable


def test_scrambled_letters_are_not_readable() -> None:
    letters = string.ascii_lowercase
    rng = Random(5)
    caught = 0
    for _ in range(40):
        table = str.maketrans(letters, "".join(rng.sample(letters, 26)))
        caught += not identify(f"{COVERED['en']} {COVERED['es']}".lower().translate(table)).readable
    assert caught >= 38


def test_few_words_are_too_few_to_tell() -> None:
    words = UNCOVERED["Finnish"].split()
    assert identify(" ".join(words[: FEWEST - 1])).readable
    assert not identify("Καλημέρα").readable


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_text_has_a_likelihood(text: str) -> None:
    found = identify(text)
    assert 0 <= found.likelihood <= 1
    assert found.readable == (found.likelihood < 0.5)
    assert found == identify(text)


@given(st.text(max_size=100))
def test_runs_have_a_weight_each(text: str) -> None:
    triples, fours = runs(text)
    assert len(triples) == len(text)
    assert len(fours) == max(0, len(text) - 1)
    assert (triples < SIZE).all()
    assert (fours < SIZE).all()


def worst(letters: str) -> float:
    """Every passage summed by itself; a run belongs to the word before it, or that it begins in."""
    triples, fours = runs(letters)
    weights = np.frombuffer(
        (language.resources.files(language.__package__) / "language.bin").read_bytes(), np.int8
    ).reshape(2, SIZE)
    each = [weights[0][run] / language.SCALE - language.DRIFT for run in triples]
    for at, run in enumerate(fours):
        each[at] += weights[1][run] / language.SCALE
    words = letters.split(" ")
    at = [0]
    for word in words[:-1]:
        at.append(at[-1] + len(word) + 1)
    at.append(len(each))
    fewest = min(PASSAGE, len(words))
    return max(
        sum(each[at[begin] : at[end]])
        for begin in range(len(words))
        for end in range(begin + fewest, len(words) + 1)
    )


@given(st.lists(st.text("abeiostłяж", min_size=1, max_size=6), max_size=20).map(" ".join))
def test_the_worst_passage_is_found(letters: str) -> None:
    assert against(letters) == pytest.approx(worst(letters), abs=1e-3)


def test_letters_of_covered_scripts_stand_together() -> None:
    assert weighed("नमस्ते") == "नमस्ते"
    assert len(set(weighed("雨が비ฝনা").replace(" ", ""))) == 1
