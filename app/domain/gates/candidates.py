"""Gates on a round's candidates: whether responses end, and whether enough can be compared."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import comb, exp, log1p

from app.domain.gate_policies import Gate
from app.domain.gates.verdicts import PlanRemedy, Verdict, several, share, working
from app.domain.plan import RoundPlan, SftPlan
from app.domain.states import RoundState

KEPT_LEAST = 0.7
"""Share of the prompts that pre-flight must leave with enough candidates for a comparison."""

ENDED_LEAST = 0.05
"""Share of the responses that must end before the length limit for the model to know how."""

LONGEST_TOKENS = 32_768


@dataclass(frozen=True, slots=True)
class EndingFigures:
    """How many sampled responses ended by themselves, and whether SFT could teach it."""

    sampled: int
    ended: int
    limit: int  # tokens
    demonstrations: int  # in the train split
    has_sft: bool

    def verdict(self, plan: RoundPlan) -> Verdict:
        """Fire if hardly any response ended; if the plan keeps such responses, only to warn."""
        drops = plan.preflight.is_on and plan.preflight.drop_cut_off
        return Verdict(
            Gate.ENDINGS,
            self.sampled > 0 and self.ended < ENDED_LEAST * self.sampled,
            f"{self.ended:,} of {several(self.sampled, 'response')} ended by themselves "
            f"({share(self.ended, self.sampled)})",
            f"at least {ENDED_LEAST:.0%}".replace("%", " %"),
            f"The model does not end its responses: it reached the limit of "
            f"{self.limit:,} tokens in all but {self.ended:,} of "
            f"{self.sampled:,}. A base model that was never trained to respond does that.",
            working(plan, self._remedies(plan)),
            can_wait=drops,
        )

    def _remedies(self, plan: RoundPlan) -> Iterator[PlanRemedy]:
        if self.demonstrations and not self.has_sft:
            yield PlanRemedy(
                "sft",
                "Fine-tune on the demonstrations first",
                f"{several(self.demonstrations, 'demonstration')} teach the model to end.",
                {"sft": asdict(plan.sft or SftPlan())},
                RoundState.SFT,
            )
        yield keep_cut_off(None, self.sampled)
        yield from _longer(plan, None)


@dataclass(frozen=True, slots=True)
class PreflightFigures:
    """What pre-flight left of the prompts.

    Attributes:
        prompts: of the round.
        kept: prompts with enough usable candidates for a comparison.
        expected: the same if the spares had been drawn too; equal to `kept` once they are.
        keeping_cut_off: prompts that would be kept if cut-off responses were.
        unasked: prompts without any response: too long, or refused by the chat template.
        sampled: candidates.
        cut_off: candidates that were dropped because they did not end.
        alike: candidates that were dropped because they repeat another.
        ending_by_double: estimated share of responses that end within twice the limit.
        has_spares: whether the spares were drawn.
    """

    prompts: int
    kept: int
    expected: int
    keeping_cut_off: int
    unasked: int
    sampled: int
    cut_off: int
    alike: int
    ending_by_double: float | None
    has_spares: bool

    def verdict(self, plan: RoundPlan) -> Verdict:
        """Fire if too few prompts are kept, however many spares are drawn."""
        return Verdict(
            Gate.PREFLIGHT,
            max(self.kept, self.expected) < KEPT_LEAST * self.prompts,
            f"{self.kept:,} of {several(self.prompts, 'prompt')} kept "
            f"({share(self.kept, self.prompts)})",
            f"at least {KEPT_LEAST:.0%}".replace("%", " %"),
            self._reason(),
            working(plan, self._remedies(plan)),
        )

    def _reason(self) -> str:
        parts = [
            f"Pre-flight left {self.kept:,} of {several(self.prompts, 'prompt')} with enough "
            "candidates for a comparison."
        ]
        if self.cut_off:
            parts.append(
                f"{self.cut_off:,} of {several(self.sampled, 'candidate')} were cut off at the "
                "length limit."
            )
        if self.alike:
            parts.append(f"{self.alike:,} repeated another.")
        if self.unasked:
            parts.append(
                f"{several(self.unasked, 'prompt')} got no response: too long for the model, or "
                "refused by its chat template."
            )
        if not self.has_spares:
            parts.append("Replacements were not sampled: they would not be enough.")
        return " ".join(parts)

    def _remedies(self, plan: RoundPlan) -> Iterator[PlanRemedy]:
        if plan.preflight.drop_cut_off and self.keeping_cut_off > self.kept:
            yield keep_cut_off(self.keeping_cut_off, self.prompts)
        if self.cut_off:
            yield from _longer(plan, self.ending_by_double)
        if self.alike > self.cut_off:
            warmer = round(min(5.0, 1.25 * plan.sampling.temperature), 2)
            yield PlanRemedy(
                "warmer",
                f"Sample at temperature {warmer:g}",
                "Candidates differ more.",
                {"sampling.temperature": warmer},
                RoundState.GENERATING,
            )


def keep_cut_off(kept: int | None, prompts: int) -> PlanRemedy:
    """Return the remedy of comparing cut-off responses too; `kept` prompts would remain."""
    effect = "Labelers then judge responses that stop in the middle."
    if kept is not None:
        effect = f"Keeps {kept:,} of {several(prompts, 'prompt')}. {effect}"
    return PlanRemedy(
        "keep_cut_off",
        "Keep cut-off responses",
        effect,
        {"preflight.drop_cut_off": False},
        RoundState.GENERATING,
    )


def _longer(plan: RoundPlan, ending: float | None) -> Iterator[PlanRemedy]:
    tokens = 2 * plan.sampling.max_new_tokens
    if tokens > LONGEST_TOKENS:
        return
    effect = (
        "It is not known how many would end: hardly any has yet."
        if ending is None
        else f"About {100 * ending:.0f} % of the responses would end, going by when others did."
    )
    yield PlanRemedy(
        "longer",
        f"Raise the limit to {tokens:,} tokens",
        effect,
        {"sampling.max_new_tokens": tokens},
        RoundState.GENERATING,
    )


def ending_by_double(lengths: Sequence[int], cut_off: int, limit: int) -> float | None:
    """Estimate the share of responses that end within twice the limit.

    Responses are taken to go on ending at the rate at which they did in the last quarter before the
    limit: an exponential tail. None if none ended there, so that nothing is known of the rate.

    Args:
        lengths: tokens of the responses that ended.
        cut_off: number of those that did not.
        limit: tokens at which these were cut off.
    """
    late = [length for length in lengths if length > 0.75 * limit]
    if not late or not cut_off:
        return None if cut_off else 1.0
    at_risk = cut_off + len(late)
    rate = -log1p(-len(late) / at_risk) / (0.25 * limit)  # per token
    total = len(lengths) + cut_off
    return 1.0 - cut_off / total * exp(-rate * limit)


def expected_kept(usable: Sequence[int], k: int, spares: int, rate: float) -> float:
    """Return the expected number of prompts with k usable candidates once spares are drawn.

    Args:
        usable: candidates of each prompt that pass so far.
        k: candidates of a comparison.
        spares: more candidates that a prompt may get.
        rate: the share of candidates that pass.
    """
    return sum(_at_least(k - count, spares, rate) for count in usable)


def _at_least(wanted: int, trials: int, rate: float) -> float:
    if wanted <= 0:
        return 1.0
    return sum(
        comb(trials, hits) * rate**hits * (1.0 - rate) ** (trials - hits)
        for hits in range(wanted, trials + 1)
    )
