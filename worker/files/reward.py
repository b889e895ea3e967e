"""A reward model from the judgments in a file: comparisons, ratings on criteria, thumbs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.domain.plan import RewardPlan
from app.domain.reward_parts import Weighing
from app.errors import Invalid
from worker.files import rows, training
from worker.files.folder import RunFolder
from worker.files.rows import Compared
from worker.files.training import Wanted
from worker.rlhf.core.examples import RankedPrompt
from worker.rlhf.model import saving
from worker.rlhf.reward import criterion_heads, scoring
from worker.rlhf.reward import reward_model as fitting
from worker.rlhf.reward.criterion_heads import Criteria
from worker.rlhf.reward.ranking_loss import split_by_length
from worker.rlhf.reward.reward_report import ScoredPrompt
from worker.rlhf.reward.scoring import AdapterReward
from worker.runs import following, reward_figures, rewards
from worker.runs import reward as jobs

NOTHING_HELD_OUT: Final = "nothing that was judged was held out"


def run(wanted: Wanted, folder: RunFolder) -> None:
    """Fit a reward model, hold it against the held-out judgments, scale it."""
    refuse_weights_of_people(wanted.plan.reward)
    parted = wanted.read(rows.judgments)
    roles = wanted.roles()
    train, heldout = (
        training.rankings(part, roles, wanted.instruction)
        for part in (parted.train, parted.heldout)
    )
    fitted = criterion_heads.fit(train, criterion_weights(parted.train))
    config = jobs.config_of(wanted.plan, len(train), fitted, roles=roles)
    # A classifier that is not there is found out before anything is trained.
    tokenizer, plan = roles.loaded.tokenizer, wanted.plan.reward
    parts = [rewards.build(one, tokenizer, wanted.device) for one in plan.parts]
    names = fitting.prepare(roles, config)
    jobs.start_from_sft(roles, names)
    state = training.begin(folder)
    loop = fitting.train(roles, train, heldout, config, state)
    ended = following.follow(
        folder, loop, state, save_every=wanted.save_every, note="fitting the judgments"
    )
    reward = AdapterReward(roles, names, scoring.probe(roles))
    report, scored = measure(train, heldout, reward, config.max_tokens, fitted)
    metrics = training.figures(ended, parted) | report
    folder.watcher.say("Scaling the scores to the model's own answers …")
    asked = _prompts(wanted, parted.train)
    answers = jobs.own_answers(roles, asked, wanted.instruction, wanted.plan)
    settings = {
        "names": list(names),
        "normaliser": jobs.scaled(reward, answers, wanted.plan).to_json(),
        "training": config.to_json(),
        **rewards.noted(plan, parts, answers),
    }

    def write(aside: Path) -> None:
        for name in names:
            saving.save_reward(roles, aside / name, role=name)
        texts = {f"line-{one.line}-{n}": one for n, one in enumerate(parted.heldout)}
        lines = (_line(texts[one.ranked.key], one) for one in scored)
        (aside / jobs.HELDOUT_SCORES).write_text("".join(lines), encoding="utf-8")

    folder.publish(wanted.card("Reward model", settings, metrics), write)


def criterion_weights(compared: Sequence[Compared]) -> dict[str, float]:
    """Return the weights of the criteria that were rated, as the last row has them."""
    found: dict[str, float] = {}
    for one in compared:
        found |= one.weights
    return found


def refuse_weights_of_people(plan: RewardPlan) -> None:
    """Refuse what only a project knows: how many judged, and who.

    Raises:
        Invalid: naming the setting and its value.
    """
    if plan.weighing is not Weighing.EQUAL:
        raise Invalid(
            f"reward.weighing = {plan.weighing} counts a project's judgments; rows of a file weigh "
            "the same"
        )
    if plan.labelers:
        raise Invalid("reward.labelers weighs a project's labelers; rows of a file all weigh 1")


def measure(
    train: Sequence[RankedPrompt],
    heldout: Sequence[RankedPrompt],
    reward: AdapterReward,
    max_tokens: int,
    fitted: Criteria = (),
) -> tuple[dict[str, Any], list[ScoredPrompt]]:
    """Return the report on held-out judgments, and the scores behind it."""
    fit, too_long = split_by_length(heldout, max_tokens)
    _, too_long_train = split_by_length(train, max_tokens)
    found: dict[str, Any] = {"too_long": [one.key for one in [*too_long_train, *too_long]]}
    if not fit:
        return found | {
            "heldout": None,
            "heldout_reason": "nothing that was judged was held out",
        }, []
    scored = reward_figures.score_all(reward, fit)
    return found | reward_figures.on_heldout(train, scored, reward, fitted), scored


def _prompts(
    wanted: Wanted, compared: Sequence[Compared]
) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    different = {one.key: one.messages for one in compared}
    return list(different.items())[: wanted.plan.reward.normaliser_prompts]


def _line(row: Compared, one: ScoredPrompt) -> str:
    said = {
        "line": row.line,
        "messages": [dict(turn) for turn in row.messages],
        "texts": list(row.texts),
        "scores": list(one.scores),
    }
    return json.dumps(said, ensure_ascii=False) + "\n"
