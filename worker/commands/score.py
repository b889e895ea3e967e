"""`score`: responses scored by a model, endpoint, judge or rule, before and after."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from app.cli.console import emit, out, say
from app.domain.measures import Interval, Measure, Undefined
from app.domain.reward_parts import RULES, PartKind, RewardPart, ScoreForm
from app.domain.score_figures import OVERALL, ScoreSummary
from app.errors import Invalid
from worker.commands.options import Reading, device_of, flattened
from worker.commands.reward_options import parts_of
from worker.commands.watching import Watching, ending_on_signals, load, refusing
from worker.orders import Orders

Names = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help="Sample responses of this model (folder or hub name); repeat it to compare models.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(flattened(score))


@dataclass(frozen=True, slots=True)
class ScorerOptions:
    """What scores the responses: exactly one of them."""

    classifier: Annotated[
        str, typer.Option(help="Score by a text classifier: a folder or a hub name.")
    ] = ""
    label: Annotated[
        str, typer.Option(help="The classifier's label; needed unless there is only one.")
    ] = ""
    logit: Annotated[
        bool, typer.Option("--logit", help="Use the label's logit, not its probability.")
    ] = False
    reads_prompt: Annotated[
        bool, typer.Option("--reads-prompt", help="Let the classifier read the prompt too.")
    ] = False
    reward: Annotated[
        str, typer.Option("--reward", "-r", help="Score by a reward model: folder or hub name.")
    ] = ""
    endpoint: Annotated[str, typer.Option(help="Score by an HTTP server: its URL.")] = ""
    judge: Annotated[
        str,
        typer.Option(
            help="Score by an LLM judge from 1 to 10, such as "
            "url=http://127.0.0.1:8000/v1,model=NAME,rubric=@FILE.",
        ),
    ] = ""
    rule: Annotated[
        str,
        typer.Option(
            help="Score by a rule, such as length:longest=40 or format:pattern=^Dear.",
        ),
    ] = ""
    tokenizer: Annotated[str, typer.Option(help="The model whose tokens a length rule counts.")] = (
        ""
    )

    @property
    def part(self) -> RewardPart:
        """The scorer as a reward.

        Raises:
            Invalid: there is none or several, or a classifier's setting without a classifier.
        """
        named = [
            RewardPart(
                PartKind.CLASSIFIER,
                model=self.classifier,
                label=self.label,
                score=ScoreForm.LOGIT if self.logit else ScoreForm.PROBABILITY,
                reads_prompt=self.reads_prompt,
            )
            if self.classifier
            else None,
            RewardPart(PartKind.REWARD_MODEL, model=self.reward) if self.reward else None,
            RewardPart(PartKind.ENDPOINT, url=self.endpoint) if self.endpoint else None,
            _part(f"{PartKind.JUDGE}:{self.judge}") if self.judge else None,
            _rule(self.rule) if self.rule else None,
        ]
        scorer = _only([part for part in named if part is not None])
        if not self.classifier and (self.label or self.logit or self.reads_prompt):
            raise Invalid("--label, --logit and --reads-prompt are settings of a --classifier")
        return scorer


@dataclass(frozen=True, slots=True)
class Drawing:
    """How responses are sampled."""

    max_new_tokens: Annotated[int, typer.Option(help="Maximum response length, in tokens.")] = 128
    temperature: Annotated[float, typer.Option(help="0 always takes the most likely token.")] = 1.0
    batch_size: Annotated[int, typer.Option(help="Responses sampled in parallel.")] = 32
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0


def score(
    reading: Reading,
    scorer: ScorerOptions,
    drawing: Drawing,
    model: Names = None,
    threshold: Annotated[
        float | None, typer.Option(help="Also show the share of scores above this.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for responses and scores; kept and reused."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or another torch device.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Score responses: of models sampled on prompts, of a file, or chosen against rejected."""
    part = scorer.part
    orders = Orders()
    with refusing(), Watching(as_json=json) as watching:
        watching.say("Loading …")
        scoring = load("worker.files.scoring")
        request = scoring.ScoringRequest(
            source=reading.source,
            scorer=part,
            models=tuple(dict.fromkeys(model or ())),
            output=output,
            instruction=reading.instruction,
            chat=reading.chat,
            threshold=threshold,
            tokenizer=scorer.tokenizer or None,
            device=device_of(device),
        )
        request = replace(request, config=replace(request.config, **asdict(drawing)))
        with ending_on_signals(orders, watching):
            outcome = scoring.run(request, watching, orders)
    if json:
        emit({"event": "outcome", **outcome.to_json()})
        return
    _show(outcome.scorer, outcome.summary, has_threshold=threshold is not None)
    for remark in outcome.remarks:
        say(f"Note: {remark}")
    if outcome.output is not None:
        say(f"Responses and scores are in {outcome.output}")


def _rule(text: str) -> RewardPart:
    part = _part(text)
    if part.kind not in RULES:
        raise Invalid(f"a rule begins with length: or format:, not {text!r}")
    return part


def _part(text: str) -> RewardPart:
    (settings,) = parts_of([text])
    return RewardPart(**{**settings, "kind": PartKind(settings["kind"])})


def _only(parts: Sequence[RewardPart]) -> RewardPart:
    if len(parts) != 1:
        raise Invalid(
            "name exactly one of --classifier, --reward, --endpoint, --judge and --rule, "
            f"not {len(parts) or 'none'}"
        )
    return parts[0]


def _show(scorer: str, summary: ScoreSummary, *, has_threshold: bool) -> None:
    """Print the figures of each side, and the accuracy by subset of judged pairs."""
    change = len(summary.sides) > 1 and not summary.accuracies
    over = ["Over threshold"] if has_threshold else []
    table = Table("Responses", "n", "Mean", "Std", *over, title=f"Score: {scorer}")
    if change:
        table.add_column("Change from the first (95 %)")
    for side in summary.sides:
        cells = [side.name, str(side.spread.n), _number(side.spread.mean), _number(side.spread.std)]
        cells += [_measure(side.spread.over)] if has_threshold else []
        cells += [("–" if side.change is None else _measure(side.change))] if change else []
        table.add_row(*cells)
    out.print(table)
    if summary.accuracies:
        accuracy = Table("Subset", "Pairs", "Accuracy (95 %)", "Ties", title="Chosen over rejected")
        for row in summary.accuracies:
            name = "all" if row.subset == OVERALL else row.subset
            accuracy.add_row(name, str(row.accuracy.n), _measure(row.accuracy), str(row.ties))
        out.print(accuracy)


def _number(value: float | Undefined) -> str:
    return "–" if isinstance(value, Undefined) else f"{value:.4g}"


def _measure(measure: Measure) -> str:
    interval = measure.interval
    within = (
        f" ({interval.low:.4g} to {interval.high:.4g})" if isinstance(interval, Interval) else ""
    )
    return _number(measure.value) + within
