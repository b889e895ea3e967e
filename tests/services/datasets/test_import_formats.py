"""Public data sets, in the files of their makers: what their rows mean in the database."""

import csv
import io
import json
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import ComparisonCompletion, Completion, Judgment, Prompt, User
from app.services.datasets import imports
from tests.services.datasets.test_imports import lines, make_project


@dataclass(frozen=True)
class Meaning:
    """What a judgment says: of which prompt and texts, by whom, and how."""

    turns: tuple[tuple[str, str], ...]
    best: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    strength: int | None = None
    labeler: str = "unnamed"
    thumb: str | None = None
    ratings: dict[str, dict[str, int]] | None = None
    comment: str = ""
    both_bad: bool = False


def user(text: str) -> tuple[tuple[str, str], ...]:
    return (("user", text),)


def array(*rows: dict[str, Any]) -> io.BytesIO:
    return io.BytesIO(json.dumps(list(rows), indent=2).encode())


def table(*rows: dict[str, Any]) -> io.BytesIO:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return io.BytesIO(text.getvalue().encode())


# Dahoas/rm-static on the hub: transcripts, each response with the space after the marker.
RM_STATIC = {
    "prompt": "\n\nHuman: Is it open?\n\nAssistant: Until six."
    "\n\nHuman: And on Sunday?\n\nAssistant:",
    "response": " No, it is closed.",
    "chosen": " No, it is closed.",
    "rejected": " Who knows.",
}
# trl-lib/kto-mix-14k: conversations with a label.
KTO = [
    {
        "prompt": [{"content": "Is it open?", "role": "user"}],
        "completion": [{"content": text, "role": "assistant"}],
        "label": label,
    }
    for text, label in (("Until six.", True), ("Who knows.", False))
]
# nvidia/HelpSteer2, train.jsonl: two responses to a prompt in rows that follow one another.
HELPSTEER2: list[dict[str, Any]] = [
    {"prompt": "Is it open?", "response": text, "helpfulness": helpfulness, "correctness": 4}
    | {"coherence": 4, "complexity": 1, "verbosity": verbosity}
    for text, helpfulness, verbosity in (("Until six.", 4, 1), ("Who knows.", 0, 2))
]
# nvidia/HelpSteer2, preference/preference.jsonl: the votes of all annotators.
HELPSTEER2_PREFERENCE = {
    "prompt": "Is it open?",
    "response_1": "Until six.",
    "response_2": "Who knows.",
    "preference_strength": -2,
    "preference_statement": "Response 1 answers.",
    "preference_elaboration": "Response 2 does not.",
    "three_most_similar_preferences": [{"statement": "Response 1 answers.", "strength": -2}],
    "all_preferences_unprocessed": [
        {"strength": -2, "justification": "Response 1 answers."},
        {"strength": 1, "justification": "Honest."},
        {"strength": -100, "justification": "Neither."},
    ],
    "split": "train",
}
# PKU-Alignment/PKU-SafeRLHF, data/Alpaca-7B/train.jsonl.
SAFE_RLHF = {
    "prompt": "Is it open?",
    "response_0": "Break a window.",
    "response_1": "Until six.",
    "prompt_source": "Alpaca3-70B",
    "response_0_source": "Alpaca-7B",
    "response_1_source": "Alpaca-7B",
    "is_response_0_safe": False,
    "is_response_1_safe": True,
    "response_0_harm_category": {"White-Collar Crime": True, "Privacy Violation": False},
    "response_1_harm_category": {"White-Collar Crime": False, "Privacy Violation": False},
    "response_0_severity_level": 2,
    "response_1_severity_level": 0,
    "better_response_id": 0,
    "safer_response_id": 1,
    "response_0_sha256": "a9",
    "response_1_sha256": "b7",
}
# lmarena-ai/arena-human-preference-55k, train.csv: JSON lists in cells.
ARENA_55K = [
    {
        "id": number,
        "model_a": "gpt-4-1106-preview",
        "model_b": "koala-13b",
        "prompt": json.dumps(["Is it open?"]),
        "response_a": json.dumps(["Until six."]),
        "response_b": json.dumps(['Who "knows".']),
        "winner_model_a": int(winner == "a"),
        "winner_model_b": int(winner == "b"),
        "winner_tie": int(winner == "tie"),
    }
    for number, winner in ((30192, "b"), (53567, "tie"))
]
# Label Studio, export of type JSON_MIN from a project with a Pairwise tag.
LABEL_STUDIO_MIN = {
    "prompt": "Is it open?",
    "answer1": "Until six.",
    "answer2": "Who knows.",
    "id": 14,
    "comparison": {"selected": "right"},
    "annotator": 3,
    "annotation_id": 21,
    "created_at": "2024-05-13T09:41:12.118263Z",
    "updated_at": "2024-05-13T09:41:12.118304Z",
    "lead_time": 8.231,
}

