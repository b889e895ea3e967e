"""What pre-flight drops, and what the gates on candidates go by, counted over completions."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.domain import chat_settings, earlier_turns, preflight
from app.domain.gates import candidates
from app.domain.gates.candidates import EndingFigures, PreflightFigures
from app.domain.plan import Preflight, RoundPlan
from app.domain.preflight import Defect, Draft, Sorted
from app.models import Completion, Prompt


@dataclass(slots=True)
class Waste:
    """What the pre-flight checks dropped, and the judgments that this saved."""

    sampled: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    replaced: int = 0
    prompts_without: int = 0  # too few candidates were left to compare
    comparisons_saved: int = 0

    def to_json(self, overlap: int) -> dict[str, Any]:
        """Return the counts, including the judgments saved."""
        return {
            "sampled": self.sampled,
            "dropped": dict(sorted(self.dropped.items())),
            "replaced": self.replaced,
            "prompts_without": self.prompts_without,
            "comparisons_saved": self.comparisons_saved,
            "judgments_saved": self.comparisons_saved * overlap,
        }


@dataclass(frozen=True, slots=True)
class Drawn:
    """The candidates of a round's prompts, by prompt id.

    Attributes:
        plan: of the round.
        k: candidates of a comparison.
        prompts: of the round.
        candidates: so far.
        own_ids: of the checkpoints that share the plan's candidates.
    """

    plan: RoundPlan
    k: int
    prompts: Sequence[Prompt]
    candidates: Mapping[int, Sequence[Completion]]
    own_ids: Collection[int]

    def endings(self, demonstrations: int, *, has_sft: bool) -> EndingFigures:
        """Count the responses of these models that ended by themselves."""
        own = self._own
        ended = sum(row.is_finished for row in own)
        limit = self.plan.sampling.max_new_tokens
        return EndingFigures(len(own), ended, limit, demonstrations, has_sft)

    def figures(self, *, has_spares: bool) -> PreflightFigures:
        """Count what pre-flight leaves; before the spares, also what they would bring."""
        rules = self.plan.preflight
        results = [sorted_drafts(self.plan, rows, rules) for rows in self._rows]
        keeping = replace(rules, drop_cut_off=False)
        kept_so = [sorted_drafts(self.plan, rows, keeping) for rows in self._rows]
        usable = [len(result.kept) for result in results]
        dropped = Counter(why for result in results for why in result.dropped.values())
        sampled = sum(len(rows) for rows in self._rows)
        kept = sum(count >= self.k for count in usable)
        spares = 0 if has_spares or not rules.is_on else rules.spares
        # Spares are sampled only where something was dropped, as likely to pass as the others.
        expected = candidates.expected_kept(
            [count for count, rows in zip(usable, self._rows, strict=True) if rows],
            self.k,
            spares,
            sum(usable) / sampled if sampled else 0.0,
        )
        own = self._own
        limit = self.plan.sampling.max_new_tokens
        lengths = [len(row.token_ids or ()) for row in own if row.is_finished]
        return PreflightFigures(
            prompts=len(self.prompts),
            kept=kept,
            expected=max(kept, round(expected)),
            keeping_cut_off=sum(len(result.kept) >= self.k for result in kept_so),
            unasked=sum(not rows for rows in self._rows),
            sampled=sampled,
            cut_off=dropped[Defect.CUT_OFF],
            alike=dropped[Defect.IDENTICAL] + dropped[Defect.NEAR_IDENTICAL],
            ending_by_double=candidates.ending_by_double(lengths, len(own) - len(lengths), limit),
            has_spares=has_spares,
        )

    @property
    def _rows(self) -> list[Sequence[Completion]]:
        return [self.candidates[prompt.id] for prompt in self.prompts]

    @property
    def _own(self) -> list[Completion]:
        return [row for rows in self._rows for row in rows if row.checkpoint_id in self.own_ids]


def sorted_drafts(plan: RoundPlan, rows: Sequence[Completion], rules: Preflight) -> Sorted:
    """Return what pre-flight makes of a prompt's candidates.

    They are read as labelers see them: a response that is all reasoning is empty.
    """
    mark = plan.chat.thought_end if plan.chat else ""
    drafts = [
        Draft(
            chat_settings.without_reasoning(row.text, mark),
            row.is_finished,
            earlier_turns.responses(row.earlier),
        )
        for row in rows
    ]
    return preflight.sort(drafts, rules)
