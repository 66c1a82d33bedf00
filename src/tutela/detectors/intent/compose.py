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

from typing import Final

from tutela.detectors.intent.scene import Hits, Scene, governed, told, without
from tutela.detectors.intent.words import Hit
from tutela.findings import CHILD_EXPLOITATION, CHILD_SEXUALISATION, NUDIFICATION

CORE: Final[dict[str, tuple[str, float]]] = {
    "nudify": (NUDIFICATION, 0.95),
    "undress known": (NUDIFICATION, 0.93),
    "strip known": (NUDIFICATION, 0.93),
    "strip picture": (NUDIFICATION, 0.9),
    "strip with tool": (NUDIFICATION, 0.9),
    "strip elsewhere": (NUDIFICATION, 0.82),
    "garment of known": (NUDIFICATION, 0.85),
    "clothes to bare": (NUDIFICATION, 0.9),
    "known in porn": (NUDIFICATION, 0.88),
    "clothes to skin": (NUDIFICATION, 0.92),
    "undress with tool": (NUDIFICATION, 0.85),
    "unwanted clothes": (NUDIFICATION, 0.9),
    "minor undressed": (CHILD_SEXUALISATION, 0.96),
    "minor sexual": (CHILD_SEXUALISATION, 0.95),
    "minor stripped": (CHILD_SEXUALISATION, 0.93),
    "minor crime shown": (CHILD_SEXUALISATION, 0.95),
    "young undressed": (CHILD_SEXUALISATION, 0.85),
    "young sexual made": (CHILD_SEXUALISATION, 0.82),
    "minor unwanted clothes": (CHILD_SEXUALISATION, 0.9),
    "crime": (CHILD_EXPLOITATION, 0.94),
    "material sought": (CHILD_EXPLOITATION, 0.95),
    "minor pressed": (CHILD_EXPLOITATION, 0.9),
    "minor in secret": (CHILD_EXPLOITATION, 0.88),
    "minor unseen": (CHILD_EXPLOITATION, 0.9),
    "minor courted": (CHILD_EXPLOITATION, 0.85),
    "minor abused": (CHILD_EXPLOITATION, 0.9),
    "minor approached for sex": (CHILD_EXPLOITATION, 0.93),
    "harm defended": (CHILD_EXPLOITATION, 0.9),
    "young pressed": (CHILD_EXPLOITATION, 0.85),
}
"""The combinations that suffice alone, each with its kind and the least likelihood it gives."""
MET: Final = 0.5
"""How near a core combination must be to have its floor."""


class Facts:
    """What stands in a scene, once what is said of it is taken into account."""

    def __init__(self, scene: Scene, naming: frozenset[int]) -> None:
        self.scene = scene
        self.naming = naming
        grades = [g for g in scene["grade"] if _beside(scene, [g], scene["young person child"], 2)]
        self.minor: Hits = [*scene["child age"], *grades]
        # "young woman" says that she is adult: only where the two words stand together.
        self.young: Hits = [
            hit
            for hit in scene["young"]
            if not any(0 <= other.start - hit.end <= 0 for other in scene["adult"])
        ]
        self.named: Hits = scene["abuse exploit"]
        harms = scene["abuse exploit groom coax nudify drawn sexual undress bare"]
        spoken = told(scene, harms)
        excused = [*governed(scene, scene["abuse exploit groom nudify drawn"]), *spoken]
        self.crime = without(scene["exploit"], excused)
        self.abuse = without(scene["abuse"], excused)
        self.groom = without(scene["groom"], excused)
        self.nudify = without(scene["nudify"], excused)
        self.sexual = without(scene["sexual"], [*self.named, *spoken])
        self.drawn = without(scene["drawn"], excused)
        self.undress = without(scene["undress"], [*scene["doing"], *excused])
        generic = {(hit.start, hit.end) for hit in scene["adult young"]}
        self.known: Hits = [
            *scene["known"],
            *(
                hit
                for hit in scene["person"]
                if hit.language not in naming and (hit.start, hit.end) not in generic
            ),
        ]
        self.coax = without(scene["coax"], excused)
        self.bare = without(scene["bare"], spoken)
        self.strip = self._strips(scene["clothes"])
        self.outer = self._strips(scene["garment"])

    def _strips(self, clothes: Hits) -> Hits:
        """Clothes that are taken off or away: not a stain on them, and not those in a closet."""
        scene = self.scene
        found: Hits = []
        for worn in clothes:
            for taken in scene["remove"]:
                if any(_over(done, taken) for done in scene["doing"]):
                    continue
                apart = scene.apart(taken, worn)
                if taken.start <= worn.start:
                    if apart > 3:
                        continue
                    if any(taken.end <= s.start < worn.start for s in scene["spot"]):
                        continue
                elif apart > 2:
                    continue
                found.append(
                    Hit(min(taken.start, worn.start), max(taken.end, worn.end), worn.language)
                )
                break
        return found


def _over(one: Hit, other: Hit) -> bool:
    return one.start < other.end and other.start < one.end


def _beside(scene: Scene, one: Hits, other: Hits, within: float) -> bool:
    return bool(one) and bool(other) and scene.nearest(one, other) <= within


def features(scene: Scene, naming: frozenset[int], unwanted: bool) -> dict[str, float]:
    """Every combination that a scene shows, with how near its roles are. Those absent are 0."""
    facts = Facts(scene, naming)
    found = {**_nudification(facts, unwanted), **_sexualisation(facts, unwanted)}
    found |= _exploitation(facts)
    found |= _adult(facts)
    return {name: value for name, value in found.items() if value > 0.0}