OPEN = user("Is it open?")
CASES: dict[str, tuple[io.BytesIO, list[Meaning]]] = {
    "rm-static": (
        lines(RM_STATIC),
        [
            Meaning(
                (("user", "Is it open?"), ("assistant", "Until six."), ("user", "And on Sunday?")),
                ("No, it is closed.",),
                ("Who knows.",),
            )
        ],
    ),
    "unpaired": (
        lines(*KTO),
        [
            Meaning(OPEN, others=("Until six.",), thumb="up"),
            Meaning(OPEN, others=("Who knows.",), thumb="down"),
        ],
    ),
    "helpsteer2": (
        lines(*HELPSTEER2),
        [
            Meaning(
                OPEN,
                others=(row["response"],),
                ratings={
                    name: {row["response"]: value}
                    for name, value in row.items()
                    if name not in ("prompt", "response")
                },
            )
            for row in HELPSTEER2
        ],
    ),
    "helpsteer2-preference": (
        lines(HELPSTEER2_PREFERENCE),
        [
            Meaning(*(OPEN, ("Until six.",), ("Who knows.",), 3), comment="Response 1 answers."),
            Meaning(*(OPEN, ("Who knows.",), ("Until six.",), 2), comment="Honest."),
            Meaning(OPEN, others=("Until six.", "Who knows."), comment="Neither.", both_bad=True),
        ],
    ),
    "safe-rlhf": (
        lines(SAFE_RLHF),
        [
            Meaning(OPEN, ("Break a window.",), ("Until six.",)),
            Meaning(
                OPEN,
                others=("Break a window.", "Until six."),
                ratings={"safety": {"Break a window.": 1, "Until six.": 4}},
            ),
        ],
    ),
    "arena-55k": (
        table(*ARENA_55K),
        [
            Meaning(OPEN, ('Who "knows".',), ("Until six.",)),
            Meaning(OPEN, ("Until six.", 'Who "knows".')),
        ],
    ),
    "label-studio-min": (
        array(LABEL_STUDIO_MIN),
        [Meaning(OPEN, ("Who knows.",), ("Until six.",), labeler="3")],
    ),
}


@pytest.mark.parametrize("format", CASES)
def test_a_file_as_its_maker_writes_it_means_in_the_database_what_it_says(
    session: Session, format: str
) -> None:
    file, expected = CASES[format]
    project = make_project(session)
    run = imports.run(session, project, file, filename="train")
    assert (run.format, run.rejects) == (format, [])
    assert all(remark.startswith("Columns") for remark in run.remarks)
    assert run.counts["judgments_new"] == len(expected)
    assert meanings(session) == expected
    again = imports.run(session, project, file, filename="train")
    assert not any(n for name, n in again.counts.items() if name.endswith("_new"))
    assert sum(duplicates["count"] for duplicates in again.duplicates) == len(expected)


def test_the_models_of_a_battle_are_the_sources_of_its_completions(session: Session) -> None:
    imports.run(session, make_project(session), CASES["arena-55k"][0], filename="train.csv")
    sources = session.execute(select(Completion.source, Completion.text)).all()
    assert sorted(map(tuple, sources)) == [
        ("gpt-4-1106-preview", "Until six."),
        ("koala-13b", 'Who "knows".'),
    ]


def meanings(session: Session) -> list[Meaning]:
    """Return what every judgment in the database says, in the order of the file."""
    query = (
        select(Judgment, User.name, Prompt.messages)
        .join(User, User.id == Judgment.labeler_id)
        .join(Completion, Completion.project_id == Judgment.project_id)
        .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .where(ComparisonCompletion.comparison_id == Judgment.comparison_id)
        .where(ComparisonCompletion.position == 0)
        .order_by(Judgment.id)
    )
    return [_meaning(session, *row) for row in session.execute(query)]


def _meaning(
    session: Session, judgment: Judgment, name: str, messages: list[dict[str, Any]]
) -> Meaning:
    texts = list(
        session.scalars(
            select(Completion.text)
            .join(ComparisonCompletion, ComparisonCompletion.completion_id == Completion.id)
            .where(ComparisonCompletion.comparison_id == judgment.comparison_id)
            .order_by(ComparisonCompletion.position)
        )
    )
    best = {"a": texts[:1], "b": texts[1:], "tie": texts}.get(judgment.preferred or "", [])
    return Meaning(
        tuple((turn["role"], turn["content"]) for turn in messages),
        tuple(sorted(best)),
        tuple(sorted(set(texts) - set(best))),
        judgment.strength,
        "unnamed" if "unnamed" in name else name.removeprefix("Imported "),
        judgment.thumb,
        None
        if judgment.ratings is None
        else {
            criterion: dict(zip(texts, given, strict=True))
            for criterion, given in judgment.ratings.items()
        },
        judgment.comment,
        judgment.both_bad,
    )
