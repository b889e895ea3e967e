"""The loop from rows to rows, on models so small that a round takes seconds."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from peft import PeftModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from app.db import Database
from app.domain.judgment_kinds import JudgmentKind
from app.domain.reward_parts import LabelerWeight
from app.domain.states import RoundState
from app.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonCompletion,
    Completion,
    Export,
    Judgment,
    Metric,
    Project,
    Prompt,
    Purpose,
    Round,
    Split,
    TrainingSample,
)
from app.services.checkpoints import checkpoints
from app.services.datasets import exports
from app.services.quality import weights_in_use
from app.services.rounds import climb, completion_pairs, evaluations, round_progress, rounds
from tests.worker.runs import small


def vowels(text: str) -> float:
    """A taste that random text differs in."""
    return sum(letter in "aeiou" for letter in text.lower()) + len(text) / 100


def launch(database: Database, project: Project, **changes: object) -> int:
    with database.transaction() as session:
        row = session.get_one(Project, project.id)
        return rounds.launch(session, row, small.plan(**changes), None).id


def run_round(database: Database, project: Project, folder: Path) -> list[str]:
    ran = small.run_jobs(database, folder)
    small.judge(database, project.id, vowels)
    ran += small.run_jobs(database, folder)
    small.judge(database, project.id, vowels)
    return ran


def test_two_rounds_run_from_rows_to_rows(database: Database, tmp_path: Path) -> None:
    with database.transaction() as session:
        project = small.make_project(session)
    # Without looks the last weights are kept, whatever the reward says of them.
    bold = replace(small.PLAN.policy, learning_rate=0.05, heldout_prompts=0)
    first = launch(database, project, policy=bold)

    assert run_round(database, project, tmp_path) == [
        "sft",
        "generate",
        "reward",
        "policy",
        "evaluate",
    ]

    with database.transaction() as session:
        round_ = round_progress.get(session, project.id, 1)
        assert round_.state == RoundState.DECIDING, round_.reason
        found = round_progress.overview(session, round_)
        kinds = Counter(CheckpointKind(each.kind) for each in found.checkpoints)
        assert kinds == {
            CheckpointKind.SFT: 1,
            CheckpointKind.REWARD: 1,
            CheckpointKind.POLICY: 1,
        }
        for checkpoint in found.checkpoints:
            assert checkpoint.config["instruction"] == "Answer shortly."
            assert checkpoint.config["instruction_version"] == 1
        sampled = select(Completion.instruction_version).distinct()
        assert list(session.scalars(sampled)) == [1]
        assert found.labeling.is_complete
        assert found.evaluation is not None
        assert found.evaluation.state == evaluations.COMPLETE
        results = evaluations.results(session, found.evaluation)
        assert results.prompts == 4
        assert results.judged == found.evaluation_labeling.done > 0
        assert results.arbiter is not None
        for kind in ("sft", "reward", "policy"):
            job = small.jobs_of(session, first)[kind]
            assert session.scalar(select(func.count()).where(Metric.job_id == job.id))
        sft_job = small.jobs_of(session, first)["sft"]
        assert session.scalar(select(func.count()).where(TrainingSample.job_id == sft_job.id))
        rounds.decide(session, round_, promote=True, reason="better", actor_id=None)
        row = session.get_one(Project, project.id)
        owner = LabelerWeight("L1", 0.5)  # who never judges
        weights_in_use.use(session, row, [owner], actor_id=None)

    launch(database, project, policy=bold, mix_share=1.0)
    assert run_round(database, project, tmp_path) == ["generate", "reward", "policy", "evaluate"]

    with database.reader() as session:
        second = round_progress.get(session, project.id, 2)
        assert second.state == RoundState.DECIDING, second.reason
        promoted = round_progress.get(session, project.id, 1).policy_checkpoint_id
        assert second.policy_before_id == promoted
        last = session.get_one(Checkpoint, second.policy_checkpoint_id)
        assert last.config["started_from_id"] == promoted
        _initial_model_responds_too(session, second, project.id)
        (remark,) = small.jobs_of(session, second.id)["reward"].result["remarks"]
        assert remark.startswith("L1 has a weight in the project but no vote")
        _candidates_mix(session_sources(database, second.id))
        _lineage_is_whole(database, project.id, second.reward_checkpoint_id or 0)


def _initial_model_responds_too(session: Session, round_: Round, project_id: int) -> None:
    """The SFT model is scored on the prompts of a round that started from a policy."""
    evaluation = evaluations.of_round(session, round_.id)
    assert evaluation is not None
    pairs = completion_pairs.of_evaluation(session, evaluation)
    sft_id = session.get_one(Project, project_id).sft_checkpoint_id
    assert len(pairs) == 4
    for pair in pairs:
        assert pair.initial is not None
        assert pair.initial.checkpoint_id == sft_id != pair.old.checkpoint_id
        assert pair.score_initial is not None
    first, second = climb.of_project(session, session.get_one(Project, project_id)).rounds
    assert second.scores_sft.n == first.scores_sft.n == 4
    assert second.initial == "SFT 1"


def session_sources(database: Database, round_id: int) -> Counter[str]:
    """Count the authors of a round's train comparisons."""
    with database.reader() as session:
        rows = session.scalars(
            select(Completion)
            .join(
                ComparisonCompletion,
                ComparisonCompletion.completion_id == Completion.id,
            )
            .join(Comparison, Comparison.id == ComparisonCompletion.comparison_id)
            .where(Comparison.round_id == round_id, Comparison.purpose == Purpose.TRAIN)
        )
        return Counter(row.source for row in rows)


