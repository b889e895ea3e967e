"""Options that several commands share, declared once as dataclasses and flattened for typer."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from worker.files.source import Source


@dataclass(frozen=True, slots=True)
class Reading:
    """A data file, and how to read it."""

    data: Annotated[Path, typer.Argument(help="The rows, in any format Attune reads.")]
    format: Annotated[str | None, typer.Option(help="Of the rows; default: detected.")] = None
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on without lines that cannot be used.")
    ] = False
    instruction: Annotated[str, typer.Option(help="Joined to every prompt.")] = ""

    @property
    def source(self) -> Source:
        """The file as the runs take it."""
        return Source(self.data, self.format, self.skip_bad)


@dataclass(frozen=True, slots=True)
class Running:
    """Where a command writes, on what it computes, and how it shows that."""

    output: Annotated[
        Path, typer.Option("--output", "-o", help="What to write; a run in it is gone on with.")
    ]
    model: Annotated[
        str, typer.Option("--model", "-m", help="A folder or hub name; of ours or anybody's.")
    ]
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or another torch device.")] = "auto"
    four_bit: Annotated[
        bool, typer.Option("--four-bit", help="Load the base in 4 bits, with bitsandbytes.")
    ] = False
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what is there and begin anew.")
    ] = False
    json: Annotated[
        bool, typer.Option("--json", help="A JSON object per line on standard output.")
    ] = False

    @property
    def torch_device(self) -> str:
        """The device to compute on; "auto" takes the first CUDA device if there is one."""
        if self.device != "auto":
            return self.device
        return "cuda" if import_module("torch").cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True)
class Training:
    """What all trainings take."""

    heldout: Annotated[
        Path | None, typer.Option(help="Rows that only measure; default: a share of the data.")
    ] = None
    heldout_share: Annotated[
        int, typer.Option(min=0, max=90, help="Percent of the prompts held out, by what they say.")
    ] = 10
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None
    batch_size: Annotated[
        int | None, typer.Option(help="Rows, or a policy's episodes, of an optimiser step.")
    ] = None
    learning_rate: Annotated[float | None, typer.Option(help="Falling to 0 in the end.")] = None
    set: Annotated[
        list[str] | None,
        typer.Option(help="Any other setting of the plan, as name=value; see docs/learning."),
    ] = None
    save_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between saves; one is made every 30 s too.")
    ] = None

    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that share the training; one per GPU.")
    ] = 1
    checkpoint_gradients: Annotated[
        bool,
        typer.Option(
            "--checkpoint-gradients",
            help="Keep fewer activations and recompute them: less memory, about a third slower.",
        ),
    ] = False

    @property
    def given(self) -> dict[str, Any]:
        """The settings that were given by an option of their own."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
        }


def flattened(function: Callable[..., None]) -> Callable[..., None]:
    """Return the command with each dataclass among its parameters replaced by its fields."""
    hints = get_type_hints(function, include_extras=True)
    parameters: dict[str, inspect.Parameter] = {}
    groups: dict[str, tuple[type[Any], list[str]]] = {}
    for parameter in inspect.signature(function).parameters.values():
        kind = hints[parameter.name]
        if not is_dataclass(kind):
            parameters[parameter.name] = _keyword(parameter.name, kind, parameter.default)
            continue
        assert isinstance(kind, type)
        groups[parameter.name] = (kind, [one.name for one in fields(kind)])
        inner = get_type_hints(kind, include_extras=True)
        for one in fields(kind):
            default = inspect.Parameter.empty if one.default is MISSING else one.default
            parameters[one.name] = _keyword(one.name, inner[one.name], default)

    def command(**values: Any) -> None:
        made = {
            name: kind(**{each: values.pop(each) for each in names})
            for name, (kind, names) in groups.items()
        }
        function(**made, **values)

    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    command.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    command.__annotations__ = {name: one.annotation for name, one in parameters.items()}
    return command


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)
