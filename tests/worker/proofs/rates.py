"""Proves that the rate which SFT chooses is close to the best of a grid, on three tiny models.

    python -m tests.worker.proofs.rates [--threads N] [--rows N]

A table of final held-out losses, the one of the chosen rate last; the exit status is 1 where it is
more than 3 % above the best of the grid. The models differ in width, vocabulary and in what is
trained: a starter from scratch, all weights of a trained model, and an adapter of another.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from app.domain.lora import Lora
from app.domain.plan import SftPlan, Starter
from tests.worker.proofs.desk import use_threads
from tests.worker.training import counting_words
from worker.files.run_folder import RunFolder
from worker.rlhf.model.models import LoadedModel
from worker.rlhf.model.roles import Roles
from worker.training import sft
from worker.training.sft import SftInputs, SftResult

GRID = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
TOLERANCE = 0.03


@dataclass(frozen=True, slots=True)
class Case:
    """A tiny model, and how it is trained."""

    name: str
    starter: Starter
    is_starter: bool = False
    is_full: bool | None = None


CASES = (
    Case("starter", Starter(300, 32, 2, 4), is_starter=True),
    Case("all weights", Starter(400, 64, 2, 4), is_full=True),
    Case("adapter", Starter(350, 48, 3, 4)),
)


class Quiet:
    """A watcher that shows nothing."""

    def say(self, text: str) -> None: ...
    def step(self, step: int, metrics: object) -> None: ...
    def progress(self, done: int, total: int, note: str) -> None: ...


@dataclass(slots=True)
class Bench:
    """One case with its data; each training starts from the same weights."""

    case: Case
    rows: int
    folder: Path
    initial: dict[str, torch.Tensor] | None = None

    def loss(self, rate: float | None) -> tuple[float, SftResult]:
        """Train at a rate, or at the one that is chosen; return the final held-out loss."""
        loaded = self._built()
        if self.initial is not None:
            loaded.model.load_state_dict(self.initial)
        plan = SftPlan(
            batch_size=16,
            learning_rate=rate,
            is_full=self.case.is_full,
            lora=Lora(8, 16),
        )
        result = self._fit(loaded, plan, f"{rate}", is_starter=self.case.is_starter)
        return float(result.metrics["heldout/loss"]), result

    def prepare(self) -> None:
        """Train the base model on other work, unless the case starts from scratch."""
        if self.case.is_starter:
            return
        loaded = self._built()
        plan = SftPlan(epochs=2, batch_size=16, learning_rate=5e-3)
        self._fit(loaded, plan, "base", is_starter=True)
        state = loaded.model.state_dict()
        self.initial = {name: value.clone() for name, value in state.items()}

    def _built(self) -> LoadedModel:
        rows = counting_words.demonstrations(self.rows)
        return sft.build_starter(self.case.starter, rows, "", seed=0, device="cpu")

    def _fit(self, loaded: LoadedModel, plan: SftPlan, name: str, *, is_starter: bool) -> SftResult:
        train = counting_words.demonstrations(self.rows, seed=7 if name == "base" else 1)
        if name == "base":
            train = counting_words.turned_round(train)
        heldout = counting_words.demonstrations(100, seed=2)
        inputs = SftInputs(plan, train, heldout, "", is_starter, False, 0)
        place = RunFolder(self.folder / self.case.name / name, Quiet())
        result = sft.fit(place, Roles(loaded), inputs)
        assert result is not None
        return result


def main(arguments: Sequence[str], cases: Sequence[Case] = CASES) -> int:
    """Measure every case, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="rates", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=800, help="demonstrations to train on")
    parser.add_argument("--grid", type=float, nargs="+", default=GRID)
    parser.add_argument("--threads", type=int, help="of this process; default all cores")
    given = parser.parse_args(arguments)
    use_threads(given.threads)
    _say(
        "| model | " + " | ".join(f"{rate:.0e}" for rate in given.grid) + " | chosen | above best |"
    )
    _say("| --- " * (len(given.grid) + 3) + "|")
    holds = True
    with tempfile.TemporaryDirectory() as name:
        for case in cases:
            bench = Bench(case, given.rows, Path(name))
            bench.prepare()
            losses = [bench.loss(rate)[0] for rate in given.grid]
            chosen, result = bench.loss(None)
            above = chosen / min(losses) - 1.0
            holds &= above <= TOLERANCE
            shape = f"width {case.starter.width}, {case.starter.vocabulary} tokens"
            cells = [f"{case.name}, {shape}", *(f"{loss:.4f}" for loss in losses)]
            cells += [f"{chosen:.4f} at {result.config.learning_rate:.2g}", f"{above:+.1%}"]
            _say("| " + " | ".join(cells) + " |")
    return 0 if holds else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
