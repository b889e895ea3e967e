"""`bench learning`: compare the learning core with TRL and transformers."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

GROUP = "bench"


def register(app: typer.Typer) -> None:
    """Add the command to the group `bench`."""
    group = typer.Typer(no_args_is_help=True)
    group.callback()(lambda: None)
    group.command("learning")(learning)
    app.add_typer(group, name=GROUP)


def learning(
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.")
    ] = None,
    only: Annotated[
        str,
        typer.Option(help="Comma-separated: reward_k4, reward_pairs, ppo, sampling."),
    ] = "",
    repeats: Annotated[int | None, typer.Option(help="Timed steps per library.")] = None,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Measure models of published shapes on CUDA.")
    ] = False,
    shapes: Annotated[
        str, typer.Option(help="Comma-separated, with --gpu: 0.5b, 1b, 8b (random weights).")
    ] = "",
    cache: Annotated[Path | None, typer.Option(help="Folder for the virtual environments.")] = None,
) -> None:
    """Compare speed and memory with TRL and transformers: same model, data, settings and machine.

    The first run installs TRL twice, each with its own torch, in separate virtual environments.
    """
    options = {"--json": json_file, "--only": only or None, "--repeats": repeats, "--cache": cache}
    options["--shapes"] = shapes or None
    flags = [f"{name}={value}" for name, value in options.items() if value is not None]
    command = [sys.executable, "-m", "worker.bench", *flags, *(["--gpu"] if gpu else [])]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
