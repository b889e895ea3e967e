"""The table of the kinds of judgment; a new kind is a module and a row here."""

from collections.abc import Mapping

from app.domain.judgment_kinds.kind import JudgmentBody, JudgmentKind, Kind, Rules
from app.domain.judgment_kinds.pick import PICK
from app.domain.judgment_kinds.rank import RANK
from app.domain.judgment_kinds.rate import RATE
from app.domain.judgment_kinds.text import EDIT, WRITE
from app.domain.judgment_kinds.thumbs import THUMBS
from app.errors import Invalid

KINDS: Mapping[JudgmentKind, Kind] = {
    kind.name: kind for kind in (PICK, RANK, RATE, THUMBS, WRITE, EDIT)
}
ORDERING_KINDS = tuple(name for name, kind in KINDS.items() if kind.is_ordering)
RATED_KINDS = tuple(name for name, kind in KINDS.items() if kind.uses_criteria)
WRITTEN_KINDS = tuple(name for name, kind in KINDS.items() if kind.is_written)


def kind_named(name: str) -> JudgmentKind:
    """Return the kind of judgment with a name.

    Raises:
        Invalid: there is none.
    """
    if name not in list(JudgmentKind):
        raise Invalid(f"the kind must be one of {', '.join(JudgmentKind)}, not {name!r}")
    return JudgmentKind(name)


def of_blind_pairs(own: JudgmentKind) -> JudgmentKind:
    """Return the kind of the blind pairs in a project's queue, which are to look like the others.

    Where labelers rank, a pair is a ranking of two; in every other project it is a pick.
    """
    return JudgmentKind.RANK if own == JudgmentKind.RANK else JudgmentKind.PICK


def check_k(kind: JudgmentKind, k: int) -> None:
    """Refuse a number of completions that a kind of judgment does not allow."""
    fewest, most = KINDS[kind].fewest, KINDS[kind].most
    if not fewest <= k <= most:
        wanted = str(most) if fewest == most else f"{fewest} to {most}"
        raise Invalid(f"kind {kind} takes {wanted} completions, not {k}")


def check(rules: Rules, body: JudgmentBody) -> JudgmentBody:
    """Return a body as it is stored, checked against what its comparison asks for.

    Raises:
        Invalid: another kind is asked for, or the body breaks a rule or is incomplete.
    """
    asked = JudgmentKind(rules.kind)
    if body.kind != asked:
        raise Invalid(f"this comparison asks for {KINDS[asked].noun}, not {KINDS[body.kind].noun}")
    return body.checked(rules)
