"""How many parameters a model has, and how many of them were trained."""


def trainable(count: int, total: int) -> str:
    """Return a number of trained parameters with its share, as in "1,234 (0.56 %)"."""
    return f"{count:,} ({100 * count / total:.2f} %)" if total else f"{count:,}"


def words(total: int, trained: int) -> str:
    """Return both numbers for people."""
    return f"{total:,}, of which {trainable(trained, total)} were trained"
