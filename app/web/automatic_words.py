"""What the next automatic round waits for, as pages and the API word it."""

from app.domain.automatic_rounds import Blocker
from app.services.rounds.automatic_rounds import AutomaticStatus


def sentence(status: AutomaticStatus) -> str:
    """Return when the next round starts automatically, or why it does not."""
    number = status.next_number
    match status.blocker:
        case Blocker.OFF:
            return "Rounds start when a lead launches them."
        case Blocker.PAUSED:
            return _paused(status)
        case Blocker.LABELING_PAUSED:
            return "No round starts automatically while labeling is paused."
        case Blocker.ROUND_OPEN:
            when = f"once round {status.open_round} is over"
            return f"Round {number} starts automatically {when}, at {_count(status)}."
        case Blocker.NO_PLAN:
            return "No round starts automatically yet: launch the first one to give it a plan."
        case Blocker.IN_ROW:
            return (
                f"No round starts automatically now: {status.launched_in_row} in a row have "
                "started, which is the limit. Launch or decide a round yourself, or resume."
            )
        case Blocker.TOO_SOON:
            when = f"not before {status.not_before:%Y-%m-%d %H:%M} UTC"
            return f"Round {number} starts automatically at {_count(status)}, {when}."
        case Blocker.TOO_FEW:
            return f"Round {number} starts automatically at {_count(status)}."
    return (
        f"Round {number} is about to start automatically: {status.judgments:,} new judgments have "
        "been made."
    )


def can_resume(status: AutomaticStatus) -> bool:
    """Whether resuming is what lets the next round start."""
    return status.blocker is Blocker.IN_ROW or status.paused_at is not None


def _paused(status: AutomaticStatus) -> str:
    if not status.paused_by:
        return (
            f"No round starts automatically: {status.pause_reason.rstrip('.')}. Resume to continue."
        )
    reason = f": {status.pause_reason.rstrip('.')}" if status.pause_reason else ""
    return f"{status.paused_by} paused automatic rounds{reason}. Resume to continue."


def _count(status: AutomaticStatus) -> str:
    """Say how many new judgments are waited for, and how many there are, counted up to that."""
    wanted = status.settings.judgments
    noun = "judgment" if wanted == 1 else "judgments"
    since = f" since {status.since}" if status.since else ""
    enough = " or more" if status.judgments == wanted else ""
    return f"{wanted:,} new {noun}: {status.judgments:,}{enough} so far{since}"
