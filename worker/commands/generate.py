"""`generate`: a model's answers to a file of prompts, without a server or a database."""

from typing import Annotated

import typer

from app.cli.console import emit, say
from app.domain.plan import Engine
from app.errors import Invalid
from worker.commands.options import Reading, Running, flattened
from worker.commands.watching import Watching, ending_on_signals, load, refusing
from worker.orders import Orders

FORMATS = ("attune", "vertex")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(flattened(generate))


def generate(
    reading: Reading,
    running: Running,
    output_format: Annotated[
        str, typer.Option(help="attune, or vertex: inputs and prediction.")
    ] = "attune",
    samples: Annotated[int, typer.Option("--samples", "-n", help="Answers to each prompt.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.")] = 128,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="1 leaves no token out.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="0 leaves no token out.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Answers drawn beside each other.")] = 32,
    engine: Annotated[
        Engine, typer.Option(help="continuous is for a GPU and answers of unequal length.")
    ] = Engine.STATIC,
) -> None:
    """Answer a file of prompts, an evaluation set say, and write the results."""
    if output_format not in FORMATS:
        raise Invalid(f"the output format must be attune or vertex, not {output_format!r}")
    orders = Orders()
    with refusing(), Watching(as_json=running.json) as watching:
        watching.say("Loading …")
        generation = load("worker.files.generation")
        config = generation.SamplingConfig(
            n=samples,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            seed=running.seed,
            batch_size=batch_size,
        )
        request = generation.GenerationRequest(
            model=running.model,
            prompts=reading.source,
            output=running.output,
            config=config,
            instruction=reading.instruction,
            format=output_format,
            device=running.torch_device,
            engine=engine,
            four_bit=running.four_bit,
        )
        with ending_on_signals(orders, watching):
            outcome = generation.run(request, watching, orders, restart=running.restart)
    if running.json:
        emit({"event": "outcome", **outcome.to_json()})
        return
    went_on = f"; {outcome.resumed_at} were there already" if outcome.resumed_at else ""
    say(f"{outcome.prompts} prompts are answered in {outcome.output}{went_on}")
