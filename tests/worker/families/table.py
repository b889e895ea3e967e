"""Writes the table of families into the documentation: `python -m tests.worker.families.table`."""

import warnings
from pathlib import Path
from typing import Final

from tests.worker.families.known import REFUSED, WORKING, Family
from tests.worker.rlhf import tiny
from worker.rlhf.core.layout_probe import LayoutProbe
from worker.rlhf.model import supported
from worker.training import model_probes
from worker.training.model_probes import TriedModel

PAGE: Final = Path(__file__).parents[3] / "docs" / "models.md"
START: Final = "<!-- families: written by python -m tests.worker.families.table -->"
END: Final = "<!-- end of families -->"
HEADER: Final = (
    "| family | model type | sampling | packed rows | shared prompts | adapters on | "
    "reward model in plain transformers |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)
REFUSED_HEADER: Final = ("| family | model type | refused because |", "| --- | --- | --- |")


def row(family: Family) -> str:
    """Return a family's line: how it is used, or why it is refused."""
    start = f"| {family.title} | `{family.model_type}` |"
    try:
        supported.refuse(family.config)
        found = model_probes.tried(family.config, tiny.tokenizer())
    except ValueError as error:
        return f"{start} {error} |"
    layers = ", ".join(found.trained_layers) + (
        "; not the experts" if found.has_frozen_experts else ""
    )
    cells = (
        found.engine.use,
        _layout(found.packing),
        _layout(found.shared_prompts),
        layers,
        _plain_reward(found),
    )
    return f"{start} {' | '.join(cells)} |"


def _plain_reward(found: TriedModel) -> str:
    if found.is_encoder_decoder:
        return "with the code on its card"
    return "yes" if found.has_classifier else "no"


def _layout(probe: LayoutProbe) -> str:
    if not probe.is_exact:
        return "no"
    return "yes" if probe.window is None else f"up to {probe.window}"


def lines() -> list[str]:
    return [
        START,
        "",
        *HEADER,
        *(row(family) for family in WORKING),
        "",
        *REFUSED_HEADER,
        *(row(family) for family in REFUSED),
        "",
        END,
    ]


def main() -> None:
    warnings.simplefilter("ignore")
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + "\n".join(lines()) + after, encoding="utf-8")


if __name__ == "__main__":
    main()
