"""Every figure with an interval, measured on one simulated panel."""

from collections.abc import Callable

import numpy as np

from app.domain import agreement, jackknife, kendall, labeler_agreement, labeler_standing, win_rates
from app.domain.agreement import Rating
from app.domain.krippendorff import Array
from app.domain.measures import Interval, Measure, Undefined
from app.domain.votes import VoteTable
from app.domain.win_rates import BlindComparison
from tests.domain.simulated_panels import Panel, PanelPlan, simulate

Figures = dict[str, Measure]
RANKED = 4  # completions of a ranked comparison


def picks(plan: PanelPlan, seed: int) -> Figures:
    """Measure a panel of picks with a few ties."""
    panel = simulate(PanelPlan(plan.prompts, plan.per_prompt, plan.kinds, plan.overlaps, 0.1), seed)
    table = panel.table
    found = agreement.of_table(table)
    figures = {
        "raw agreement": found.raw,
        "agreement without ties": found.decided,
        "alpha": found.alpha,
        "alpha by comparison": found.alpha_by_comparison,
        "Fleiss' kappa": found.fleiss,
    }
    for row in labeler_agreement.with_others(table):
        figures[f"labeler with others:{row.labeler}"] = row.raw
        figures[f"labeler's alpha:{row.labeler}"] = row.alpha
    for pair in labeler_agreement.in_pairs(table):
        if pair.raw.n >= 30:
            figures[f"pair of labelers:{pair.first}-{pair.second}"] = pair.raw
            figures[f"Cohen's kappa of a pair:{pair.first}-{pair.second}"] = pair.kappa
    for group in (0, 1):
        part = _of_group(panel, group)
        figures[f"group's raw agreement:{group}"] = agreement.raw_agreement(part)
        figures[f"group's alpha:{group}"] = agreement.preference_alpha(part, part.metric)
    return figures


def shares(plan: PanelPlan, seed: int) -> Figures:
    """Measure the shares of each labeler's choices: first shown, longer, ties."""
    panel = simulate(PanelPlan(plan.prompts, plan.per_prompt, plan.kinds, plan.overlaps, 0.1), seed)
    table = panel.table
    cluster, count = table.cluster[table.entry_owner], len(table.labelers)
    figures = {}
    for labeler in range(count):
        own = table.labeler == labeler
        for name, chosen in (
            ("chose first shown", panel.chose_first),
            ("chose longer", panel.chose_longer),
            ("ties", table.code == 1),
        ):
            share = jackknife.share(chosen[own].astype(float), cluster[own])
            figures[f"{name}:{labeler}"] = share
    others = jackknife.shares_of_others(
        panel.chose_longer.astype(float), cluster, table.labeler, count
    )
    figures |= {f"others chose longer:{labeler}": share for labeler, share in enumerate(others)}
    for row in labeler_standing.standings(table):
        figures[f"others among themselves:{row.labeler}"] = row.others
    return figures


def rankings(plan: PanelPlan, seed: int) -> Figures:
    """Measure a panel of rankings of four completions."""
    table = _ranked(plan, seed)
    ranks = kendall.rank_agreement(table)
    found = agreement.of_table(table)
    return {
        "rankings, raw agreement": found.raw,
        "rankings, alpha": found.alpha,
        "rankings, Fleiss' kappa": found.fleiss,
        "Kendall's tau-b": ranks.tau,
        "Kendall's W": ranks.w,
        "same first choice": ranks.top1,
    }


def ratings(plan: PanelPlan, seed: int) -> Figures:
    """Measure a panel of ratings from one to five of two completions each."""
    rng = np.random.default_rng(seed)
    comparisons = plan.prompts * plan.per_prompt
    prompt = np.repeat(np.arange(plan.prompts), plan.per_prompt)
    noise = np.where(rng.random(plan.prompts) < 0.5, 0.5, 1.5)[prompt]
    quality = (
        3 + rng.normal(0, 0.7, plan.prompts)[prompt][:, None] + rng.normal(0, 0.8, (comparisons, 2))
    )
    given = []
    for at in range(comparisons):
        overlap = plan.overlaps[at % len(plan.overlaps)]
        for labeler in rng.permutation(len(plan.kinds))[:overlap].tolist():
            points = np.clip(np.round(quality[at] + rng.normal(0, noise[at], 2)), 1, 5).tolist()
            given += [
                Rating(at, place, labeler, value, int(prompt[at]))
                for place, value in enumerate(points)
            ]
    found = agreement.rating_report(given)
    return {
        "ratings identical": found.raw,
        "ratings within one point": found.within_one,
        "ratings' alpha": found.alpha,
        "ratings' alpha by comparison": found.alpha_by_comparison,
        "ratings' Fleiss' kappa": found.fleiss,
    }