def _candidates_mix(sources: Counter[str]) -> None:
    assert set(sources) == {"Policy 1", "SFT 1"}
    assert sources["SFT 1"] > sources["Policy 1"] > 0  # the policy writes a quarter


def _lineage_is_whole(database: Database, project_id: int, reward_id: int) -> None:
    """Every train vote on a train prompt went in, and nothing else did."""
    with database.reader() as session:
        reward = session.get_one(Checkpoint, reward_id)
        wanted = set(
            session.scalars(
                select(Judgment.id)
                .join(Comparison, Comparison.id == Judgment.comparison_id)
                .join(Prompt, Prompt.id == Comparison.prompt_id)
                .where(Comparison.purpose == Purpose.TRAIN, Prompt.split == Split.TRAIN)
            )
        )
        votes = checkpoints.judgments(session, reward.id)
        assert {vote.id for vote in votes} == wanted
        lineage = checkpoints.lineage(session, reward)
        assert lineage.judgments == len(wanted)
        assert lineage.labelers == 2
        assert lineage.guidelines_versions == (1,)
        assert lineage.instruction_versions == (1,)
        assert [each.kind for each in lineage.ancestors] == [CheckpointKind.SFT]
        policies = [
            each.name
            for each in checkpoints.trained_on(session, max(wanted))
            if each.kind == CheckpointKind.POLICY
        ]
        assert policies == ["Policy 2"]
        for export in session.scalars(select(Export)):
            assert wanted >= set(exports.judgments(session, export.id))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # PEFT's own
@pytest.mark.parametrize("with_sft", [False, True])
def test_a_round_on_a_model_from_a_folder(
    database: Database, tmp_path: Path, with_sft: bool
) -> None:
    base = small.save_tiny_llama(tmp_path / "tiny-llama")
    with database.transaction() as session:
        project = small.make_project(session, kind=JudgmentKind.RANK, k=3, base_model=str(base))
        small.import_completions(session, project)
    launch(
        database,
        project,
        prompts=4,
        heldout_prompts=2,
        sft=replace(small.SFT, lora=small.LORA, batch_size=4) if with_sft else None,
        reward=replace(small.PLAN.reward, ensemble=2),
    )

    run_round(database, project, tmp_path)

    with database.reader() as session:
        round_ = round_progress.get(session, project.id, 1)
        assert round_.state == RoundState.DECIDING, round_.reason
        made = {each.kind: each for each in round_progress.overview(session, round_).checkpoints}
        assert (CheckpointKind.SFT in made) is with_sft
        assert session_sources(database, round_.id)["another model"]
    policy, reward = made[CheckpointKind.POLICY], made[CheckpointKind.REWARD]
    folder = tmp_path / "artifacts"
    plain = AutoModelForCausalLM.from_pretrained(base)
    loaded = PeftModel.from_pretrained(plain, folder / policy.uri)
    assert any("lora" in name for name, _ in loaded.named_parameters())
    for name in ("reward", "reward-1"):
        classifier = AutoModelForSequenceClassification.from_pretrained(
            folder / reward.uri / name, num_labels=1
        )
        assert classifier.config.num_labels == 1
    assert list((folder / policy.uri / "tensorboard").iterdir())
