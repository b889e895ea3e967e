"""The minus sign of figures that people read; files and attributes keep the hyphen of programs."""


def with_minus(figure: str) -> str:
    """Return a formatted figure with a minus sign where it has a hyphen."""
    return figure.replace("-", "−")


def signed(value: float, digits: int) -> str:
    """Return a figure with its sign, for what rises or falls."""
    return with_minus(f"{value:+z,.{digits}f}")