def evaluations(plan: PanelPlan, seed: int) -> Figures:
    """Measure a blind evaluation with ties and an arbiter."""
    rng = np.random.default_rng(seed)
    wins = rng.beta(2, 1.4, plan.prompts)
    is_right = rng.random(plan.prompts) < 0.5
    asked: list[BlindComparison] = []
    scores: dict[str, float] = {}
    for at in range(plan.prompts * plan.per_prompt):
        prompt = at // plan.per_prompt
        p = wins[prompt]
        votes = rng.choice([1.0, 0.0, 0.5], size=2, p=[0.9 * p, 0.9 * (1 - p), 0.1])
        asked.append(BlindComparison(prompt, 2 * at, 2 * at + 1, tuple(votes.tolist()), 0))
        lead = 1.0 if (p > 0.5) == (is_right[prompt] or rng.random() < 0.5) else -1.0
        scores |= {str(2 * at): lead, str(2 * at + 1): 0.0}
    found = win_rates.results(asked, (), arbiter="R", scores=scores, lengths={})
    assert found.arbiter is not None
    return {
        "win rate": _measure(found.share, found.low, found.high),
        "at least as good": _measure(
            found.at_least_as_good, found.at_least_as_good_low, found.at_least_as_good_high
        ),
        "arbiter's agreement with people": _measure(
            found.arbiter.agreement, found.arbiter.agreement_low, found.arbiter.agreement_high
        ),
    }


ALL: tuple[Callable[[PanelPlan, int], Figures], ...] = (
    picks,
    shares,
    rankings,
    ratings,
    evaluations,
)


def _measure(value: float | None, low: float | None, high: float | None) -> Measure:
    assert value is not None
    interval = Undefined("none") if low is None or high is None else Interval(low, high)
    return Measure(value, interval, 0)


def _of_group(panel: Panel, group: int) -> VoteTable:
    """Return the votes on the comparisons of one group, with comparisons numbered anew."""
    table = panel.table
    kept = panel.group == group
    entries = kept[table.unit]
    number = np.cumsum(kept) - 1
    return VoteTable(
        tuple(np.flatnonzero(kept).tolist()),
        table.labelers,
        number[table.unit[entries]],
        table.labeler[entries],
        table.code[entries],
        np.arange(int(kept.sum())),
        table.cluster[kept],
        table.values,
        int(entries.sum()),
        False,
    )


def _ranked(plan: PanelPlan, seed: int) -> VoteTable:
    rng = np.random.default_rng(seed)
    comparisons = plan.prompts * plan.per_prompt
    prompt = np.repeat(np.arange(plan.prompts), plan.per_prompt)
    noise: Array = np.where(rng.random(plan.prompts) < 0.5, 0.3, 1.5)[prompt]
    utility = rng.normal(size=(comparisons, RANKED))
    overlap = np.resize(np.array(plan.overlaps), comparisons)
    order = np.argsort(rng.random((comparisons, len(plan.kinds))), axis=1)
    comparison, place = np.nonzero(np.arange(len(plan.kinds))[None] < overlap[:, None])
    perceived = utility[comparison] + noise[comparison][:, None] * rng.normal(
        size=(len(comparison), RANKED)
    )
    first, second = np.triu_indices(RANKED, 1)
    gaps = perceived[:, first] - perceived[:, second]
    units = len(first)
    return VoteTable(
        tuple(range(comparisons)),
        tuple(range(len(plan.kinds))),
        (comparison[:, None] * units + np.arange(units)).ravel(),
        np.repeat(order[comparison, place], units),
        (1 + np.sign(gaps)).astype(np.int64).ravel(),
        np.repeat(np.arange(comparisons), units),
        prompt,
        np.array([-1.0, 0.0, 1.0]),
        len(comparison),
        True,
    )
