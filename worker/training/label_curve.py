"""The worth of judgments: reward models fitted to sub-samples, measured on the same held-out votes.

Each fit starts from the same model as the reward model and has its settings; only the number of
comparisons differs. What was fitted is kept in the run's folder, so that an attempt that resumes
does not repeat it. The curve and its forecast are in `app.domain.label_value`.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from app.domain import jackknife, label_value
from app.formats.training_rows import FrozenRow
from worker.orders import Interrupted
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import Roles
from worker.rlhf.reward import reward_model, scoring
from worker.rlhf.reward.ranking_loss import split_by_length
from worker.rlhf.reward.scoring import AdapterReward
from worker.training import human_level, reward, reward_figures
from worker.training.human_level import Scores
from worker.training.reward import RewardInputs
from worker.training.training_loop import RunPlace

FOLDER = "sub-samples"
METRIC, REASON = "label_value", "label_value_reason"
TOO_FEW = (
    f"the worth of judgments is measured from {label_value.COMPARISONS_LEAST} comparisons "
    "and with held-out votes"
)


def fits(
    place: RunPlace, inputs: RewardInputs, load: Callable[[], Roles]
) -> dict[int, dict[int, list[float]]]:
    """Fit a reward model to each sub-sample, and score the held-out comparisons with it.

    Args:
        place: of the run.
        inputs: of the reward model.
        load: loads the model to start from, once for each fit.

    Returns:
        The scores of each held-out comparison's completions, by comparison, by the number of
        comparisons learned from; empty if there are too few.

    Raises:
        Interrupted: the run was asked to stop.
    """
    limit = inputs.plan.reward.max_tokens
    train, _ = split_by_length(inputs.train, limit)
    heldout, _ = split_by_length(inputs.heldout, limit)
    counts = label_value.sizes(len(train))[:-1] if heldout else ()
    order = random.Random(inputs.plan.seed).sample(train, len(train))
    folder = place.workdir / FOLDER
    folder.mkdir(exist_ok=True)
    found: dict[int, dict[int, list[float]]] = {}
    for number, count in enumerate(counts, start=1):
        file = folder / f"{count}.json"
        if not file.exists():
            note = f"worth of judgments, fit {number} of {len(counts)}"
            scores = _fit(place, inputs, order[:count], heldout, load(), note)
            if place.is_first:
                _write(file, scores)
        found[count] = place.once(lambda file=file: _read(file))  # type: ignore[misc]
    return found


def value(
    fitted: Mapping[int, Scores], whole: int, rows: Sequence[FrozenRow], scores: Scores
) -> dict[str, Any]:
    """Return the curve and its forecast as metrics of the model, or the reason why there is none.

    Args:
        fitted: from `fits`.
        whole: comparisons that the model itself was fitted to.
        rows: held-out comparisons with their votes.
        scores: of the model itself.

    """
    by_fit = [human_level.hits(rows, each) for each in (*fitted.values(), scores)]
    shared = [row for row in rows if all(row.row.comparison_id in each for each in by_fit)]
    if not fitted or not shared:
        return {REASON: TOO_FEW}
    table = np.array([[each[row.row.comparison_id] for row in shared] for each in by_fit])
    prompts = jackknife.numbered(row.row.prompt.id for row in shared)
    return {METRIC: label_value.fit([*fitted, whole], table, prompts).to_json()}


def _fit(
    place: RunPlace,
    inputs: RewardInputs,
    train: Sequence[RankedPrompt],
    heldout: Sequence[RankedPrompt],
    roles: Roles,
    note: str,
) -> dict[int, list[float]]:
    part = replace(inputs, train=train, heldout=heldout, comparisons=len(train))
    config = reward.begin(roles, part)
    names = reward_model.names(config.members)
    for report in reward_model.train(roles, train, heldout, config, TrainingState()):
        place.report(report.step, report.steps_total, note)
        if place.should_stop() in {"cancel", "preempt"}:
            raise Interrupted(f"{place.title} was asked to stop in {note}")
    fitted = AdapterReward(roles, names, scoring.probe(roles))
    return {
        int(item.ranked.key.removeprefix("comparison-")): list(item.scores)
        for item in reward_figures.score_all(fitted, heldout)
    }


def _write(file: Path, scores: Mapping[int, Sequence[float]]) -> None:
    aside = file.with_suffix(".part")
    aside.write_text(json.dumps(scores), encoding="utf-8")
    aside.replace(file)


def _read(file: Path) -> dict[int, list[float]]:
    found = json.loads(file.read_text(encoding="utf-8"))
    return {int(comparison): scores for comparison, scores in found.items()}
