"""Words for what the product stores as a key, and the grammar of figures and errors on pages."""

import re
from collections.abc import Mapping
from typing import Final

from app.domain.remarks import FLAGS
from app.models import CheckpointKind, Purpose

PURPOSES: Final[Mapping[str, str]] = {
    Purpose.TRAIN: "training data",
    Purpose.EVALUATION: "evaluation",
    Purpose.GOLD: "gold",
    Purpose.PRACTICE: "practice",
    Purpose.REPEAT: "repeat",
    Purpose.FRESH: "fresh vote",
}
"""Why a comparison is judged."""

MODEL_KINDS: Final[Mapping[str, str]] = {
    CheckpointKind.BASE: "base model",
    CheckpointKind.SFT: "SFT model",
    CheckpointKind.REWARD: "reward model",
    CheckpointKind.POLICY: "policy",
}

JOBS: Final[Mapping[str, str]] = {
    "answer": "responses",
    "chat": "chat",
    "check": "check of a base model",
    "evaluate": "evaluation",
    "export": "export",
    "generate": "candidates",
    "import": "import",
    "judge": "AI judge",
    "merge": "merged model",
    "policy": "policy",
    "push": "upload to a hub",
    "reward": "reward model",
    "score": "scores",
    "sft": "SFT",
}
"""What a job makes or does."""

METRICS: Final[Mapping[str, str]] = {
    "people": "held-out votes",
    "heldout": "held-out pairs",
    "accuracy_on_votes": "accuracy",
    "ceiling_low": "lower bound",
    "ceiling_high": "upper bound",
    "ceiling": "noise ceiling",
    "human": "human level",
    "n": "number",
    "low": "lower end of the interval",
    "high": "upper end of the interval",
    "ai_votes": "votes of AI judges",
    "over_length": "lead over the length rule",
    "length_accuracy": "accuracy of the length rule",
    "undefined": "why it is not defined",
}
"""Parts of a report's figures that are not in the glossary of logged metrics."""

_KEY_FIRST = re.compile(r"\w+_\w+")
_KEY_WITH_TITLE = re.compile(r"\b[a-z]+(?:_[a-z]+)+ \(([A-Z][^)]*)\)")
_APOSTROPHE = re.compile(r"(?<!\w)'[^']*'(?!\w)|(?<=\w)'")  # or a value in quotes
_FIGURE_SPACE = re.compile(r"(?<=\d) (?=%)|(?<=\d,) (?=[−-]?[\d.]+\])")
_RANGE = re.compile(r"(?<=\d)–(?=\d)")
_NOTHING = re.compile(r"[,;:]? (?:and )?not (?:''|\"\"|None)\.?$")


def plain(key: str) -> str:
    """Return a key that has no words of its own without its underscores."""
    text = key.replace("_", " ")
    return text[:1].upper() + text[1:]


def purpose(key: str) -> str:
    """Return why a comparison is judged."""
    return PURPOSES.get(key, key)


def model_kind(key: str) -> str:
    """Return the kind of a model."""
    return MODEL_KINDS.get(key, key)


def job(kind: str) -> str:
    """Return what a job of a kind makes or does."""
    return JOBS.get(kind, kind)


def queue(name: str) -> str:
    """Return the name of a queue: CPU or GPU, or as it is."""
    return name.upper() if name in ("cpu", "gpu") else name


def flag(key: str) -> str:
    """Return a flag in the words of the labeling page; a file's own flags have theirs."""
    return FLAGS.get(key, key.replace("_", " "))


def metric(path: str) -> str:
    """Return a figure of a report in words; its path has its parts between dots."""
    parts = [METRICS.get(part, part.replace("_", " ")) for part in path.split(" · ")]
    text = " · ".join(part for part in parts if part != "value")
    return text[:1].upper() + text[1:]


def sentence(message: object) -> str:
    """Return a message as a sentence: with a capital and a period, and no empty quotation marks.

    Apostrophes are typographic, as everywhere on pages. A message that ends in the refused value
    does not say "not ''" where the value is missing, and one that names an option for scripts and
    people alike only has its words.
    """
    text = _NOTHING.sub("; nothing was given", str(message).strip())
    text = _KEY_WITH_TITLE.sub(r"\1", text)
    text = _APOSTROPHE.sub(lambda found: "’" if found[0] == "'" else found[0], text)
    ending = "" if text.endswith((".", "!", "?", "…", ":")) else "."
    first = text[:1] if _KEY_FIRST.match(text) else text[:1].upper()
    return f"{first}{text[1:]}{ending}" if text else ""


def unbroken(text: str) -> str:
    """Return a sentence whose percentages and intervals stay on one line: "63–77 %", "[20, 94]"."""
    text = _FIGURE_SPACE.sub("\N{NO-BREAK SPACE}", text)
    return _RANGE.sub("–\N{WORD JOINER}", text)


def count(number: float | None, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 tie", "2 ties"."""
    if number is None:
        return "–"
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
