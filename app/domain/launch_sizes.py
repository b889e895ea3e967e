"""The three choices of a launch as rules: what each asks for, given what a project has.

A choice never asks for more than there is; what is reduced is named with the reason. Settings that
a choice does not cover have the plan's defaults.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from app.domain.launch_choice import ChoiceName, LaunchChoice
from app.domain.plan import RoundPlan, SftPlan


@dataclass(frozen=True, slots=True)
class ProjectData:
    """What a project has.

    Attributes:
        train: prompts in the train split.
        validation: prompts in the validation split.
        test: prompts in the test split.
        judged: comparisons of earlier rounds and imports that the reward model learns from too.
        labelers: who can judge; 0 leaves the judgments of a comparison as they are wanted.
        overlap: judgments per comparison that the project asks for.
        k: responses in a comparison.
        does_sft: whether a round would fine-tune on demonstrations first.
        demonstrations: for that, in the train split.
    """

    train: int
    validation: int
    test: int
    judged: int = 0
    labelers: int = 0
    overlap: int = 1
    k: int = 2
    does_sft: bool = True
    demonstrations: int = 0


@dataclass(frozen=True, slots=True)
class Size:
    """What a choice asks for where there is enough of everything; the names are a plan's.

    `overlap` None is the project's, otherwise at least so much. `search_share` is that of the
    training time for finding the learning rate of SFT and of the reward model.
    """

    description: str
    prompts: int
    heldout_prompts: int
    candidates: int
    overlap: int | None
    search_share: float
    policy_prompts: int
    steps_least: int
    evaluation_prompts: int


SIZES: Final[Mapping[ChoiceName, Size]] = {
    ChoiceName.QUICK: Size(
        "See the whole loop and find mistakes in the data; do not expect a better policy.",
        prompts=100,
        heldout_prompts=30,
        candidates=2,
        overlap=1,
        search_share=0.1,
        policy_prompts=500,
        steps_least=10,
        evaluation_prompts=100,
    ),
    ChoiceName.BALANCED: Size(
        "A round that can improve the policy, and an evaluation that can show it.",
        prompts=400,
        heldout_prompts=100,
        candidates=4,
        overlap=None,
        search_share=0.2,
        policy_prompts=2000,
        steps_least=20,
        evaluation_prompts=200,
    ),
    ChoiceName.THOROUGH: Size(
        "More judgments, several per comparison, and longer training: a result you can rely on.",
        prompts=1000,
        heldout_prompts=150,
        candidates=8,
        overlap=3,
        search_share=0.3,
        policy_prompts=5000,
        steps_least=40,
        evaluation_prompts=400,
    ),
}

SFT_STEPS_WANTED: Final = 50
SFT_BATCHES: Final = (64, 32, 16, 8)
"""Demonstrations in a step of SFT: the first that gives as many steps, or the last."""

OF_THE_PROJECT: Final = ("chat", "seed", "reward.labelers", "reward.labelers_from")
"""Parts of a plan that come from the project, not from a choice."""


def applied(name: ChoiceName, data: ProjectData, plan: RoundPlan | None = None) -> RoundPlan:
    """Return a plan with the settings of a choice; all others are kept.

    Args:
        name: of the choice.
        data: what the project has.
        plan: None: the defaults.
    """
    plan, size = plan or RoundPlan(), SIZES[name]
    reduced: list[str] = []
    prompts = _new_prompts(size.prompts, data, reduced)
    sft = plan.sft and _sft(replace(plan.sft, search_share=size.search_share), data, reduced)
    overlap = _overlap(size, data, reduced)
    return replace(
        plan,
        prompts=prompts,
        heldout_prompts=_within(
            size.heldout_prompts, data.validation, "validation", "hold out", reduced, least=0
        ),
        candidates=max(size.candidates, data.k),
        overlap=None if overlap == data.overlap else overlap,
        sft=sft,
        reward=replace(plan.reward, search_share=size.search_share),
        policy=replace(
            plan.policy,
            prompts=_within(size.policy_prompts, data.train, "train", "train the policy on"),
            steps_least=size.steps_least,
        ),
        evaluation=replace(
            plan.evaluation,
            prompts=_within(size.evaluation_prompts, data.test, "test", "evaluate on", reduced),
        ),
        choice=LaunchChoice(name, reduced=tuple(reduced)),
    )


def recorded(plan: RoundPlan, name: ChoiceName, data: ProjectData) -> RoundPlan:
    """Return the plan with the choice that it was made from, and what differs from that."""
    chosen = applied(name, data)
    assert chosen.choice is not None
    changed = tuple(_changes(chosen, plan, data))
    return replace(plan, choice=replace(chosen.choice, changed=changed))


def moved(plan: RoundPlan, before: ChoiceName, name: ChoiceName, data: ProjectData) -> RoundPlan:
    """Return a plan made from one choice as one of another; what differs from the first is kept."""
    old, new, current = (
        _flat(one) for one in (applied(before, data, plan), applied(name, data, plan), plan)
    )
    unchanged = old | _unreduced(before, data)
    settled = {
        key: new[key] if value in (old.get(key), unchanged.get(key)) else value
        for key, value in current.items()
    }
    return _plan_of(settled)


def renewed(plan: RoundPlan, data: ProjectData) -> RoundPlan:
    """Return the plan of an earlier round as one of the next: its choice, for what there is now.

    What was changed of the choice is kept. A plan that was made from no choice stays as it is.
    """
    if plan.choice is None:
        return plan
    kept = {text.split(" ", 1)[0] for text in plan.choice.changed}
    new = _flat(applied(plan.choice.name, data, plan))
    settled = {
        key: value if key in kept else new.get(key, value) for key, value in _flat(plan).items()
    }
    return replace(_plan_of(settled), choice=plan.choice)


def _new_prompts(wanted: int, data: ProjectData, reduced: list[str]) -> int:
    """Return the prompts to label: half of what is judged already counts, up to half of them."""
    fewer = max(wanted - data.judged // 2, -(-wanted // 2))
    if fewer < wanted and data.train > fewer:
        reduced.append(
            f"{fewer:,} prompts to label instead of {wanted:,}: {data.judged:,} "
            f"comparison{' is' if data.judged == 1 else 's are'} judged already"
        )
    return _within(fewer, data.train, "train", "label", reduced)


def _sft(plan: SftPlan, data: ProjectData, reduced: list[str]) -> SftPlan:
    """Return SFT in steps so small that few demonstrations are enough of them."""
    most = SFT_BATCHES[0]
    if not data.does_sft or not data.demonstrations:
        return replace(plan, batch_size=most)
    sizes = (replace(plan, batch_size=size) for size in SFT_BATCHES)
    smaller = replace(plan, batch_size=SFT_BATCHES[-1])
    sft = next((s for s in sizes if _sft_steps(s, data) >= SFT_STEPS_WANTED), smaller)
    if sft.batch_size < most:
        steps = _sft_steps(replace(plan, batch_size=most), data)
        reduced.append(
            f"{sft.batch_size} demonstrations in a step of SFT instead of {most}, which would make "
            f"only {steps} step{'' if steps == 1 else 's'} of {data.demonstrations:,}"
        )
    return sft


def _sft_steps(plan: SftPlan, data: ProjectData) -> int:
    return plan.steps(data.demonstrations).total


def _within(
    wanted: int,
    there: int,
    split: str,
    use: str,
    reduced: list[str] | None = None,
    *,
    least: int = 1,
) -> int:
    """Return as many prompts as wanted, or as there are; `reduced` takes the reason."""
    if there >= wanted:
        return wanted
    if reduced is not None:
        reduced.append(
            f"{there:,} prompt{'' if there == 1 else 's'} to {use} instead of {wanted:,}: the "
            f"{split} split has no more"
        )
    return max(there, least)


def _overlap(size: Size, data: ProjectData, reduced: list[str]) -> int:
    wanted = data.overlap if size.overlap is None else size.overlap
    if size.overlap is not None and size.overlap > 1:
        wanted = max(wanted, data.overlap)
    if not data.labelers or wanted <= data.labelers:
        return wanted
    people = "is one labeler" if data.labelers == 1 else f"are {data.labelers} labelers"
    reduced.append(
        f"{data.labelers} judgment{'' if data.labelers == 1 else 's'} per comparison instead of "
        f"{wanted}: there {people}"
    )
    return data.labelers


def _changes(chosen: RoundPlan, plan: RoundPlan, data: ProjectData) -> Iterator[str]:
    old, new = _flat(chosen), _flat(plan)
    absent = {key for key, value in new.items() if value is None}
    ignored = OF_THE_PROJECT if data.does_sft else (*OF_THE_PROJECT, "sft")
    unreduced = _unreduced(chosen.choice.name, data) if chosen.choice else {}
    for key in sorted(old.keys() | new.keys()):
        sections = {key[:at] for at, sign in enumerate(key) if sign == "."}
        if key in ignored or sections & {*ignored, *absent}:
            continue
        was, now = old.get(key), new.get(key)
        if key in absent and any(other.startswith(f"{key}.") for other in old):
            yield f"{key} none instead of on"
        elif was != now and now != unreduced.get(key):
            yield f"{key} {_shown(now)} instead of {_shown(was)}"


def _unreduced(name: ChoiceName, data: ProjectData) -> dict[str, int]:
    """Return what a choice asks for where a project has less, which is then all of it.

    A plan that asks for as many, such as one with the defaults, comes to the same.
    """
    size = SIZES[name]
    wanted = {
        "prompts": (size.prompts, _new_prompts(size.prompts, data, []), data.train),
        "heldout_prompts": (size.heldout_prompts, size.heldout_prompts, data.validation),
        "policy.prompts": (size.policy_prompts, size.policy_prompts, data.train),
        "evaluation.prompts": (size.evaluation_prompts, size.evaluation_prompts, data.test),
    }
    return {key: most for key, (most, least, there) in wanted.items() if there <= least}


def _flat(plan: RoundPlan) -> dict[str, Any]:
    """Return the settings of a plan by dotted name; a section that is absent is None.

    The record of a choice is not a setting.
    """

    def leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            if isinstance(value, Mapping) and value:
                yield from leaves(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(leaves({key: v for key, v in plan.to_json().items() if key != "choice"}, ""))


def _plan_of(flat: Mapping[str, Any]) -> RoundPlan:
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        place = nested
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value
    return RoundPlan.from_json(nested)


def _shown(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return "on"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)
