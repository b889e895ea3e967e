"""The leaderboard on the responses of four real models, through the API and as tables.

What a file's votes say must come out as an independent library has it.
"""

import csv
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import evalica
import numpy as np
import pytest

from app.client import ProjectClient
from app.db import Database
from tests.acceptance import real
from tests.acceptance.real import Office

pytestmark = real.needed

VOTES_A_PROMPT = 3
NEAR = 1e-4


@pytest.fixture
def office(application: Any, database: Database) -> Iterator[Office]:
    with real.opened(application, database) as found:
        yield found


def models() -> list[str]:
    return sorted({each["model"] for each in real.rows(real.ALPACA)[0]["completions"]})


def votes(seed: int = 0) -> list[dict[str, str]]:
    """Return votes between two models of a prompt, by length with much chance and some ties."""
    rng = random.Random(seed)
    found = []
    for row in real.rows(real.ALPACA):
        for number in range(VOTES_A_PROMPT):
            first, second = rng.sample(row["completions"], 2)
            lead = np.tanh((len(first["output"]) - len(second["output"])) / 1500)
            lead += 0.6 * (models().index(first["model"]) - models().index(second["model"])) / 3
            said = rng.random() * 2 - 1
            winner = "tie" if abs(said - lead) < 0.15 else "a" if said < lead else "b"
            found.append(
                {
                    "prompt": row["instruction"],
                    "model_a": first["model"],
                    "model_b": second["model"],
                    "response_a": first["output"],
                    "response_b": second["output"],
                    "winner": winner,
                    "labeler": f"labeler {number}",
                }
            )
    return found


def strengths(project: ProjectClient, **filters: Any) -> dict[str, float]:
    (group,) = project.leaderboard(**filters).groups
    found = {source.source: source.strength.value for source in group.sources}
    return {name: value for name, value in found.items() if value is not None}


def test_votes_on_real_responses_are_ranked_as_an_independent_library_ranks_them(
    office: Office, tmp_path: Path
) -> None:
    office.make_project("votes", judgment_kind="pick", k=2, overlap=3)
    given = [each for each in votes() if each["response_a"] != each["response_b"]]
    file = tmp_path / "votes.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in given))
    counts = office.take_in("votes", file)
    project = office.lead.project("votes")
    board = project.leaderboard()
    assert board.votes == board.judgments_of_people == counts["judgments_new"]
    assert counts["judgments_new"] > 550
    kept = _as_stored(project)
    assert len(kept) == board.votes
    winners = [
        {"a": evalica.Winner.X, "b": evalica.Winner.Y}.get(said, evalica.Winner.Draw)
        for _, _, said in kept
    ]
    firsts, seconds = ([each[at] for each in kept] for at in (0, 1))
    scores = evalica.newman(firsts, seconds, winners, tolerance=1e-12, limit=100_000).scores
    expected = np.log(scores) - np.log(scores).mean()
    plain = strengths(project)
    assert plain == pytest.approx(expected.to_dict(), abs=NEAR)
    at_length = strengths(project, length=True)
    effect = project.leaderboard(length=True).groups[0].length_effect
    assert effect.low is not None
    assert effect.low > 0, "the votes were given by length"
    longest = max(at_length, key=lambda name: plain[name] - at_length[name])
    lengths = {source.source: source.mean_length for source in board.groups[0].sources}
    assert lengths[longest] > np.mean(list(lengths.values()))


def test_a_table_of_real_responses_becomes_comparisons_of_every_pair(
    office: Office, tmp_path: Path
) -> None:
    office.make_project("table", judgment_kind="pick", k=2, overlap=1)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["prompt", *(f"response_{name}" for name in models())])
    for row in real.rows(real.ALPACA):
        said = {each["model"]: each["output"] for each in row["completions"]}
        writer.writerow([row["instruction"], *(said[name] for name in models())])
    file = tmp_path / "table.csv"
    file.write_text(text.getvalue(), newline="")
    counts = office.take_in("table", file)
    assert counts["completions_new"] == 4 * counts["prompts_new"]
    project = office.lead.project("table")
    assert project.post("/comparisons", {"most": 1000})["made"] > 300
    pairs = [
        frozenset(completion.model for completion in each.completions)
        for each in project.comparisons()
    ]
    assert len(set(pairs)) == 6
    assert min(map(pairs.count, set(pairs))) > len(pairs) / 8
    assert project.leaderboard().without_votes == models()


def _as_stored(project: ProjectClient) -> list[tuple[str, str, str]]:
    """Return the votes as the lists have them: both models, and who won."""
    sources = {
        each.id: (each.completions[0].model, each.completions[1].model)
        for each in project.comparisons()
    }
    return [
        (*sources[each.comparison_id], str(each.preferred))
        for each in project.judgments(state="counted")
    ]
