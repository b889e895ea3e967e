"""Training rows as JSON lines, as the frozen export of a reward model stores them.

A line has the prompt, the completions with the sampled token ids, the vote shares, and every vote
under its pseudonym, so that the agreement of people can be computed on the same rows.

`pairs` has `[first, second, share, votes, agreement, strength]`, and the mean margin where imported
votes have one. `absolutes` has `[ratings, thumb]` for each completion in order: the mean rating by
criterion (on the project's scale, from 1) and the share of thumbs up or null. `weights` belong to
the criteria. Ratings of two or more completions also imply `pairs`, by the weighted mean; thumbs
imply none. A text that a labeler edited is a completion of its own, without token ids, and is
preferred to the first completion, the original. A response to a follow-up has `earlier`, the turns
that lead up to it: other completions of the same prompt have others.

If `settled` is true, a lead has settled the comparison, and `pairs` are those of the settlement
(share 1, 0 or 0.5), whatever the votes say.

`ai_votes` are votes of AI judges, apart from those of people; absent without any.

`instructions` has the project's instruction that labelers saw, by version. It is no part of the
prompt here: whoever trains adds one instruction to every prompt.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.domain.ranking import Ranking
from app.domain.splits import Split
from app.domain.vote_shares import TrainingAbsolute, TrainingPair
from app.formats.records import Conversation, Turn


@dataclass(frozen=True, slots=True)
class DatasetPrompt:
    """The prompt of a comparison or a demonstration."""

    id: int
    messages: tuple[Mapping[str, Any], ...]
    split: Split
    content_hash: str
    source: str = ""
    category: str = ""
    turns: Conversation = field(init=False, repr=False, compare=False)
    """The messages as the turns of a record, made once for all comparisons of the prompt."""

    def __post_init__(self) -> None:
        turns = [Turn(str(turn["role"]), str(turn["content"])) for turn in self.messages]
        object.__setattr__(self, "turns", tuple(turns))


@dataclass(frozen=True, slots=True)
class JudgedCompletion:
    """A completion in canonical order; `token_ids` is None for text that was not sampled here.

    `earlier` are the turns between the prompt and a response to a follow-up.
    """

    completion_id: int
    text: str
    token_ids: tuple[int, ...] | None
    is_finished: bool
    source: str
    checkpoint_id: int | None
    earlier: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One comparison as training data for a reward model.

    `absolutes` has one entry per candidate, or none; `weights` are those of the criteria. Edited
    versions of a completion are candidates, too, each preferred to the original. The pairs of a
    row that `is_settled` are those of the settlement, not of the votes. `instructions` are the
    texts that it was judged under, by version; 0 stands for what was imported.
    """

    comparison_id: int
    round_number: int | None
    prompt: DatasetPrompt
    candidates: tuple[JudgedCompletion, ...]
    pairs: tuple[TrainingPair, ...]
    judgment_ids: tuple[int, ...]
    absolutes: tuple[TrainingAbsolute, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    is_settled: bool = False
    instructions: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlainVote:
    """The ranking that one labeler gave."""

    judgment_id: int
    labeler: str
    ranking: Ranking
    strength: int | None
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class FrozenRow:
    """A training row with the votes of people behind it, and apart from them those of AI judges."""

    row: TrainingRow
    votes: tuple[PlainVote, ...]
    ai_votes: tuple[PlainVote, ...] = ()


def to_json(
    row: TrainingRow, votes: Iterable[PlainVote], ai_votes: Sequence[PlainVote] = ()
) -> dict[str, Any]:
    """Return a row as plain JSON values."""
    return {
        "comparison": row.comparison_id,
        "round": row.round_number,
        "prompt": {
            "id": row.prompt.id,
            "messages": [dict(message) for message in row.prompt.messages],
            "split": row.prompt.split,
            "content_hash": row.prompt.content_hash,
            **({"category": row.prompt.category} if row.prompt.category else {}),
        },
        "completions": [_candidate_json(each) for each in row.candidates],
        "pairs": [_pair_json(pair) for pair in row.pairs],
        "votes": [_vote_json(vote) for vote in votes],
        **({"ai_votes": [_vote_json(vote) for vote in ai_votes]} if ai_votes else {}),
        "judgments": list(row.judgment_ids),
        "absolutes": [[dict(one.ratings), one.thumb] for one in row.absolutes],
        "weights": dict(row.weights),
        "settled": row.is_settled,
        "instructions": {str(version): text for version, text in row.instructions.items()},
    }


def from_json(data: Mapping[str, Any]) -> FrozenRow:
    """Read a row that `to_json` wrote."""
    prompt = data["prompt"]
    votes = _votes(data["votes"])
    row = TrainingRow(
        comparison_id=data["comparison"],
        round_number=data["round"],
        prompt=DatasetPrompt(
            prompt["id"],
            tuple(prompt["messages"]),
            Split(prompt["split"]),
            prompt["content_hash"],
            category=prompt.get("category", ""),
        ),
        candidates=tuple(_candidate(each) for each in data["completions"]),
        pairs=tuple(TrainingPair(*pair) for pair in data["pairs"]),
        judgment_ids=tuple(data.get("judgments", [vote.judgment_id for vote in votes])),
        absolutes=tuple(TrainingAbsolute(*one) for one in data.get("absolutes", ())),
        weights=data.get("weights", {}),
        is_settled=data.get("settled", False),
        instructions={int(key): text for key, text in data.get("instructions", {}).items()},
    )
    return FrozenRow(row, votes, _votes(data.get("ai_votes", ())))


def read(path: Path) -> Iterator[FrozenRow]:
    """Stream the rows of a frozen file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield from_json(json.loads(line))


def _vote_json(vote: PlainVote) -> list[Any]:
    return [vote.judgment_id, vote.labeler, list(vote.ranking.ranks), vote.strength]


def _votes(rows: Iterable[Sequence[Any]]) -> tuple[PlainVote, ...]:
    return tuple(
        PlainVote(judgment_id, labeler, Ranking(tuple(ranks)), strength)
        for judgment_id, labeler, ranks, strength in rows
    )


def _pair_json(pair: TrainingPair) -> list[int | float | None]:
    values = [pair.first, pair.second, pair.share, pair.votes, pair.agreement, pair.strength]
    return values if pair.margin is None else [*values, pair.margin]


def _candidate_json(candidate: JudgedCompletion) -> dict[str, Any]:
    return {
        "id": candidate.completion_id,
        "text": candidate.text,
        "token_ids": None if candidate.token_ids is None else list(candidate.token_ids),
        "is_finished": candidate.is_finished,
        "source": candidate.source,
        "checkpoint": candidate.checkpoint_id,
        **({"earlier": list(candidate.earlier)} if candidate.earlier else {}),
    }


def _candidate(data: Mapping[str, Any]) -> JudgedCompletion:
    ids = data["token_ids"]
    return JudgedCompletion(
        data["id"],
        data["text"],
        None if ids is None else tuple(ids),
        data["is_finished"],
        data["source"],
        data["checkpoint"],
        tuple(data.get("earlier", ())),
    )
