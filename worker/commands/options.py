"""Options that several commands share, declared once as dataclasses and flattened for typer."""

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, get_type_hints

import typer

from app.domain.chat_settings import ChatSettings, Scalar, SystemTurns
from app.domain.plan import Parallel
from app.errors import Invalid
from worker.files.source import Source

AUTO: Final = "auto"


SamplingServer = Annotated[
    str | None,
    typer.Option(
        help="URL of a server that samples instead, such as vLLM's with adapters; it reads "
        "adapters from ATTUNE_ADAPTER_FOLDER."
    ),
]
SamplingModel = Annotated[str | None, typer.Option(help="That server's name for the base model.")]


@dataclass(frozen=True, slots=True)
class Reading:
    """A data file, and how to read it."""

    data: Annotated[Path, typer.Argument(help="Data file, in any format Attune reads.")]
    format: Annotated[str | None, typer.Option(help="Format of the data; default: detected.")] = (
        None
    )
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Skip lines that cannot be used.")
    ] = False
    instruction: Annotated[str, typer.Option(help="Instruction added to every prompt.")] = ""
    system_turns: Annotated[
        SystemTurns,
        typer.Option(help="If the chat template has no system turn: fold it, or refuse the row."),
    ] = SystemTurns.FOLD
    template_argument: Annotated[
        list[str] | None,
        typer.Option(
            help="Argument of the chat template, as in enable_thinking=false; repeatable."
        ),
    ] = None
    thought_end: Annotated[
        str, typer.Option(help="Mark after which responses are scored, such as </think>.")
    ] = ""

    @property
    def chat(self) -> ChatSettings:
        """How conversations are rendered."""
        return ChatSettings(
            self.system_turns, _arguments(self.template_argument or []), self.thought_end
        )

    @property
    def source(self) -> Source:
        """The file with its reading options."""
        return Source(self.data, self.format, self.skip_bad)


@dataclass(frozen=True, slots=True)
class Running:
    """Where a command writes, on which device it computes, and how it reports progress."""

    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to write; an interrupted run is resumed.")
    ]
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="A model folder or a hub name."),
    ]
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, or another torch device.")] = "auto"
    four_bit: Annotated[
        bool, typer.Option("--four-bit", help="Load the base model in 4 bits, with bitsandbytes.")
    ] = False
    restart: Annotated[
        bool, typer.Option("--restart", help="Discard existing output and start over.")
    ] = False
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False

    @property
    def torch_device(self) -> str:
        """The device to compute on; "auto" takes the first CUDA device if there is one."""
        return device_of(self.device)


@dataclass(frozen=True, slots=True)
class Training:
    """Options of every training."""

    heldout: Annotated[
        Path | None,
        typer.Option(help="File of held-out rows; default: a share of the data."),
    ] = None
    heldout_share: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=90,
            help="Percent of the prompts held out, by content, whatever splits the file states; "
            "default: the rows that the file states as validation, or else 10 percent.",
        ),
    ] = None
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None
    batch_size: Annotated[
        int | None, typer.Option(help="Rows (for a policy, episodes) per optimizer step.")
    ] = None
    learning_rate: Annotated[
        str,
        typer.Option(
            help="Peak learning rate; decays to 0. auto: the default, which for SFT and a reward "
            "model is found by a short search."
        ),
    ] = AUTO
    set: Annotated[
        list[str] | None,
        typer.Option(help="Any other setting of the plan, as name=value; see docs/learning."),
    ] = None
    save_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between saves, in addition to every 30 s.")
    ] = None

    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that share the training; one per GPU.")
    ] = 1
    parallel: Annotated[
        Parallel,
        typer.Option(
            help="What each process holds: the whole base model (data), or a part of it (sharded), "
            "for one that does not fit one device."
        ),
    ] = Parallel.DATA
    checkpoint_gradients: Annotated[
        bool,
        typer.Option(
            "--checkpoint-gradients",
            help="Keep fewer activations and recompute them: less memory, about a third slower.",
        ),
    ] = False
    token_budget: Annotated[
        int | None,
        typer.Option(min=64, help="Tokens per forward pass; default: what the free memory allows."),
    ] = None

    @property
    def given(self) -> dict[str, Any]:
        """The settings that have an option of their own."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": _rate(self.learning_rate),
        }


def _rate(text: str) -> float | None:
    """Return the rate; None for the default.

    Raises:
        Invalid: it is neither a number nor "auto".
    """
    if text == AUTO:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise Invalid(f"--learning-rate must be a number or {AUTO}, not {text!r}") from error


def _arguments(given: Sequence[str]) -> dict[str, Scalar]:
    arguments: dict[str, Scalar] = {}
    for text in given:
        name, is_there, value = text.partition("=")
        if not is_there:
            raise Invalid(f"a template argument is name=value, not {text!r}")
        try:
            arguments[name.strip()] = json.loads(value)
        except json.JSONDecodeError:
            arguments[name.strip()] = value
    return arguments


def device_of(choice: str) -> str:
    """Return the device to compute on; "auto" is the first CUDA device if there is one."""
    if choice != "auto":
        return choice
    return "cuda" if import_module("torch").cuda.is_available() else "cpu"


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
        groups[parameter.name] = (kind, [field.name for field in fields(kind)])
        inner = get_type_hints(kind, include_extras=True)
        for field in fields(kind):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            parameters[field.name] = _keyword(field.name, inner[field.name], default)

    def command(**values: Any) -> None:
        grouped = {
            name: kind(**{option: values.pop(option) for option in names})
            for name, (kind, names) in groups.items()
        }
        function(**grouped, **values)

    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    command.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    command.__annotations__ = {name: shown.annotation for name, shown in parameters.items()}
    return command


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)
