"""The tables at the end of the demo: one round in detail, or a row for each of several."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from app.demo import truth
from app.demo.round_report import RoundReport, pair
from app.domain.measures import Measure

Cells = tuple[str, str, str, str]
_COLUMNS = (
    "Round",
    "Agree-\nment",
    "On\nvotes",
    "Human–\nceiling",
    "On\ntruth",
    "KL,\nnats",
    "Over\nSFT,\ntruth",
    "Over\nlast,\ntruth",
    "Over\nlast,\npeople",
    "True\nutil.",
    "Min.",
)
_CAPTION = (
    "In %, with 95 % intervals. On votes, on truth: accuracy of the reward model on held-out "
    "comparisons. Human–ceiling: human level and exact noise ceiling. Over: win rates of the new "
    "policy over the SFT model and the last promoted policy, by the panel's taste and by the "
    "labelers, who compare it only with the last. True utility: of the new policy."
)


def of_round(report: RoundReport, title: str, labelers: int) -> Table:
    """Return the figures of one round."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column("")
    for row in (*_of_people(report, labelers), *_of_models(report), *_of_decision(report)):
        table.add_row(*row)
    return table


def of_rounds(rounds: Sequence[RoundReport], title: str) -> Table:
    """Return a row for each round."""
    table = Table(
        title=title,
        title_justify="left",
        caption=_CAPTION,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0),
        pad_edge=False,
        show_edge=False,
    )
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for report in rounds:
        table.add_row(*_cells(report))
    return table


def _cells(report: RoundReport) -> list[str]:
    labelers = report.evaluation
    return [
        str(report.number),
        _short(report.agreement["raw"]["value"]),
        _short(report.people["accuracy_on_votes"]["value"]),
        f"{_short(report.people['human_level']['value'])}–{_short(report.ceiling)}",
        _short(truth.value(report.reward.accuracy)),
        _plain(report.kl, 1),
        _stacked(report.against_sft.win_rate),
        _stacked(report.policy.win_rate),
        f"{_short(labelers['share'])}\n{_ends([labelers['low'], labelers['high']])}",
        _plain(truth.value(report.policy.after)),
        f"{sum(report.seconds.values()) / 60:.1f}",
    ]


def _of_people(report: RoundReport, labelers: int) -> list[Cells]:
    raw, alpha = report.agreement["raw"], report.agreement["alpha"]
    band = report.people["ceiling"]
    judged = f"{report.labeling['done']:,} judgments, {labelers} labelers"
    return [
        ("Labeler agreement", _percent(raw["value"]), _span(pair(raw)), judged),
        ("Krippendorff's alpha", _plain(alpha["value"]), _span(pair(alpha), 2), "ordinal"),
        (
            "Human level",
            _percent(report.people["human_level"]["value"]),
            "",
            "one labeler predicts another",
        ),
        (
            "Noise ceiling",
            _percent(report.ceiling),
            _span([band.get("ceiling_low"), band.get("ceiling_high")]),
            "exact; band from votes",
        ),
    ]


def _of_models(report: RoundReport) -> list[Cells]:
    metrics = report.policy_metrics
    return [
        (
            "Reward model on votes",
            _percent(report.people["accuracy_on_votes"]["value"]),
            "",
            f"{report.reward.comparisons} held-out comparisons",
        ),
        (
            "Reward model on the truth",
            *_measured(report.reward.accuracy),
            f"length only: {_percent(truth.value(report.reward.length_only))}",
        ),
        (
            "KL to SFT model",
            f"{_plain(report.kl)} nats",
            "",
            f"{metrics['steps']} steps, best at {metrics['best_step']}",
        ),
        (
            "True utility, old → new",
            f"{_plain(truth.value(report.policy.before))} → "
            f"{_plain(truth.value(report.policy.after))}",
            _span(truth.bounds(report.policy.change), 2),
            "interval of the difference",
        ),
    ]


def _of_decision(report: RoundReport) -> list[Cells]:
    return [
        (
            "Win rate, by labelers",
            _percent(report.evaluation["share"]),
            _span([report.evaluation["low"], report.evaluation["high"]]),
            f"blind, {report.evaluation['judged']} judgments",
        ),
        (
            "Win rate, by the truth",
            *_measured(report.policy.win_rate),
            f"{report.policy.prompts} prompts, ties count half",
        ),
        (
            "Checks between stages",
            f"{len(report.failed_checks)} failed" if report.failed_checks else "all passed",
            "",
            "; ".join(report.failed_checks),
        ),
        ("Decision", "promoted" if report.promoted else "held", "", ""),
    ]


def _measured(measure: Measure) -> tuple[str, str]:
    return _percent(truth.value(measure)), _span(truth.bounds(measure))


def _stacked(measure: Measure) -> str:
    return f"{_short(truth.value(measure))}\n{_ends(truth.bounds(measure))}"


def _ends(bounds: list[float] | list[float | None] | None) -> str:
    if bounds is None or bounds[0] is None or bounds[1] is None:
        return "–"
    return f"[{100 * bounds[0]:.0f}, {100 * bounds[1]:.0f}]"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _plain(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _span(bounds: list[float] | list[float | None] | None, digits: int | None = None) -> str:
    if bounds is None or bounds[0] is None or bounds[1] is None:
        return ""
    if digits is not None:
        return f"[{bounds[0]:.{digits}f}, {bounds[1]:.{digits}f}]"
    return f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"
