"""What a labeler may add to a judgment of any kind: flags and a comment; or a skip's reason."""

from collections.abc import Sequence

from app.errors import Invalid

FLAGS = {
    "unsafe": "Unsafe",
    "nonsense": "Nonsense",
    "personal_data": "Personal data",
    "broken": "Broken",
}
SKIP_REASONS = {
    "unclear": "I do not understand the question",
    "not_my_field": "I cannot judge this subject",
    "broken": "Something is broken",
    "upsetting": "I would rather not read this",
    "other": "Another reason",
}
COMMENT_MOST = 10_000


def check_remarks(flags: Sequence[str], comment: str) -> None:
    """Refuse unknown flags and a comment that is too long."""
    for flag in flags:
        if flag not in FLAGS:
            raise Invalid(f"a flag is one of {', '.join(FLAGS)}, not {flag!r}")
    if len(comment) > COMMENT_MOST:
        raise Invalid(f"a comment has at most {COMMENT_MOST} characters, not {len(comment)}")
    if "\0" in comment:
        raise Invalid("the comment has a NUL character, which cannot be stored")


def check_skip(reason: str) -> None:
    """Refuse an unknown reason."""
    if reason not in SKIP_REASONS:
        raise Invalid(f"a skip's reason is one of {', '.join(SKIP_REASONS)}, not {reason!r}")
