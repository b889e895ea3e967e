"""A help desk whose labelers' taste is known: its models, its comparisons, and the truth.

Texts, taste and labelers are the first run's, so are the settings of every training; only the web
application between them is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from app.demo import grammar, panel, project, taste, truth
from app.demo.plan import DemoPlan
from app.demo.taste import Taste
from app.demo.truth import PolicyCompletions, PolicyTruth, RewardTruth, ScoredComparison
from app.domain import jackknife
from app.domain.judgment_kinds import JudgmentKind
from app.domain.measures import Measure
from app.domain.plan import RoundPlan
from app.simulation.labelers import ComparisonView, ShownCompletion, SimulatedLabeler
from worker.rlhf.core.examples import PreferencePair, PromptItem, RankedPrompt, SampledCompletion
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model import models, saving
from worker.rlhf.model.roles import BASE, Roles
from worker.rlhf.reward import head_scale, scoring
from worker.rlhf.reward import reward_model as fitting
from worker.rlhf.reward.normalizer import Scale
from worker.rlhf.reward.scoring import AdapterReward, RewardFunction, Scores
from worker.rlhf.reward.shared_prefix import Branches
from worker.rlhf.sampling import sampling
from worker.rlhf.sft import finetuning as imitation
from worker.runs.sft import PromptResponse
from worker.training import reward as reward_recipe
from worker.training import sft as sft_recipe
from worker.training import token_ids


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything; the defaults are those of the proof."""

    demonstrations: int = 5600
    sft_steps: int = 560
    rounds: int = 3
    labelled: int = 200  # prompts of each round
    watched: int = 60  # prompts whose comparisons say when the reward model is at its best
    test: int = 240  # prompts on which all claims are measured
    policy_prompts: int = 1280
    policy_steps: int = 30
    looks: int = 128  # prompts of a look at the policy
    evaluated: int = 240  # prompts on which people compare a round's policy with the one before
    episodes: int = 64
    labels: tuple[int, ...] = (25, 100, 400)  # comparisons of the reward models compared
    few_labels: int = 60  # of the one that is optimised too far
    overdone_steps: int = 40


@dataclass(frozen=True, slots=True)
class Judged:
    """A prompt with its completions, and the order in which each labeler put them."""

    prompt: str
    completions: tuple[SampledCompletion, ...]
    orders: tuple[tuple[tuple[int, ...], ...], ...]  # a labeler's groups, best first

    @property
    def texts(self) -> tuple[str, ...]:
        """What the completions say."""
        return tuple(one.text for one in self.completions)


@dataclass(frozen=True, slots=True)
class RewardModel:
    """A reward model on a base of its own, and what it was trained on."""

    roles: Roles
    names: tuple[str, ...]
    function: AdapterReward

    def scores(
        self, rows: Sequence[Judged], ids: Mapping[str, tuple[int, ...]]
    ) -> list[ScoredComparison]:
        """Score the completions of judged prompts."""
        asked = [
            Branches(ids[row.prompt], [one.token_ids for one in row.completions]) for row in rows
        ]
        flat = iter(self.function.score(asked).raw.tolist())
        return [
            ScoredComparison(row.prompt, row.texts, tuple(next(flat) for _ in row.completions))
            for row in rows
        ]


