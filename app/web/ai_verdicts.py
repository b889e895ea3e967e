"""What AI judges said, in words."""

from collections.abc import Mapping, Sequence

from app.domain.judges.prompts import LETTERS
from app.domain.judgment_kinds import RateBody, ThumbsBody
from app.domain.ranking import Ranking
from app.web.judgment_kinds import in_words

UNDECIDED = "no thumb: the replies contradict each other"


def in_letters(
    ranking: Sequence[int] | None,
    ratings: Mapping[str, Sequence[int]] | None,
    thumb: str | None,
    letters: str = LETTERS,
) -> str:
    """Describe a verdict; responses have letters in canonical order, such as "C > A = B"."""
    if ratings:
        body = RateBody({name: tuple(values) for name, values in ratings.items()})
        return in_words(body, range(len(letters)), letters)
    if ranking:
        groups = Ranking(tuple(ranking)).groups
        if len(groups) == 1:
            return "tie"
        return " > ".join(" = ".join(letters[place] for place in group) for group in groups)
    return in_words(ThumbsBody(thumb), [0]) if thumb else UNDECIDED
