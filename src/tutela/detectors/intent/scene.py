"""Scene: a stretch of a text, with what is asked of the roles in it: what meets, and how near."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final, TypeAlias

from tutela.detectors.intent.words import NUMBER, Hit, Text

SENTENCE: Final = 9.0
"""How many words the end of a sentence counts for in a distance …"""
FRAGMENT: Final = 5.0
"""… beside one no longer than a fragment: lists of what is to be shown have them …"""
BRIEF: Final = 8
"""… which has so many words."""
NEAR: Final = 6.0
"""Words apart up to which two roles stand together …"""
FAR: Final = 36.0
"""… and from which they have nothing to do with each other."""
WINDOW: Final = 160
"""Words that are judged together: of a longer text, window by window, each half over the last."""

Hits: TypeAlias = list[Hit]


class Scene:
    """A stretch of a text, with what is asked of its roles."""

    def __init__(self, text: Text, start: int, end: int) -> None:
        self.text = text
        self.start, self.end = start, end
        self._roles: dict[str, Hits] = {}
        sentences = text.sentences[start:end]
        sizes = Counter(sentences)
        self.places: list[float] = []
        ends, last = 0.0, sentences[0] if sentences else 0
        for place, sentence in zip(text.places[start:end], sentences, strict=True):
            if sentence != last:
                brief = min(sizes[last], sizes[sentence]) <= BRIEF
                ends += (sentence - last) * (FRAGMENT if brief else SENTENCE)
                last = sentence
            self.places.append(place + ends)

    def __getitem__(self, name: str) -> Hits:
        """Hits of one role, or of several: `"child age"`."""
        found = self._roles.get(name)
        if found is None:
            found = []
            for role in name.split():
                hits = self.text.roles[NUMBER[role]]
                if hits:
                    found += [h for h in hits if self.start <= h.start and h.end <= self.end]
            if " " in name:
                found.sort(key=_begin)
            self._roles[name] = found
        return found

    def at(self, word: int) -> float:
        return self.places[word - self.start]

    def apart(self, one: Hit, other: Hit) -> float:
        """Words that stand between two hits; 0 where they touch or overlap."""
        if one.start > other.start:
            one, other = other, one
        if other.start < one.end:
            return 0.0
        return max(0.0, self.at(other.start) - self.at(one.end - 1) - 1.0)

    def nearest(self, one: Hits, other: Hits, over: bool = False) -> float:
        """Words between the nearest two of them. Two on the same words count only if `over`."""
        least = FAR
        if not one or not other:
            return least
        if len(one) > len(other):
            one, other = other, one
        starts = [hit.start for hit in other]
        for hit in one:
            middle = bisect_left(starts, hit.start)
            for at in range(max(0, middle - 3), min(len(other), middle + 3)):
                if over or not _same(hit, other[at]):
                    least = min(least, self.apart(hit, other[at]))
        return least

    def meet(
        self, *groups: Hits, near: float = NEAR, far: float = FAR, over: bool = False
    ) -> float:
        """How near hits of every group stand together: 1 to 0. Each to the first or the last."""
        least = 1.0
        for index in range(1, len(groups)):
            apart = self.nearest(groups[index - 1], groups[index], over)
            if index > 1:
                apart = min(apart, self.nearest(groups[0], groups[index], over))
            least = min(least, _closeness(apart, near, far))
            if least == 0.0:
                return 0.0
        return least

    def before(self, one: Hits, other: Hits, within: float) -> Hits:
        """Those of `other` that come up to `within` words after one of `one`, in its sentence."""
        sentences = self.text.sentences
        return [
            hit
            for hit in other
            if any(
                first.end <= hit.start
                and sentences[first.start] == sentences[hit.start]
                and self.apart(first, hit) <= within
                for first in one
            )
        ]


def _begin(hit: Hit) -> int:
    return hit.start


def _same(one: Hit, other: Hit) -> bool:
    """Whether two hits stand on the same words. One that lies in the gap of another does not."""
    if one.start >= other.end or other.start >= one.end:
        return False
    return not (_holds(one, other) or _holds(other, one))


def _holds(long: Hit, short: Hit) -> bool:
    return long.gapped and long.start < short.start and short.end < long.end


def _closeness(apart: float, near: float, far: float) -> float:
    if apart <= near:
        return 1.0
    return max(0.0, (far - apart) / (far - near))


def without(hits: Hits, covering: Hits) -> Hits:
    """Hits that none of `covering` lies over."""
    if not covering:
        return hits
    return [hit for hit in hits if not any(_same(hit, other) for other in covering)]


def governed(scene: Scene, harmful: Hits) -> Hits:
    """Names of a harm that an expression of protection governs.

    Before the name ("signs of …", "law against …", "protect children from …") it stands a few words
    away, in the same part of the sentence, and nothing between them asks how or to be given
    something. Behind it ("… prevention") it follows at once, and nothing in that part of the
    sentence asks for anything.
    """
    protect = scene["protect"]
    if not protect or not harmful:
        return []
    clauses = scene.text.clauses
    asking = scene["ask make seek send contact secret self"]
    found: Hits = []
    for hit in harmful:
        clause = clauses[hit.start]
        for other in protect:
            if clauses[other.start] != clause:
                continue
            if other.start <= hit.start and hit.end <= other.end:
                found.append(hit)
                break
            if other.end <= hit.start:
                between = [h for h in scene["child age young"] if other.end <= h.start < hit.start]
                if scene.apart(other, hit) <= (6 if between else 3) and not any(
                    other.end <= one.start < hit.start for one in scene["ask make seek self"]
                ):
                    found.append(hit)
                    break
            elif other.start == hit.end and not any(
                clauses[one.start] == clause and one.start < hit.start for one in asking
            ):
                found.append(hit)
                break
        else:
            last = found[-1] if found else hit
            if found and clauses[last.start] == clause and scene.apart(last, hit) <= 2:
                found.append(hit)
    return found


def told(scene: Scene, harmful: Hits, strict: frozenset[int]) -> Hits:
    """What somebody tells that another did to them or theirs: it follows in the same part of the
    sentence, of which nothing asks that something be made, found or kept secret. In languages of
    `strict`, a plea for help stands beside it."""
    clauses = scene.text.clauses
    asking = scene["make seek tool secret unseen"]
    found: Hits = []
    for one in scene["told"]:
        if one.language in strict and not scene["plea"]:
            found += _examined(scene, one)
            continue
        clause = clauses[one.start]
        asked = [*asking, *(hit for hit in scene["ask"] if hit.start > one.start)]
        if any(clauses[hit.start] == clause and not _over(hit, one) for hit in asked):
            continue
        found += [
            hit
            for hit in harmful
            if clauses[hit.start] == clauses[hit.end - 1] == clause
            and hit.end > one.start
            and not _ordered(scene, one, hit)
        ]
    return found


def _examined(scene: Scene, one: Hit) -> Hits:
    """Outer clothes that somebody takes off because a doctor or nurse says so, where nothing in the
    scene asks for a picture or for anything else."""
    clauses = scene.text.clauses
    clause = clauses[one.start]
    if (
        not any(one.start <= hit.start < one.end for hit in scene["medical"])
        or scene["make picture tool seek send secret unseen sexual suggestive undress"]
    ):
        return []
    return [
        Hit(taken.start, worn.end, worn.language, True)
        for taken in scene["remove"]
        for worn in scene["garment"]
        if one.end <= taken.start <= worn.start
        and clauses[taken.start] == clauses[worn.end - 1] == clause
    ]


def served(scene: Scene) -> Hits:
    """Minors whom an expression of protection serves ("report pictures of children", "protect a
    girl from …"): it stands before them in their part of the sentence, with nothing between that
    asks for anything, and nothing in the scene hides, presses, courts or is sexual."""
    if not scene["protect"] or scene["secret unseen groom coax romance sexual suggestive undress"]:
        return []
    clauses = scene.text.clauses
    asking = scene["ask make seek self contact"]
    return [
        who
        for who in scene["child age young marked"]
        if any(
            other.end <= who.start
            and clauses[other.start] == clauses[who.start]
            and scene.apart(other, who) <= 3
            and not any(other.end <= one.start < who.start for one in asking)
            for other in scene["protect"]
        )
    ]


def cared(scene: Scene) -> Hits:
    """Minors of whom is asked how those do whose work they are ("how do teachers gain the trust of
    children"): who asks stands right before, and the scene has nobody else and nothing more."""
    if (
        not scene["carer"]
        or scene[
            "self secret unseen contact romance sexual suggestive undress nudify bare clothes"
            " garment make send picture abuse exploit justify adult"
        ]
    ):
        return []
    clauses = scene.text.clauses
    carers = scene.before(scene["ask"], scene["carer"], 2)
    return [
        who
        for who in scene["child age young marked"]
        if any(
            other.end <= who.start and clauses[other.start] == clauses[who.start]
            for other in carers
        )
    ]


def _ordered(scene: Scene, one: Hit, harm: Hit) -> bool:
    """Whether a harm behind a report is an order that it passes on ("… told me undress her"): it
    has somebody for its object, and no minor stands before it who would be the one to do it."""
    if harm.start < one.end or not any(
        harm.start <= hit.start and hit.end <= harm.end for hit in scene["undress nudify remove"]
    ):
        return False
    if not any(harm.start < hit.start <= harm.end for hit in scene["known person picture"]):
        return False
    return not any(
        one.start < hit.end - 1 and one.end <= hit.end <= harm.start
        for hit in scene["own child age young"]
    )


def _over(one: Hit, other: Hit) -> bool:
    return one.start < other.end and other.start < one.end
