"""Rewards in folders that can be read are checked when a round is launched."""

import json
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.domain.reward_parts import PartKind, RewardPart
from app.domain.reward_plan import RewardPlan
from app.errors import Invalid
from app.services.rounds import reward_checks
from tests.services import sample

BERT = {"architectures": ["BertForSequenceClassification"]}
LABELS = {"id2label": {"0": "hate", "1": "not hate"}}


def check(session: Session, folder: Path, config: object, **part: object) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    made = RewardPart(model=str(folder), **part)  # type: ignore[arg-type]
    project = sample.make_project(session)
    reward_checks.check(session, project, RewardPlan(parts=(made,)), None)


@pytest.mark.parametrize(
    ("config", "part", "words"),
    [
        (BERT | LABELS, {"label": "nice"}, "has no label 'nice'; it has hate, not hate"),
        (BERT | LABELS, {"label": ""}, "has several labels; name one; it has hate, not hate"),
        (BERT, {"label": "LABEL_2"}, "has no label 'LABEL_2'; it has LABEL_0, LABEL_1"),
        ({"architectures": ["BertModel"]}, {"label": "a"}, r"\(architecture: BertModel\)"),
        ({}, {"label": "a"}, r"no classification head \(architecture: unknown\)"),
    ],
)
def test_a_classifier_that_cannot_be_used_is_refused_with_its_labels(
    session: Session, tmp_path: Path, config: object, part: dict[str, str], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        check(session, tmp_path, config, kind=PartKind.CLASSIFIER, **part)


@pytest.mark.parametrize("label", ["not hate", "NOT HATE", "1"])
def test_a_label_is_known_by_name_or_number(session: Session, tmp_path: Path, label: str) -> None:
    check(session, tmp_path, BERT | LABELS, kind=PartKind.CLASSIFIER, label=label)


def test_a_reward_model_has_one_label(session: Session, tmp_path: Path) -> None:
    kind = PartKind.REWARD_MODEL
    check(session, tmp_path, BERT | {"id2label": {"0": "LABEL_0"}}, kind=kind)
    with pytest.raises(Invalid, match="has 2 labels and a reward model has one"):
        check(session, tmp_path, BERT | LABELS, kind=kind)


def test_what_only_a_worker_can_reach_is_left_to_it(session: Session) -> None:
    parts = (
        RewardPart(PartKind.CLASSIFIER, model="org/name", label="ok"),
        RewardPart(PartKind.ENDPOINT, url="https://scorer/score"),
        RewardPart(PartKind.LENGTH, longest=9),
    )
    project = sample.make_project(session)
    reward_checks.check(session, project, RewardPlan(parts=parts), None)
