"""What a judge is asked about a comparison, kind by kind, and the verdict over all its replies.

Everything is asked twice, because what a model says depends on the order in which it reads what is
offered. Responses that are compared are shown in two orders (position bias: Zheng et al. 2023,
arXiv 2306.05685). A single response has no position, but two other things there have an order: the
options (Pezeshkpour and Hruschka 2023, arXiv 2308.11483) and, with several criteria in one reply,
the criteria, of which earlier ratings anchor later ones (Stureborg et al. 2024, arXiv 2405.01724).
The second request reverses both. A repeated sample would measure nothing at temperature 0, which is
the default.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from app.domain.judges import prompts, single_verdicts, verdicts
from app.domain.judges.prompts import Message, Rubric
from app.domain.judges.single_verdicts import ShownRatings, ShownThumb
from app.domain.judges.verdicts import ShownVerdict
from app.domain.judgment_kinds import JudgmentKind

Shown = ShownVerdict | ShownRatings | ShownThumb
"""What one reply says."""


class JudgeVerdict(Protocol):
    """The verdict on a comparison over all replies."""

    @property
    def is_consistent(self) -> bool:
        """Whether the replies agree."""

    def to_columns(self) -> dict[str, Any]:
        """Return the verdict as columns of an AI judgment."""


@dataclass(frozen=True, slots=True)
class Asking:
    """One request: the positions that it shows, in order, and how its reply is read.

    `is_reversed` marks the second of two requests that show the same.
    """

    order: tuple[int, ...]
    is_reversed: bool
    messages: tuple[Message, ...]
    read: Callable[[str], Shown]


def of_comparison(
    rubric: Rubric,
    kind: JudgmentKind,
    turns: Sequence[Mapping[str, Any]],
    responses: Sequence[str],
) -> tuple[Asking, ...]:
    """Return the requests about a comparison, in the order in which they are made.

    Raises:
        Invalid: it is to be rated, and the rubric has no criteria.
    """
    if kind in (JudgmentKind.RATE, JudgmentKind.THUMBS):
        return tuple(
            _about_one(rubric, kind, turns, responses, position, is_reversed=is_reversed)
            for position in range(len(responses))
            for is_reversed in (False, True)
        )
    return tuple(
        Asking(
            order,
            is_reversed,
            prompts.comparison(rubric, kind, turns, [responses[place] for place in order]),
            lambda reply: verdicts.read(reply, kind, len(responses), strengths=rubric.strengths),
        )
        for order, is_reversed in zip(verdicts.orders(len(responses)), (False, True), strict=True)
    )


def combined(
    rubric: Rubric, kind: JudgmentKind, shown: Sequence[tuple[Sequence[int], Shown]]
) -> JudgeVerdict:
    """Combine what all replies say; each comes with the positions that were shown."""
    if kind == JudgmentKind.RATE:
        ratings = cast("Sequence[tuple[Sequence[int], ShownRatings]]", shown)
        return single_verdicts.combined_ratings(ratings, rubric.rating_max)
    if kind == JudgmentKind.THUMBS:
        thumbs = cast("Sequence[tuple[Sequence[int], ShownThumb]]", shown)
        return single_verdicts.combined_thumb(thumbs)
    return verdicts.combined(cast("Sequence[tuple[Sequence[int], ShownVerdict]]", shown))


def _about_one(
    rubric: Rubric,
    kind: JudgmentKind,
    turns: Sequence[Mapping[str, Any]],
    responses: Sequence[str],
    position: int,
    *,
    is_reversed: bool,
) -> Asking:
    text = responses[position]
    if kind == JudgmentKind.THUMBS:
        messages = prompts.thumb(rubric, turns, text, is_reversed=is_reversed)
        return Asking((position,), is_reversed, messages, single_verdicts.read_thumb)
    messages = prompts.rating(rubric, turns, text, is_reversed=is_reversed)
    return Asking(
        (position,),
        is_reversed,
        messages,
        lambda reply: single_verdicts.read_ratings(reply, rubric),
    )
