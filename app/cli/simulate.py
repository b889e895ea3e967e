"""`simulate`: labelers with a known hidden utility, who judge through the public API."""

from typing import Annotated

import typer

from app.cli.console import emit, say
from app.demo import taste
from app.simulation.labelers import SimulatedLabeler
from app.simulation.runner import Member, Panel


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simulate)


def simulate(
    project: Annotated[str, typer.Argument(help="The project's slug.")],
    token: Annotated[
        list[str], typer.Option(help="An API token with the scope label; repeat for each labeler.")
    ],
    url: Annotated[str, typer.Option(help="URL of Attune.")] = "http://127.0.0.1:8000",
    taste_name: Annotated[
        str, typer.Option("--taste", help=f"Their hidden utility: {', '.join(taste.names())}.")
    ] = "default",
    flip_rate: Annotated[float, typer.Option(help="Probability of reversing a preference.")] = 0.15,
    position_bias: Annotated[float, typer.Option(help="Utility of being shown first.")] = 0.0,
    length_bias: Annotated[float, typer.Option(help="Utility per ten words.")] = 0.0,
    tie_band: Annotated[float, typer.Option(help="Utility differences below this are ties.")] = 0.1,
    skip_rate: Annotated[float, typer.Option(help="Probability of skipping.")] = 0.0,
    temperature: Annotated[float, typer.Option(help="Scale of the logistic noise.")] = 0.3,
    seconds: Annotated[float, typer.Option(help="Mean seconds per judgment.")] = 8.0,
    speed: Annotated[
        float | None, typer.Option(help="Speed-up factor; no waiting by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    stay: Annotated[bool, typer.Option("--stay", help="Wait for more when none is left.")] = False,
) -> None:
    """Let simulated labelers judge in a project until nothing is left for them."""
    utility = taste.named(taste_name).utility
    members = [
        Member(
            SimulatedLabeler(
                f"simulated-{number}",
                utility,
                flip_rate=flip_rate,
                position_bias=position_bias,
                length_bias=length_bias,
                tie_band=tie_band,
                skip_rate=skip_rate,
                temperature=temperature,
                seconds_per_judgment=seconds,
                seed=seed,
            ),
            secret,
        )
        for number, secret in enumerate(token, start=1)
    ]
    panel = Panel(url, project, members, stays=stay, speed=speed)
    say(f"{len(members)} simulated labelers are judging in {project} …")
    panel.start()
    try:
        totals = panel.wait()
    except KeyboardInterrupt:
        totals = panel.stop()
    emit({"judged": totals.judged, "skipped": totals.skipped, "surplus": totals.surplus})