def _nudification(facts: Facts, unwanted: bool) -> dict[str, float]:
    scene, known = facts.scene, facts.known
    shown = scene["person known picture young child"]
    making = scene["make remove"]
    found: dict[str, float] = {}
    if facts.nudify:
        target = scene["person known picture tool young child adult"]
        found["nudify"] = scene.meet(facts.nudify, target)
        found["nudify named"] = 1.0
    if facts.strip:
        found["strip known"] = scene.meet(facts.strip, known, near=8, over=True)
        found["strip picture"] = scene.meet(facts.strip, scene["picture"], near=8)
        found["strip with tool"] = scene.meet(facts.strip, scene["tool"], near=8)
        if not _beside(scene, facts.strip, scene["lying"], 5):
            found["strip"] = 1.0
            if any(hit.language not in facts.naming for hit in facts.strip):
                found["strip elsewhere"] = 1.0
    if facts.outer:
        found["garment of known"] = scene.meet(facts.outer, known, near=3, far=8, over=True)
        found["garment of person"] = scene.meet(facts.outer, scene["person adult"], near=5)
        if not _beside(scene, facts.outer, scene["lying"], 5):
            found["garment"] = 1.0
    if facts.undress:
        aimed = _aimed(facts)
        found["undress known"] = scene.meet(aimed, known, near=8)
        found["undress with tool"] = scene.meet(facts.undress, scene["tool"], shown)
        if not _beside(scene, facts.undress, scene["adult"], 3):
            pictures = [hit for hit in scene["picture"] if hit.language not in facts.naming]
            found["undress picture"] = scene.meet(facts.undress, pictures, making)
        worn = scene["clothes garment"]
        found["clothes to skin"] = scene.meet(scene["make"], worn, facts.undress, near=6, far=12)
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
    """Undressing that may be meant for somebody in particular: all of it, but for a plain
    description ("a naked man on his bike") that asks for no edit."""
    scene = facts.scene
    if scene["make remove tool picture"]:
        return facts.undress
    generic = [h for h in scene["adult"] if not any(_over(h, k) for k in scene["known"])]
    return [
        hit
        for hit in facts.undress
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
        found["minor stripped"] = scene.meet(
            minor, [*facts.strip, *facts.outer], near=6, far=16, over=True
        )
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
    scene, minor, young = facts.scene, facts.minor, facts.young
    found: dict[str, float] = {}
    private = [*facts.sexual, *facts.undress, *facts.nudify, *facts.strip, *facts.bare]
    dealt = scene["seek make picture send tool contact secret justify adult self place"]
    if facts.crime:
        found["crime"] = scene.meet(facts.crime, dealt, near=10)
        found["crime named"] = 1.0
    if facts.drawn:
        wants = scene["seek contact self justify place picture secret sexual make child young"]
        found["drawn"] = scene.meet(facts.drawn, wants)
        found["drawn named"] = 1.0
    if scene["code"]:
        found["code sought"] = scene.meet(
            scene["code"], scene["seek"], scene["picture child young"]
        )
    for name, who in (("minor", minor), ("young", young)):
        if not who:
            continue
        wants = [*private, *scene["send secret romance"]]
        pressed = [*facts.groom, *facts.coax]
        found[f"{name} pressed"] = scene.meet(pressed, who, wants, near=8)
        found[f"{name} coaxed"] = scene.meet(facts.coax, who, near=8)
        found[f"{name} groomed"] = scene.meet(facts.groom, who, near=8)
        found[f"{name} unseen"] = scene.meet(
            scene["unseen"], who, scene["ask contact seek picture groom coax romance abuse"], near=8
        )
        found[f"{name} in secret"] = scene.meet(
            scene["secret"],
            who,
            scene["contact send picture romance abuse groom seek place"],
            near=8,
        )
        found[f"{name} secret"] = scene.meet(scene["secret"], who, near=8)
        courted = scene.before(scene["romance"], who, 2)
        found[f"{name} courted"] = scene.meet(
            courted, scene["self ask seek justify make grown"], near=8
        )
        found[f"{name} romance"] = scene.meet(who, scene["romance"], near=4, far=14)
        found[f"{name} abused"] = scene.meet(who, facts.abuse, near=6, far=20)
        found[f"{name} approached for sex"] = scene.meet(
            who, private, [*scene["contact self seek send groom secret"]], near=8
        )
        found[f"{name} asked of"] = scene.meet(scene["ask seek"], who, scene["contact"], near=4)
        found[f"{name} met by adults"] = scene.meet(
            scene["adult grown"], scene["contact"], who, near=2
        )
        found[f"{name} of body"] = scene.meet(
            who, scene["suggestive bare"], scene["send coax seek"], near=6, far=14
        )
        found[f"{name} contacted"] = scene.meet(who, scene["contact"], near=4, far=14)
        found[f"{name} sought"] = scene.meet(scene["seek"], who, near=2, far=8)
        found[f"{name} asked for pictures"] = scene.meet(scene["send"], scene["picture"], who)
        found[f"{name} in place"] = scene.meet(who, scene["place"], scene["contact secret groom"])
    people = [*minor, *young]
    found["material sought"] = scene.meet(
        minor, scene["picture"], private, scene["seek send"], near=8
    )
    found["harm defended"] = scene.meet(
        scene["justify"], people, [*facts.sexual, *scene["romance abuse exploit"]], near=8
    )
    return found


def _adult(facts: Facts) -> dict[str, float]:
    scene = facts.scene
    return {
        "sexual": 1.0 if scene["sexual"] else 0.0,
        "undressed": 1.0 if facts.undress or facts.nudify or facts.strip else 0.0,
        "suggestive": 1.0 if scene["suggestive bare"] else 0.0,
        "picture sexual": scene.meet(scene["picture make"], [*scene["sexual"], *facts.undress]),
    }
