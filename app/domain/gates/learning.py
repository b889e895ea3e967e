"""Gates on what is learned: data left out, the reward model's worth, and a policy that moved."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from app.domain import signs
from app.domain.gate_policies import Gate
from app.domain.gates.verdicts import PlanRemedy, Verdict, several, share, working
from app.domain.plan import RoundPlan
from app.domain.states import RoundState

LEFT_OUT_MOST = 0.3
"""Share of the data that may be left out of a training."""

KL_LEAST_NATS = 0.02
"""KL of a policy to the model it is held to, per response, below which it has not moved."""

GAIN_LEAST = 0.05
"""Gain in reward, in standard deviations of the start model's, that counts as one."""

RATE_MOST = 1.0


@dataclass(frozen=True, slots=True)
class LeftOutFigures:
    """What a training left out.

    Attributes:
        what: the data, in the plural: "comparisons", "demonstrations" or "prompts".
        stage: that trains on it.
        total: how many there were.
        too_long: left out for their length.
        refused: left out because the model's chat template refuses them.
        setting: of the plan that limits the length, as a path.
        limit: its value, in tokens.
        enough: a limit that would keep nearly all; None if there is none.
    """

    what: str
    stage: RoundState
    total: int
    too_long: int
    refused: int
    setting: str
    limit: int
    enough: int | None

    def verdict(self, plan: RoundPlan) -> Verdict:
        """Fire if too much is left out."""
        kept = self.total - self.too_long - self.refused
        return Verdict(
            Gate.LEFT_OUT,
            self.total - kept > LEFT_OUT_MOST * self.total,
            f"{kept:,} of {self.total:,} {self.what} used ({share(kept, self.total)})",
            f"at least {100 - 100 * LEFT_OUT_MOST:.0f} %",
            " ".join(self._reasons(kept)),
            working(plan, self._remedies()),
        )

    def _reasons(self, kept: int) -> Iterator[str]:
        yield f"Only {kept:,} of {self.total:,} {self.what} can be trained on."
        if self.too_long:
            yield f"{self.too_long:,} are too long under the limit of {self.limit:,} tokens."
        if self.refused:
            yield f"{self.refused:,} are refused by the model’s chat template."

    def _remedies(self) -> Iterator[PlanRemedy]:
        if self.too_long and self.enough is not None and self.enough != self.limit:
            yield PlanRemedy(
                "limit",
                f"Set the limit to {self.enough:,} tokens",
                f"Keeps nearly all {self.what}; longer texts take more memory and time."
                if self.enough > self.limit
                else "Leaves room for longer prompts; responses become shorter.",
                {self.setting: self.enough},
                self.stage,
            )


