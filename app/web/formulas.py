r"""Formulas in LaTeX as MathML, which browsers draw without a script, a font or a style of ours.

The library refuses what it does not know, `\href` and `\includegraphics` among it; what it does
convert comes back with a fixed set of elements and attributes, so that a formula can neither load,
link nor cover anything. It descends once per nested argument, on the stack of the process: the
number of characters that can nest is therefore limited before it sees a formula.
"""

import re

import math_core

MOST_CHARACTERS = 2000
MOST_NESTING = 500  # characters other than letters, digits and spaces; nothing else can nest
MOST_SPACE_EM = 4.0

_converter = math_core.LatexToMathML(fancy_error=False, max_expansions=0)
_CAN_NEST = re.compile(r"[^\w\s]")
_TAG = re.compile(r"<(\w+)((?:\s[^<>]*)?)>")
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
_LENGTH = re.compile(r"(-?\d*\.?\d+)em")
_ALIGNED = re.compile(r"text-align:\s*(left|right)")
_KEPT = {
    *("accent", "accentunder", "display", "displaystyle", "fence", "form", "largeop"),
    *("linethickness", "mathvariant", "movablelimits", "notation", "scriptlevel", "separator"),
    *("stretchy", "symmetric"),
}
TAGS = frozenset(
    {
        *("math", "mrow", "mi", "mo", "mn", "ms", "mtext", "mspace", "mfrac", "msqrt", "mroot"),
        *("msub", "msup", "msubsup", "munder", "mover", "munderover", "mmultiscripts"),
        *("mprescripts", "mtable", "mtr", "mtd", "mstyle", "mpadded", "mphantom", "menclose"),
    }
)
ATTRIBUTES = _KEPT | {"lspace", "rspace", "width", "class"}


def mathml(latex: str, *, is_block: bool) -> str | None:
    """Return a formula as MathML; None if it is broken, too long, or uses an unknown command.

    Args:
        latex: the formula without its delimiters.
        is_block: whether it stands in a line of its own.
    """
    if len(latex) > MOST_CHARACTERS or len(_CAN_NEST.findall(latex)) > MOST_NESTING:
        return None
    try:
        converted = _converter.convert_with_local_state(latex, displaystyle=is_block)
    except math_core.LatexError:
        return None
    return _TAG.sub(_plain_tag, converted)


def _plain_tag(tag: re.Match[str]) -> str:
    """Return a tag with the attributes that are kept; an alignment becomes a class."""
    name, attributes = tag.groups()
    if not attributes:
        return tag.group()
    kept = []
    for key, value in _ATTRIBUTE.findall(attributes):
        if key in _KEPT:
            kept.append(f'{key}="{value}"')
        elif key in {"lspace", "rspace"} or (key == "width" and name == "mspace"):
            kept.append(f'{key}="{_limited(value)}"')
        elif key == "style" and (side := _ALIGNED.search(value)):
            kept.append(f'class="{side.group(1)}"')
    return f"<{' '.join([name, *kept])}{'/' if attributes.endswith('/') else ''}>"


def _limited(length: str) -> str:
    """Return a length in em between 0 and the most: nothing may be moved over other text."""
    match = _LENGTH.fullmatch(length)
    if match is None:
        return "0"
    return f"{min(max(float(match.group(1)), 0.0), MOST_SPACE_EM):g}em"