@dataclass(slots=True)
class Desk:
    """One seed's help desk; `folder` holds its SFT model."""

    seed: int
    sizes: Sizes
    folder: Path
    taste: Taste = taste.DEFAULT
    demo: DemoPlan = field(default_factory=DemoPlan)

    @property
    def plan(self) -> RoundPlan:
        """The first run's plan at these sizes."""
        plan = RoundPlan.from_json(self.demo.round_plan(self.seed))
        assert plan.sft is not None
        return replace(
            plan,
            sft=replace(plan.sft, max_steps=self.sizes.sft_steps),
            policy=replace(
                plan.policy,
                prompts=self.sizes.policy_prompts,
                max_steps=self.sizes.policy_steps,
                batch_size=self.sizes.episodes,
                heldout_prompts=self.sizes.looks,
            ),
        )

    def prompts(self) -> "Prompts":
        """Return prompts for everything, all different, and none of them demonstrated."""
        sizes = self.sizes
        counts = [sizes.test, sizes.watched, sizes.looks, sizes.policy_prompts]
        counts += [sizes.labelled] * max(2, sizes.rounds) + [sizes.evaluated]
        asked = grammar.prompts(sizes.demonstrations + sum(counts), self.seed)
        left = iter(asked[sizes.demonstrations :])
        test, watched, looks, policy, *some = (
            tuple(one.text for one in islice(left, count)) for count in counts
        )
        return Prompts(test, watched, looks, policy, tuple(some[:-1]), some[-1])

    def imitate(self) -> None:
        """Train the SFT model from nothing, and save it."""
        plan = self.plan
        assert plan.sft is not None
        asked = grammar.prompts(self.sizes.demonstrations, self.seed)
        shown = [
            PromptResponse(number, _turns(one.prompt.text), one.answer)
            for number, one in enumerate(grammar.demonstrations(asked, self.seed))
        ]
        made = sft_recipe.build_starter(
            plan.sft.starter, shown, project.INSTRUCTION, seed=self.seed, device="cpu"
        )
        roles = Roles(made)
        examples, _ = sft_recipe.encode(roles, shown, project.INSTRUCTION, plan.sft.max_tokens)
        config = sft_recipe.config_of(plan.sft, is_starter=True, seed=self.seed)
        for _ in imitation.train(roles, examples, config, TrainingState()):
            pass
        self.folder.mkdir(parents=True, exist_ok=True)
        saving.save_full(made, self.folder)

    def roles(self) -> Roles:
        """Load the SFT model."""
        return Roles(models.load(self.folder))

    def ids(self, roles: Roles, prompt: str) -> tuple[int, ...]:
        """Return a prompt's ids."""
        return token_ids.prompt_ids(roles.loaded, _turns(prompt), project.INSTRUCTION)

    def items(self, roles: Roles, prompts: Sequence[str]) -> list[PromptItem]:
        """Return prompts as the loops take them; the text is the key."""
        return [PromptItem(one, self.ids(roles, one)) for one in prompts]

    def answers(
        self, roles: Roles, prompts: Sequence[str], *, role: str = BASE, n: int = 1, seed: int = 0
    ) -> dict[str, list[SampledCompletion]]:
        """Let a role answer prompts n times."""
        given = self.plan.sampling
        config = sampling.SamplingConfig(
            n=n,
            max_new_tokens=given.max_new_tokens,
            seed=self.seed * 1009 + seed,
            batch_size=given.batch_size,
        )
        found: dict[str, list[SampledCompletion]] = {one: [] for one in prompts}
        for one in sampling.generate(roles, self.items(roles, prompts), config, role):
            found[one.prompt_key].append(one)
        return found

    def judged(self, answers: Mapping[str, Sequence[SampledCompletion]], name: str) -> list[Judged]:
        """Let the panel rank the answers to each prompt; `name` tells occasions apart."""
        labelers = panel.make(self.demo, self.taste.name, self.seed)
        found = []
        for number, (prompt, given) in enumerate(answers.items()):
            turn = [labelers[(number + k) % len(labelers)] for k in range(self.demo.overlap)]
            orders = tuple(_ranked(one, f"{name}-{number}", prompt, given) for one in turn)
            found.append(Judged(prompt, tuple(given), orders))
        return found

    def reward_model(
        self, rows: Sequence[Judged], watched: Sequence[Judged], *, plan: RoundPlan | None = None
    ) -> RewardModel:
        """Fit a reward model to judged prompts, on the scale of the SFT model's own answers."""
        plan = plan or self.plan
        roles = self.roles()
        config = reward_recipe.config_of(plan, len(rows))
        names = fitting.prepare(roles, config)
        train, heldout = (self.rankings(roles, some) for some in (rows, watched))
        head_scale.settle(roles, names, train)  # as a job does
        for _ in fitting.train(roles, train, heldout, config, TrainingState()):
            pass
        function = AdapterReward(roles, names, scoring.probe(roles))
        own = self.answers(roles, self.prompts().looks, seed=99)
        asked = [
            Branches(self.ids(roles, prompt), [one.token_ids]) for prompt, (one,) in own.items()
        ]
        normaliser = reward_recipe.fit_scale(function, asked, plan)
        penalty = plan.policy.uncertainty_penalty
        return RewardModel(roles, names, replace(function, normalizer=normaliser, penalty=penalty))

    def utility(self, prompt: str, text: str) -> float:
        """Return the truth."""
        return self.taste.utility(prompt, text)

    def scored(self, model: RewardModel, rows: Sequence[Judged]) -> list[ScoredComparison]:
        """Let a reward model score judged prompts."""
        return model.scores(rows, {row.prompt: self.ids(model.roles, row.prompt) for row in rows})

    def truth_of(
        self, model: RewardModel, rows: Sequence[Judged], longer_wins: bool
    ) -> RewardTruth:
        """Hold a reward model against the truth."""
        return truth.reward(self.scored(model, rows), self.utility, longer_wins=longer_wins)

    def votes_of(self, model: RewardModel, rows: Sequence[Judged]) -> Measure:
        """Return how often a reward model agrees with a single labeler's strict preference."""
        return jackknife.share(votes(rows, [one.scores for one in self.scored(model, rows)]))

    def won(self, old: Mapping[str, str], new: Mapping[str, str]) -> PolicyTruth:
        """Hold the answers of two models to the same prompts against the truth."""
        rows = [PolicyCompletions(prompt, old[prompt], new[prompt]) for prompt in old]
        return truth.policy(rows, self.utility)

    def share_for(
        self,
        old: Mapping[str, Sequence[SampledCompletion]],
        new: Mapping[str, Sequence[SampledCompletion]],
        name: str,
    ) -> Measure:
        """Let one labeler of the panel compare both first answers to each prompt, blindly."""
        labelers = panel.make(self.demo, self.taste.name, self.seed)
        shares = []
        for number, prompt in enumerate(old):
            given = (old[prompt][0], new[prompt][0])
            labeler = labelers[number % len(labelers)]
            shares.append(_share(_ranked(labeler, f"{name}-{number}", prompt, given), 1, 0))
        return jackknife.share(shares)

    def rankings(self, roles: Roles, rows: Sequence[Judged]) -> list[RankedPrompt]:
        """Return judged prompts as a reward model learns from them."""
        return [self._ranking(roles, row, number) for number, row in enumerate(rows)]

    def _ranking(self, roles: Roles, row: Judged, number: int) -> RankedPrompt:
        pairs = tuple(
            PreferencePair(
                first, second, fmean(_share(order, first, second) for order in row.orders)
            )
            for first, second in combinations(range(len(row.completions)), 2)
        )
        return RankedPrompt(
            f"{number}",
            self.ids(roles, row.prompt),
            tuple(one.token_ids for one in row.completions),
            pairs,
        )


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts by what they are for; none is in two parts."""

    test: tuple[str, ...]
    watched: tuple[str, ...]
    looks: tuple[str, ...]
    policy: tuple[str, ...]
    rounds: tuple[tuple[str, ...], ...]
    evaluated: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrueReward:
    """The truth as a reward, on the scale of the SFT model's own answers: no reward model errs."""

    desk: Desk
    roles: Roles
    scale: Scale

    @classmethod
    def fit(cls, desk: Desk, roles: Roles) -> "TrueReward":
        """Scale the truth as a reward model is scaled."""
        own = desk.answers(roles, desk.prompts().looks, seed=99)
        values = [desk.utility(prompt, one.text) for prompt, (one,) in own.items()]
        return cls(desk, roles, Scale.fit(torch.tensor(values)))

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the true utilities, raw and scaled."""
        raw = torch.tensor(_utilities(self.desk, self.roles, branches))
        return Scores(raw, self.scale(raw))


@dataclass(slots=True)
class Witness:
    """A reward that also notes the truth about every batch it scores."""

    inner: RewardFunction
    desk: Desk
    roles: Roles
    seen: list[tuple[float, float]] = field(default_factory=list)  # reward, truth: batch means

    def score(self, branches: Sequence[Branches]) -> Scores:
        """Return the reward's scores, and note their mean and the true utility's."""
        found = self.inner.score(branches)
        true = fmean(_utilities(self.desk, self.roles, branches))
        self.seen.append((float(found.normalized.mean()), true))
        return found


def _utilities(desk: Desk, roles: Roles, branches: Sequence[Branches]) -> list[float]:
    tokenizer = roles.loaded.tokenizer
    return [
        desk.utility(
            str(tokenizer.decode(list(one.prompt_ids), skip_special_tokens=True)),
            str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip(),
        )
        for one in branches
        for ids in one.completions
    ]


def longer_wins(rows: Sequence[Judged]) -> bool:
    """Return which way length predicts the panel's choice, from the comparisons trained on."""
    lead = 0.0
    for row in rows:
        for order in row.orders:
            for better, worse in strict(order):
                gap = len(row.texts[better]) - len(row.texts[worse])
                lead += (gap > 0) - (gap < 0)
    return lead >= 0


