"""The settings of an AI judge: its model and prompt, which never change, and its limits."""

from dataclasses import dataclass

from app.domain.bounds import between, optional
from app.domain.judgment_kinds import JudgmentKind
from app.errors import Invalid

MAX_TOKENS = 700
NAME_MOST, MODEL_MOST, NOTES_MOST = 60, 200, 4_000
JUDGED_KINDS = (JudgmentKind.PICK, JudgmentKind.RANK, JudgmentKind.RATE, JudgmentKind.THUMBS)
"""The kinds that an AI judge can judge."""


@dataclass(frozen=True, slots=True)
class JudgeSetup:
    """What decides a judge's verdicts. A judge with another model or prompt is another judge.

    `notes` are added to the project's guidelines, for this judge only. `json_mode` asks the server
    for a JSON object; servers without it refuse the request.
    """

    name: str
    server: str
    model: str
    notes: str = ""
    temperature: float = 0.0
    max_tokens: int = MAX_TOKENS
    json_mode: bool = False

    def __post_init__(self) -> None:
        _check_text("a judge's name", self.name, NAME_MOST)
        _check_text("a judge's model", self.model, MODEL_MOST)
        if len(self.notes) > NOTES_MOST:
            raise Invalid(f"notes have at most {NOTES_MOST} characters, not {len(self.notes)}")
        between("temperature", self.temperature, 0.0, 2.0)
        between("max_tokens", self.max_tokens, 16, 32_768)


@dataclass(frozen=True, slots=True)
class JudgeLimits:
    """How fast a judge may ask, and what it costs; these can be changed.

    Prices are per million tokens, in `currency`. The judge stops once its judgments have cost the
    `budget`; without prices nothing is known about money.
    """

    requests_per_minute: int | None = None
    concurrency: int = 4
    timeout_s: int = 120
    price_in: float | None = None
    price_out: float | None = None
    currency: str = "USD"
    budget: float | None = None

    def __post_init__(self) -> None:
        optional("requests_per_minute", self.requests_per_minute, 1, 100_000)
        between("concurrency", self.concurrency, 1, 64)
        between("timeout_s", self.timeout_s, 1, 3_600)
        optional("price_in", self.price_in, 0.0, 1_000_000.0)
        optional("price_out", self.price_out, 0.0, 1_000_000.0)
        optional("budget", self.budget, 0.0, 1_000_000_000.0)
        if not (len(self.currency) == 3 and self.currency.isascii() and self.currency.isupper()):
            raise Invalid(
                f"currency must be three capital letters, such as USD, not {self.currency!r}"
            )
        if (self.price_in is None) != (self.price_out is None):
            raise Invalid("price_in and price_out must both be given, or neither")
        if self.budget is not None and self.price_in is None:
            raise Invalid("a budget needs price_in and price_out")

    def cost(self, tokens_in: int | None, tokens_out: int | None) -> float | None:
        """Return the money that tokens cost; None if the prices or the tokens are unknown."""
        if None in (self.price_in, self.price_out, tokens_in, tokens_out):
            return None
        assert self.price_in is not None
        assert self.price_out is not None
        return ((tokens_in or 0) * self.price_in + (tokens_out or 0) * self.price_out) / 1e6


def check_kind(kind: JudgmentKind) -> None:
    """Check that an AI judge can judge comparisons of a kind.

    Raises:
        Invalid: it cannot; the message names the kinds that it can.
    """
    if kind not in JUDGED_KINDS:
        raise Invalid(
            f"AI judges judge responses (kinds {', '.join(JUDGED_KINDS)}); "
            f"comparisons of kind {kind} are left to people"
        )


def _check_text(what: str, text: str, most: int) -> None:
    if not 0 < len(text) <= most or text != text.strip():
        raise Invalid(f"{what} must have 1 to {most} characters, not {text!r}")