@dataclass(frozen=True, slots=True)
class RewardFigures:
    """A reward model on single held-out votes; None where a figure is not defined.

    Attributes:
        comparisons: held-out ones that were measured.
        accuracy: share of votes that it predicts, with its interval `low` to `high`.
        length_rule: which of two responses a rule of thumb prefers: "longer" or "shorter".
        length_accuracy: share of the same votes that this rule predicts.
        over_length_low: lower end of the interval of the difference between both.
        wanted: held-out prompts that the plan asked for.
        trained: comparisons that it learned from.
        epochs: of the training; None in figures recorded before it was chosen by the worker.
        rate: peak learning rate of the training; None likewise.
        is_searched: whether the rate was chosen by a search.
    """

    comparisons: int
    accuracy: float | None
    low: float | None
    high: float | None
    length_rule: str
    length_accuracy: float | None
    over_length_low: float | None
    wanted: int
    trained: int
    epochs: int | None = None
    rate: float | None = None
    is_searched: bool = False

    @property
    def beats_chance(self) -> bool:
        """Whether the interval is above 50 %; with an undefined one, whether the accuracy is."""
        if self.accuracy is None:
            return self.wanted == 0
        return (self.accuracy if self.low is None else self.low) > 0.5

    @property
    def beats_length(self) -> bool:
        """Whether it predicts more than length alone does."""
        if self.accuracy is None or self.length_accuracy is None:
            return True
        if self.over_length_low is None:
            return self.accuracy > self.length_accuracy
        return self.over_length_low > 0.0

    def verdict(self, plan: RoundPlan) -> Verdict:
        """Fire if the model is not known to be better than chance, or than length alone."""
        fires = not (self.beats_chance and self.beats_length)
        return Verdict(
            Gate.REWARD,
            fires,
            self._figure(),
            "an interval above 50 % and above length alone",
            self._reason() if fires else "",
            working(plan, self._remedies(plan)),
        )

    def _figure(self) -> str:
        if self.accuracy is None:
            return "no held-out vote was measured"
        interval = (
            ""
            if self.low is None or self.high is None
            else f" [{100 * self.low:.0f}, {100 * self.high:.0f}]"
        )
        length = (
            ""
            if self.length_accuracy is None
            else f", length alone {100 * self.length_accuracy:.0f} %"
        )
        return f"{100 * self.accuracy:.0f} %{interval} of held-out votes{length}"

    def _reason(self) -> str:
        if self.accuracy is None:
            return (
                "Nothing held out could be measured, so it is not known whether the reward model "
                "has learned anything."
            )
        if not self.beats_chance:
            return (
                f"The reward model predicts {self._figure()}. That is not above chance: a policy "
                "trained against it would learn noise."
            )
        return (
            f"The reward model predicts {self._figure()}. It is not known to be better than "
            f"“the {self.length_rule} response wins”: a policy trained against it would learn "
            "length."
        )

    def _remedies(self, plan: RoundPlan) -> Iterator[PlanRemedy]:
        more = min(2 * plan.prompts, 10_000_000)
        heldout = min(2 * max(plan.heldout_prompts, 25), 1_000_000)
        yield PlanRemedy(
            "more_judgments",
            f"Collect judgments on {several(more - plan.prompts, 'more prompt')}",
            f"Up to {more - plan.prompts:,} more from the train split and "
            f"{heldout - plan.heldout_prompts:,} more from the validation split; then the reward "
            "model is trained again.",
            {"prompts": more, "heldout_prompts": heldout},
            RoundState.GENERATING,
        )
        epochs = self.epochs or plan.reward.epochs_for(max(1, self.trained))
        trained_at = self.rate or plan.reward.learning_rate
        if trained_at is None or self.is_searched:
            share = min(1.0, 2 * plan.reward.search_share or 0.2)
            yield PlanRemedy(
                "search_longer",
                f"Train again: {several(2 * epochs, 'epoch')} after a longer search",
                f"On the same judgments; {100 * share:.0f} % of the training time goes to the "
                "search for a learning rate.",
                {
                    "reward.learning_rate": None,
                    "reward.search_share": share,
                    "reward.epochs": 2 * epochs,
                },
                RoundState.REWARD,
            )
            return
        rate = min(3 * trained_at, RATE_MOST)
        yield PlanRemedy(
            "train_harder",
            f"Train again: {several(epochs + 1, 'epoch')} at {rate:.1g}",
            "On the same judgments, with three times the learning rate and one epoch more.",
            {"reward.learning_rate": rate, "reward.epochs": epochs + 1},
            RoundState.REWARD,
        )


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """How far a policy moved: the weights that are kept, compared with those at the start.

    Rewards are means per response, on held-out prompts if there are any. `epochs` is the number
    that the training was given.
    """

    steps: int
    best_step: int
    kl_nats: float
    reward_before: float
    reward_after: float
    epochs: int = 1

    @property
    def gain(self) -> float:
        """What the reward gained."""
        return self.reward_after - self.reward_before

    def verdict(self, plan: RoundPlan) -> Verdict:
        """Fire if the kept weights are the initial ones, or neither KL nor reward has moved."""
        stays = self.best_step == 0 or self.kl_nats < KL_LEAST_NATS
        fires = stays or self.gain < GAIN_LEAST
        return Verdict(
            Gate.POLICY,
            fires,
            f"KL {self.kl_nats:.2f} nats, reward {signs.signed(self.gain, 2)} after "
            f"{several(self.steps, 'step')}",
            f"KL of {KL_LEAST_NATS:g} nats and a reward of {GAIN_LEAST:+g}",
            self._reason() if fires else "",
            working(plan, self._remedies(plan)),
        )

    def _reason(self) -> str:
        if self.best_step == 0:
            return (
                f"In {several(self.steps, 'step')} no weights were better on held-out prompts than "
                "the initial ones, which are kept: the new policy is the old one."
            )
        if self.kl_nats < KL_LEAST_NATS:
            return (
                f"After {several(self.steps, 'step')} the policy still writes like the model it "
                f"started from (KL {self.kl_nats:.3f} nats); people would compare like with like."
            )
        return (
            f"The policy has moved (KL {self.kl_nats:.2f} nats), but its reward has not risen "
            f"({signs.signed(self.gain, 2)})."
        )

    def _remedies(self, plan: RoundPlan) -> Iterator[PlanRemedy]:
        policy = plan.policy
        epochs = 2 * (policy.epochs or self.epochs)
        longer: dict[str, int | float | bool | str | None] = {"policy.epochs": epochs}
        if policy.max_steps is not None:
            longer["policy.max_steps"] = 2 * policy.max_steps
        more = PlanRemedy(
            "longer_training",
            f"Train for {epochs:,} epochs",
            f"About {2 * max(self.steps, 1):,} steps.",
            longer,
            RoundState.POLICY,
        )
        if self.kl_nats >= KL_LEAST_NATS:
            yield _rate(plan, 1 / 3, "slower", "Smaller steps follow the reward more closely.")
            yield more
            return
        yield _rate(plan, 3.0, "faster", "Each step moves the policy about three times as far.")
        yield more
        if policy.kl_coefficient:
            half = policy.kl_coefficient / 2
            yield PlanRemedy(
                "looser",
                f"Halve the KL coefficient to {half:g}",
                "The policy is held less strongly to its start.",
                {"policy.kl_coefficient": half},
                RoundState.POLICY,
            )


def _rate(plan: RoundPlan, factor: float, key: str, effect: str) -> PlanRemedy:
    rate = float(f"{min(plan.policy.learning_rate * factor, RATE_MOST):.3g}")
    return PlanRemedy(
        key,
        f"Train at a learning rate of {rate:g}",
        effect,
        {"policy.learning_rate": rate},
        RoundState.POLICY,
    )


def enough_tokens(lengths: list[int], most: int | None) -> int | None:
    """Return a limit that 95 % of the lengths fit, rounded up to 64; None beyond `most`."""
    if not lengths:
        return None
    longest = sorted(lengths)[ceil(0.95 * len(lengths)) - 1]
    limit = 64 * ceil(longest / 64)
    if most is not None and limit > most:
        return most if longest <= most else None
    return limit
