"""`models`: what can be done with a model, before a project is built on it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from app.cli.console import emit, out
from worker.commands.options import device_of
from worker.commands.watching import FAILED, load, refusing

if TYPE_CHECKING:
    from worker.training.model_check import ModelCheck

ENGINES = {
    "fused": "fast: merged weights and one cache",
    "cached": "with the model's own cache",
    "recomputed": "without a cache: each token computes the whole text again",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    models = typer.Typer(no_args_is_help=True)
    models.callback()(_group)
    models.command()(check)
    app.add_typer(models, name="models", help="Check models, and take trained ones away.")


def _group() -> None:
    """Check models, and take trained ones away."""


def check(
    model: Annotated[str, typer.Argument(help="A model folder or a hub name.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or another torch device.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell in seconds whether a model can be a base model, and how; loads no weights."""
    with refusing():
        result: ModelCheck = load("worker.training.model_check").check(
            model, device=device_of(device)
        )
    if json:
        emit(result.to_json())
    else:
        for line in lines(result):
            out.print(escape(line), soft_wrap=True)
    if result.refusal is not None:
        raise typer.Exit(FAILED)


def lines(result: "ModelCheck") -> Iterator[str]:
    """Yield the report for people, a fact per line."""
    if result.refusal is not None:
        yield f"✗ {result.name} cannot be used: {result.refusal}"
        return
    yield f"✓ {result.name} can be used."
    share = f"{result.trainable_share:.2%}"
    context = result.context_tokens
    facts = {
        "Type": f"{result.model_type} ({result.architecture})",
        "Parameters": f"{result.parameters:,}, of which an adapter trains "
        f"{result.trainable_parameters:,} ({share})",
        "Trained layers": ", ".join(result.trained_layers),
        "Context": "no limit stated" if context is None else f"{context:,} tokens",
        "Ends": ", ".join(f"{text} ({number})" for number, text in result.ends.items()),
        "Chat template": _template(result.template),
        "Sampling": ENGINES[result.sampling["engine"]],
        "Packed rows": _rows(result.packing),
        "Shared prompts": _rows(result.shared_prompts),
        "Memory": f"about {_gib(result.bytes_needed)} and activations, for training in fp32; "
        f"{_gib(result.bytes_here)} here",
    }
    width = max(map(len, facts)) + 2
    for name, fact in facts.items():
        yield f"  {name + ':':<{width}}{fact}"
    for note in result.notes:
        yield f"  - {note}"


def _template(found: Any) -> str:
    if not found["exists"]:
        return "none"
    system = "with a system turn" if found["system"] else "without a system turn"
    return f"{system}, with thinking" if found["thinking"] else system


def _rows(probe: Any) -> str:
    if not probe["is_exact"]:
        return f"no ({probe['why']})"
    return "yes" if probe["window"] is None else f"yes, up to {probe['window']:,} tokens"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
