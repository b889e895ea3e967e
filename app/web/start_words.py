"""Where a policy starts from, said the same on the overview and in the launch form."""

from app.domain.plan import Start


def choices(*, has_sft: bool) -> list[tuple[str, str]]:
    """Return the models that a policy can be initialized from, as options of a form."""
    return [(str(start), name(start, has_sft=has_sft)) for start in Start]


def help_text(*, has_sft: bool) -> str:
    """Return what the choice does, and when to change it."""
    initial = name(Start.SFT, has_sft=has_sft)
    return f"Usually the current policy, to build on earlier rounds; {initial} starts afresh."


def share_help(*, has_sft: bool) -> str:
    """Return what the current policy's share of the candidates does."""
    return (
        "Once a policy is promoted, it writes this share of the candidates, usually 0 to 0.5, "
        f"and {name(Start.SFT, has_sft=has_sft)} the others. The policy’s responses resemble each "
        "other, so a larger share teaches the reward model less."
    )


def name(start: Start, *, has_sft: bool) -> str:
    """Return the model that a policy is initialized from, with its article."""
    if start is Start.LAST:
        return "the current policy"
    return "the SFT model" if has_sft else "the base model"


def sentence(start: Start, policy_share: float, *, has_sft: bool) -> str:
    """Return what the next round starts from; the share is of the candidates."""
    initial = name(Start.SFT, has_sft=has_sft)
    if policy_share <= 0:
        writers = f"candidates come from {initial}"
    elif policy_share >= 1:
        writers = "candidates come from the current policy"
    else:
        writers = (
            f"{100 * policy_share:.0f} % of the candidates come from the current policy and the "
            f"others from {initial}"
        )
    return (
        f"In the next round, {writers}. "
        f"The new policy is initialized from {name(start, has_sft=has_sft)}."
    )
