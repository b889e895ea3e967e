"""The report of the demo: tables for people, and the same figures as JSON."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from app.demo import report_tables
from app.demo.examples import Examples
from app.demo.round_report import RoundReport


@dataclass(frozen=True, slots=True)
class DemoReport:
    """All figures of a demo run: of each round, the oldest first."""

    taste: str
    seed: int
    sizes: dict[str, int]
    setup_s: float
    rounds: tuple[RoundReport, ...]
    examples: Examples  # of the last round's policy

    @property
    def last(self) -> RoundReport:
        """The last round."""
        return self.rounds[-1]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values: the last round's, and `rounds` with all."""
        last = self.last.to_json()
        return {
            "taste": self.taste,
            "seed": self.seed,
            **last,
            "n": {**self.sizes, **last["n"]},
            "seconds": {"setup": round(self.setup_s, 1), **last["seconds"]},
            "rounds": [report.to_json() for report in self.rounds],
            "examples": {**asdict(self.examples), "title": self.examples.title},
        }

    def table(self) -> Table:
        """Return the figures as a table for the terminal: of one round, or a row for each."""
        known = f"taste “{self.taste}” · seed {self.seed}"
        if len(self.rounds) == 1:
            title = f"Results of one round · {known}"
            return report_tables.of_round(self.last, title, self.sizes["labelers"])
        return report_tables.of_rounds(
            self.rounds, f"Results of {len(self.rounds)} rounds · {known}"
        )

    def remarks(self) -> Iterator[str]:
        """Yield what the table does not say: how each round ended, and the times."""
        for report in self.rounds:
            where = f"Round {report.number}: " if len(self.rounds) > 1 else ""
            if where:
                checks = "; ".join(report.failed_checks) or "none"
                decision = "promoted" if report.promoted else "held"
                yield f"{where}{decision}. Failed checks: {checks}."
            reason = report.policy_metrics["stop_reason"]
            yield f"{where}Policy training stopped ({reason})."
            yield f"{where}{_timing(report.seconds)}"
        total = self.setup_s + sum(sum(report.seconds.values()) for report in self.rounds)
        yield f"Total time {total / 60:.1f} min, with {self.setup_s:.0f} s of setup"


def _timing(seconds: dict[str, float]) -> str:
    parts = " · ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    return f"{sum(seconds.values()) / 60:.1f} min: {parts}"
