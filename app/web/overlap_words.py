"""Advice on judgments per comparison, in one sentence with its figures."""

from app.domain.overlap_advice import SEVERAL, OverlapAdvice, OverlapVerdict, Spending

NOT_ENOUGH = "Not enough judgments to advise on more labelers or more comparisons"


def sentence(advice: OverlapAdvice) -> str:
    """Return the advice and what it rests on."""
    if not advice.spendings:
        return f"{NOT_ENOUGH}: {_reason(advice)}."
    figures = f"{_spent(advice)}, {_agreement(advice)}."
    match advice.verdict:
        case OverlapVerdict.NOT_ENOUGH:
            return f"{NOT_ENOUGH}: {_reason(advice)}. {figures}"
        case OverlapVerdict.NO_MORE_COMPARISONS:
            return (
                f"More comparisons would be worth more than more labelers, but there are prompts "
                f"for {advice.comparisons_most:,}: import prompts, or ask for more comparisons per "
                f"prompt. {figures}"
            )
        case OverlapVerdict.MORE_LABELERS:
            return (
                f"More labelers per comparison cost little: {SEVERAL} judgments of each keep "
                f"{_kept(advice)} of the information. {figures}"
            )
    return (
        f"More comparisons are worth more than more labelers: {SEVERAL} judgments of each keep "
        f"only {_kept(advice)} of the information. {figures}"
    )


def _reason(advice: OverlapAdvice) -> str:
    return advice.reason.rstrip(".")


def _kept(advice: OverlapAdvice) -> str:
    assert advice.kept_low is not None
    assert advice.kept_high is not None
    low, high = (round(100 * share) for share in (advice.kept_low, advice.kept_high))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _spent(advice: OverlapAdvice) -> str:
    """Say for each overlap how many comparisons there are, and how often the majority is right."""
    plural = "s" if advice.judgments != 1 else ""
    listed = [_on(spending) for spending in advice.spendings if spending.comparisons]
    *others, last = listed
    choices = f"{', '.join(others)} or {last}" if others else last
    return f"{advice.judgments:,} judgment{plural} can be {choices}"


def _on(spending: Spending) -> str:
    plural = "s" if spending.comparisons != 1 else ""
    who = "majority right" if spending.overlap > 1 else "right"
    return (
        f"{spending.overlap} on each of {spending.comparisons:,} comparison{plural} "
        f"({who} {100 * spending.accuracy:.0f} % of the time)"
    )


def _agreement(advice: OverlapAdvice) -> str:
    assert advice.agreement is not None
    assert advice.agreement_low is not None
    assert advice.agreement_high is not None
    return (
        f"as two labelers agree on {100 * advice.agreement:.0f} % "
        f"[{100 * advice.agreement_low:.0f}, {100 * advice.agreement_high:.0f}] of the pairs"
    )
