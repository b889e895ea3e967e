"""What a pass mark does, in a sentence: whom it keeps from labeling, or why it has no effect."""

from app.services.queue.practice_standing import PassMark

_NAMED_MOST = 8


def sentence(mark: PassMark) -> str:
    """Return what the pass mark does, or what setting one would do."""
    if not mark.total:
        if mark.share is None:
            return "There is nothing to practice yet, so a pass mark would hold nobody back."
        return "The pass mark has no effect yet: there is nothing to practice."
    if not mark.held_back:
        return "Every labeler has passed; a pass mark holds back only those who join."
    whom = _joined(mark.held_back)
    verb = "gets" if len(mark.held_back) == 1 else "get"
    if mark.share is None:
        return f"With a pass mark, {whom} {verb} no comparisons before passing."
    return f"{whom} {verb} no comparisons before passing."


def _joined(names: tuple[str, ...]) -> str:
    if len(names) > _NAMED_MOST:
        return f"{', '.join(names[:_NAMED_MOST])} and {len(names) - _NAMED_MOST} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