def _turns(prompt: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}]


def _ranked(
    labeler: SimulatedLabeler, name: str, prompt: str, given: Sequence[SampledCompletion]
) -> tuple[tuple[int, ...], ...]:
    shown = tuple(ShownCompletion(key, one.text) for key, one in enumerate(given))
    return labeler.judge(
        ComparisonView(name, prompt, shown, JudgmentKind.RANK, allows_ties=True)
    ).groups


def votes(rows: Sequence[Judged], scores: Sequence[Sequence[float]]) -> list[float]:
    """Return the share of single votes that scores meet, for each row with a strict preference."""
    shares = []
    for row, own in zip(rows, scores, strict=True):
        told = [
            0.5 if own[better] == own[worse] else float(own[better] > own[worse])
            for order in row.orders
            for better, worse in strict(order)
        ]
        if told:
            shares.append(fmean(told))
    return shares


def strict(order: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Return the pairs of an order that are not ties, the better one first."""
    return [
        (better, worse)
        for above, below in combinations(order, 2)
        for better in above
        for worse in below
    ]


def _share(order: Sequence[Sequence[int]], first: int, second: int) -> float:
    places = {key: place for place, group in enumerate(order) for key in group}
    gap = places[second] - places[first]
    return 0.5 if not gap else float(gap > 0)


def use_threads(count: int | None) -> None:
    """Bound the threads of this process, for who runs several seeds at once."""
    if count is not None:
        torch.set_num_threads(count)
