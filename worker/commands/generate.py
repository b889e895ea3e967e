"""`generate`: a model's responses to a file of prompts, without a server or a database."""

from typing import Annotated

import typer

from app.cli.console import emit, say
from app.domain.plan import Engine
from app.domain.server_plan import SamplingServerPlan
from app.errors import Invalid
from worker.commands.options import Reading, Running, SamplingModel, SamplingServer, flattened
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
        str, typer.Option(help="attune, or vertex (inputs and prediction).")
    ] = "attune",
    samples: Annotated[int, typer.Option("--samples", "-n", help="Responses per prompt.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(help="Maximum response length, in tokens.")] = 128,
    temperature: Annotated[float, typer.Option(help="0 always takes the most likely token.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="1 keeps every token.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="0 keeps every token.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Responses sampled in parallel.")] = 32,
    engine: Annotated[
        Engine, typer.Option(help="continuous is for a GPU and responses of unequal length.")
    ] = Engine.STATIC,
    sampling_server: SamplingServer = None,
    sampling_model: SamplingModel = None,
) -> None:
    """Generate responses to a file of prompts, such as an evaluation set."""
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
            chat=reading.chat,
            server=_server(sampling_server, sampling_model),
        )
        with ending_on_signals(orders, watching):
            outcome = generation.run(request, watching, orders, restart=running.restart)
    if running.json:
        emit({"event": "outcome", **outcome.to_json()})
        return
    resumed = f" ({outcome.resumed_at} from an earlier run)" if outcome.resumed_at else ""
    say(f"Responses to {outcome.prompts} prompts{resumed} are in {outcome.output}")


def _server(url: str | None, model: str | None) -> SamplingServerPlan | None:
    """Return the server that samples; None: it is sampled here.

    Raises:
        Invalid: only one of address and model is given, or one breaks a rule.
    """
    return SamplingServerPlan(url or "", model or "") if url or model else None
