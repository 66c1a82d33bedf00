"""Compose: what a text asks for, told by which roles meet in it and how near.

No word decides alone. Features are combinations of roles: an age cue beside sexualisation or
undressing, clothes that are removed from somebody who is shown, a minor who is won over in secret.
Each is 1 where its roles stand together and falls to 0 with distance. A small logistic model over
the features gives likelihoods; a core combination has a floor, below which the model can't push it.

What may lower a likelihood is narrow on purpose: never a word that merely stands in the text (who
asks for harm adds such words), but only a construction that changes what is said of the harmful
words themselves. `docs/design/intent.md` lists them all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final, TypeAlias

from tutela.detectors.intent.scene import Hits, Scene, cared, governed, served, told, without
from tutela.detectors.intent.words import Hit
from tutela.findings import ADULT_SEXUAL, CHILD_EXPLOITATION, CHILD_SEXUALISATION, NUDIFICATION

CORE: Final[dict[str, float]] = {
    "nudify": 0.95,
    "undress known": 0.93,
    "strip known": 0.93,
    "strip picture": 0.9,
    "strip with tool": 0.9,
    "strip": 0.6,
    "garment of known": 0.85,
    "clothes to bare": 0.9,
    "known in porn": 0.88,
    "known in sexual picture": 0.6,
    "clothes to skin": 0.92,
    "undress with tool": 0.85,
    "unwanted clothes": 0.9,
    "minor undressed": 0.96,
    "minor sexual": 0.95,
    "minor stripped": 0.93,
    "minor crime shown": 0.95,
    "young undressed": 0.85,
    "young sexual made": 0.82,
    "young sexual": 0.6,
    "minor unwanted clothes": 0.9,
    "crime": 0.94,
    "crime named": 0.6,
    "drawn": 0.7,
    "material sought": 0.95,
    "minor pressed": 0.9,
    "minor in secret": 0.88,
    "minor unseen": 0.9,
    "marked unseen": 0.9,
    "marked abused": 0.85,
    "marked approached for sex": 0.9,
    "marked pressed": 0.88,
    "marked courted": 0.85,
    "marked groomed": 0.7,
    "minor courted": 0.85,
    "minor abused": 0.9,
    "minor approached for sex": 0.93,
    "minor courted by adult": 0.85,
    "code of minor": 0.85,
    "code sought": 0.8,
    "harm defended": 0.9,
    "young pressed": 0.85,
    "young unseen": 0.6,
    "young abused": 0.6,
    "young approached for sex": 0.7,
}
"""The combinations that suffice alone, each with the least likelihood that it gives."""
MET: Final = 0.8
"""How near a core combination must be to have its floor."""

TERSE: Final = 14
"""Words of a sentence so short that it may ask for something without saying so."""
LOOSE: Final = frozenset({"is", "only", "just", "are", "was"})
"""Words that begin an age no unit of which is said."""


class Facts:
    """What stands in a scene, once what is said of it is taken into account."""

    def __init__(self, scene: Scene, strict: frozenset[int]) -> None:
        self.scene = scene
        self.strict = strict
        grades = [g for g in scene["grade"] if _beside(scene, [g], scene["young person child"], 2)]
        self.minor: Hits = [*scene["child"], *_ages(scene), *grades]
        # "young woman", "young smiling woman" say that she is adult, where they stand together.
        named = {(hit.start, hit.end) for hit in scene["person"]}
        self.young: Hits = [
            hit
            for hit in scene["young"]
            if not any(
                0 <= other.start - hit.end <= ((hit.start, hit.end) not in named)
                for other in scene["adult"]
            )
        ]
        self.named: Hits = scene["abuse exploit"]
        harms = scene["abuse exploit groom coax nudify drawn sexual undress bare remove send"]
        spoken = told(scene, harms, strict)
        excused = [*governed(scene, scene["abuse exploit groom nudify drawn"]), *spoken]
        self.crime = without(scene["exploit"], excused)
        self.abuse = without(scene["abuse"], excused)
        self.groom = without(scene["groom"], excused)
        self.nudify = without(scene["nudify"], excused)
        self.sexual = without(scene["sexual"], [*self.named, *spoken])
        self.drawn = without(scene["drawn"], excused)
        self.undress = without(scene["undress"], [*scene["doing"], *excused])
        self._asking: set[int] | None = None
        generic = {(hit.start, hit.end) for hit in scene["adult young"]}
        self.known: Hits = [
            *scene["known"],
            *(
                hit
                for hit in scene["person"]
                if hit.language not in strict and (hit.start, hit.end) not in generic
            ),
        ]
        self.coax = without(scene["coax"], excused)
        self.bare = without(scene["bare"], spoken)
        self.strip = without(self._strips(scene["clothes"], told=True), spoken)
        self.outer = without(self._strips(scene["garment"]), spoken)
        self.private: Hits = [
            *self.sexual,
            *self.undress,
            *self.nudify,
            *self.strip,
            *self.bare,
        ]
        """What is sexual or undressed, by any of its names."""
        self.send = without(scene["send"], spoken)
        worn = scene["clothes garment"]
        self.stripped = without(self._strips(worn, told=True), spoken)

    def asked(self, hit: Hit) -> bool:
        """Whether a sentence may ask for something: it, or one beside it, says so, or it is as
        short as an order or a list of what is to be shown."""
        sentences = self.scene.text.sentences
        if self._asking is None:
            wants = self.scene["make remove picture tool seek send ask secret unseen"]
            own = {(one.start, one.end) for one in self.undress}
            said = {sentences[one.start] for one in wants if (one.start, one.end) not in own}
            self._asking = {near + by for near in said for by in (-1, 0, 1)}
        sentence = sentences[hit.start]
        if sentence in self._asking:
            return True
        here = sentences[self.scene.start : self.scene.end]
        return bisect_right(here, sentence) - bisect_left(here, sentence) <= TERSE

    def _strips(self, clothes: Hits, told: bool = False) -> Hits:
        """Clothes that are taken off or away: not a stain on them. What somebody does as a matter
        of fact is left out, unless `told`."""
        scene = self.scene
        doing = [] if told else scene["doing"]
        taking = [hit for hit in scene["remove"] if not any(_over(done, hit) for done in doing)]
        # "A man without a shirt" describes; "show him without" asks.
        lacking = scene["lacking"] if scene["make ask seek tool"] else []
        found: Hits = []
        for worn in clothes:
            for taken in (*taking, *lacking):
                apart = scene.apart(taken, worn)
                if taken.start <= worn.start:
                    if apart > 3:
                        continue
                    if any(taken.end <= spot.start < worn.start for spot in scene["spot"]):
                        continue
                elif (
                    apart > 2
                    or taken not in taking
                    or any(worn.end <= spot.start < taken.start for spot in scene["spot"])
                ):
                    continue
                start, end = min(taken.start, worn.start), max(taken.end, worn.end)
                found.append(Hit(start, end, worn.language, True))
                break
        return found


def _ages(scene: Scene) -> Hits:
    """Ages of somebody: a number at the end of its phrase ("only two groups", "is 13") is one where
    nothing counts on from it or somebody stands close by in its sentence."""
    found: Hits = []
    words, sentences = scene.text.words, scene.text.sentences
    who: Hits | None = None
    for hit in scene["age"]:
        if hit.end - hit.start > 1 and words[hit.start] in LOOSE and hit.end < scene.end:
            if who is None:
                who = scene["person young child known picture self own"]
            if not any(
                sentences[other.start] == sentences[hit.start]
                and (other.start >= hit.end or other.end <= hit.start)
                and scene.apart(other, hit) <= (1 if other.start >= hit.end else 3)
                for other in who
            ):
                continue
        found.append(hit)
    return found


def _over(one: Hit, other: Hit) -> bool:
    return one.start < other.end and other.start < one.end


def _opens(scene: Scene, hit: Hit) -> bool:
    """Whether a hit begins its part of a sentence, as an order does."""
    clauses = scene.text.clauses
    return hit.start == scene.start or clauses[hit.start - 1] != clauses[hit.start]


def _beside(scene: Scene, one: Hits, other: Hits, within: float) -> bool:
    return bool(one) and bool(other) and scene.nearest(one, other) <= within


Found: TypeAlias = dict[str, dict[str, float]]
"""Of each kind, the combinations that stand in a scene, with how near their roles are."""


def combinations(scene: Scene, strict: frozenset[int], unwanted: bool) -> Found:
    """Every combination that a scene shows. `strict` are the languages whose lexicons are;
    `unwanted` is whether clothes are among what is not to be shown."""
    facts = Facts(scene, strict)
    found = {
        NUDIFICATION: _nudification(facts, unwanted),
        CHILD_SEXUALISATION: _sexualisation(facts, unwanted),
        CHILD_EXPLOITATION: _exploitation(facts),
        ADULT_SEXUAL: _adult(facts),
    }
    return {
        kind: {name: value for name, value in names.items() if value > 0.0}
        for kind, names in found.items()
    }


def _nudification(facts: Facts, unwanted: bool) -> dict[str, float]:
    scene, known = facts.scene, facts.known
    shown = scene["person known picture young child"]
    making = scene["make remove"]
    found: dict[str, float] = {}
    if facts.nudify:
        target = scene["person known picture tool young child adult"]
        found["nudify"] = scene.meet(facts.nudify, target, over=True)
        found["nudify named"] = 1.0
    if facts.strip:
        found["strip known"] = scene.meet(facts.strip, known, near=8, over=True)
        found["strip picture"] = scene.meet(facts.strip, scene["picture"], near=8)
        found["strip with tool"] = scene.meet(facts.strip, scene["tool"], near=8)
        if not _beside(scene, facts.strip, scene["lying"], 7):
            opens = any(_opens(scene, hit) for hit in facts.strip)
            found["strip" if opens or scene["make tool picture ask seek"] else "strips"] = 1.0
    if facts.outer:
        found["garment of known"] = scene.meet(facts.outer, known, near=3, far=8, over=True)
        found["garment of person"] = scene.meet(facts.outer, scene["person adult"], near=5)
        if not _beside(scene, facts.outer, scene["lying"], 7):
            found["garment"] = 1.0
    if facts.undress:
        aimed = _aimed(facts)
        found["undress known"] = scene.meet(aimed, known, near=8)
        found["undress with tool"] = scene.meet(facts.undress, scene["tool"], shown)
        if not _beside(scene, facts.undress, scene["adult"], 3):
            pictures = [hit for hit in scene["picture"] if hit.language not in facts.strict]
            found["undress picture"] = scene.meet(facts.undress, pictures, making)
        worn = scene["clothes garment"]
        found["clothes to skin"] = scene.meet(scene["make"], worn, facts.undress, near=6, far=12)
    if facts.sexual and scene["picture"]:
        found["known in sexual picture"] = scene.meet(facts.sexual, known, scene["picture"])
    if scene["fake"]:
        found["known in porn"] = scene.meet(
            scene["fake"], [*facts.sexual, *facts.undress], scene["known person young"]
        )
    if facts.bare:
        worn = scene["clothes garment"]
        found["bare known"] = scene.meet(facts.bare, known, making)
        found["clothes to bare"] = scene.meet(scene["make"], worn, facts.bare, near=6, far=12)
    if unwanted and scene["person known young child adult age"]:
        found["unwanted clothes"] = 1.0
    return found


def _aimed(facts: Facts) -> Hits:
    """Undressing that may be meant for somebody in particular: not what stands in a sentence that
    asks for nothing, apart from whoever is known, nor a plain description ("a naked man on his
    bike") that asks for no edit."""
    scene = facts.scene
    aimed = [
        hit for hit in facts.undress if facts.asked(hit) or scene.nearest([hit], facts.known) == 0
    ]
    if scene["make remove tool picture"]:
        return aimed
    generic = [h for h in scene["adult"] if not any(_over(h, k) for k in scene["known"])]
    return [
        hit
        for hit in aimed
        if not any(
            0 <= other.start - hit.end <= 1 or 0 <= hit.start - other.end <= 1 for other in generic
        )
    ]


def _sexualisation(facts: Facts, unwanted: bool) -> dict[str, float]:
    scene, minor, young = facts.scene, facts.minor, facts.young
    found: dict[str, float] = {}
    if not minor and not young:
        return found
    shown = scene["picture make tool seek send"]
    undressed = [*facts.undress, *facts.nudify]
    if not scene["make picture sexual suggestive seek send tool groom secret unseen"]:
        undressed = _unbathed(scene, undressed)
    if minor:
        found["minor undressed"] = scene.meet(minor, undressed, near=10)
        found["minor sexual"] = scene.meet(minor, facts.sexual, near=10)
        found["minor stripped"] = scene.meet(minor, facts.stripped, near=6, far=16, over=True)
        found["minor bare"] = scene.meet(minor, facts.bare, near=6, far=16)
        found["minor bare shown"] = scene.meet(minor, facts.bare, shown, near=6, far=16)
        found["minor crime shown"] = scene.meet(
            facts.crime, scene["picture make tool"], near=6, far=16
        )
        several = {hit.start for hit in scene["suggestive"]}
        if several:
            found["minor suggestive"] = scene.meet(minor, scene["suggestive"])
            if len(several) > 1:
                found["minor twice suggestive"] = scene.meet(minor, scene["suggestive"])
        if unwanted:
            found["minor unwanted clothes"] = 1.0
    young = [hit for hit in young if facts.asked(hit)]
    if young:
        found["young undressed"] = scene.meet(young, undressed, near=8, far=20)
        found["young sexual"] = scene.meet(young, facts.sexual, near=6, far=16)
        found["young sexual made"] = scene.meet(young, facts.sexual, shown, near=6, far=16)
        found["young bare"] = scene.meet(young, facts.bare, shown, near=6, far=16)
    elif facts.crime:
        found["minor crime shown"] = scene.meet(
            facts.crime, scene["picture make tool"], near=6, far=16
        )
    return found


def _unbathed(scene: Scene, undressed: Hits) -> Hits:
    """Without what is said of a baby in its bath or on a changing table."""
    small = scene["infant"]
    washed = scene.before(small, scene["bath parenting"], 8) if small else []
    if not washed:
        return undressed
    return [hit for hit in undressed if scene.nearest([hit], small) > 2]


def _exploitation(facts: Facts) -> dict[str, float]:
    scene = facts.scene
    own = [*scene["own"], *_everyday(scene), *served(scene), *cared(scene)]
    found = {**_material(facts), **_approach(facts, "minor", facts.minor)}
    found |= _approach(facts, "young", facts.young)
    found |= _approach(facts, "marked", without(scene["marked"], scene["own"]))
    found |= _interest(facts, "minor", without(facts.minor, own))
    found |= _interest(facts, "young", without(facts.young, own))
    found |= _interest(facts, "marked", without(scene["marked age"], own))
    people = [*facts.minor, *facts.young]
    love = [*facts.sexual, *scene["romance abuse exploit"]]
    found["harm defended"] = scene.meet(scene["justify"], people, love, near=8)
    return found


def _material(facts: Facts) -> dict[str, float]:
    """Pictures and films of abuse: sought, traded, hidden; and those who are drawn to them."""
    scene = facts.scene
    found: dict[str, float] = {}
    if facts.crime:
        dealt = scene[
            "seek make picture send tool contact secret unseen justify adult self place ask"
        ]
        found["crime"] = scene.meet(facts.crime, dealt, near=10)
        found["crime named"] = 1.0
    if facts.drawn:
        wants = scene["seek contact self justify place picture secret sexual make child young ask"]
        found["drawn"] = scene.meet(facts.drawn, wants)
        found["drawn named"] = 1.0
    if scene["code"]:
        found["code sought"] = scene.meet(scene["code"], scene["seek"], near=3, far=8)
        found["code of minor"] = scene.meet(scene["code"], scene["child age young"])
    found["material sought"] = scene.meet(
        facts.minor, scene["picture"], facts.private, scene["seek send"], near=8
    )
    return found


def _everyday(scene: Scene) -> Hits:
    """Minors of whom something everyday is said right behind ("… to eat"), or right before
    ("clothes for …"), in the same part of the sentence."""
    clauses = scene.text.clauses
    return [
        who
        for who in scene["child age young marked"]
        if any(
            clauses[daily.start] == clauses[who.start]
            and (0 <= daily.start - who.end <= 3 or 0 <= who.start - daily.end <= 2)
            for daily in scene["daily"]
        )
    ]


def _approach(facts: Facts, name: str, who: Hits) -> dict[str, float]:
    """Somebody who is, or may be, a minor: won over, abused, met or hidden for what is plain."""
    if not who:
        return {}
    scene, private = facts.scene, facts.private
    pressed = [*facts.groom, *facts.coax]
    wants = [*private, *facts.send, *scene["secret unseen romance"]]
    hidden = scene["ask contact seek picture groom coax romance abuse"]
    reached = [*facts.send, *scene["contact self seek groom secret unseen"]]
    return {
        f"{name} pressed": scene.meet(pressed, who, wants, near=8),
        f"{name} unseen": scene.meet(scene["unseen"], who, hidden, near=8),
        f"{name} abused": scene.meet(who, facts.abuse, near=6, far=20),
        f"{name} approached for sex": scene.meet(who, private, reached, near=8),
    }


def _interest(facts: Facts, name: str, who: Hits) -> dict[str, float]:
    """The same of one who is not the speaker's own, where what is wanted is less plain."""
    if not who:
        return {}
    scene = facts.scene
    dealing = [
        *scene["contact picture romance abuse"],
        *facts.send,
        *facts.groom,
        *facts.coax,
    ]
    courted = scene.before(scene["romance"], who, 2)
    courting = scene["self ask seek justify make grown"]
    adult = scene["adult grown"]
    meet = scene.meet
    return {
        f"{name} asked about": meet(scene["ask self"], who, near=10),
        f"{name} groomed": meet(facts.groom, who, near=8),
        f"{name} coaxed": meet(facts.coax, who, near=8),
        f"{name} coaxed in place": meet(facts.coax, who, scene["place contact"], near=8),
        f"{name} in secret": meet(scene["secret"], who, dealing, near=8),
        f"{name} secret": meet(scene["secret unseen"], who, near=8),
        f"{name} courted": meet(courted, courting, near=8),
        f"{name} courted by adult": meet(scene["romance"], adult, who, near=8),
        f"{name} romance": meet(who, scene["romance"], near=4, far=14),
        f"{name} asked for love": meet(scene["ask send self"], who, scene["romance"]),
        f"{name} asked of": meet(scene["ask seek"], who, scene["contact"], near=4),
        f"{name} met by adults": meet(adult, scene["contact"], who, near=2),
        f"{name} of body": meet(
            who, scene["suggestive bare"], scene["send coax seek ask"], near=6, far=14
        ),
        f"{name} contacted": meet(who, scene["contact"], near=4, far=14),
        f"{name} contacted by speaker": meet(who, scene["contact"], scene["self"], near=6, far=16),
        f"{name} sought": meet(scene["seek"], who, near=2, far=8),
        f"{name} asked for pictures": meet([*facts.send, *scene["seek"]], scene["picture"], who),
        f"{name} in place": meet(who, scene["place"], scene["contact secret unseen groom"]),
        f"{name} defended": meet(who, scene["justify"], scene["ask make"]),
    }


def _adult(facts: Facts) -> dict[str, float]:
    scene = facts.scene
    return {
        "sexual": 1.0 if scene["sexual"] else 0.0,
        "undressed": 1.0 if facts.undress or facts.nudify or facts.strip else 0.0,
        "suggestive": 1.0 if scene["suggestive bare"] else 0.0,
        "picture sexual": scene.meet(scene["picture make"], [*scene["sexual"], *facts.undress]),
    }
