"""TensorBoard event files of a run, written next to its checkpoint and never read back."""

from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard.writer import SummaryWriter

from worker.rlhf.core.step_report import Sample, StepReport


class EventLog:
    """An open event file; use it as a context manager so that the last reports are flushed.

    Events that an earlier attempt wrote after step `after` are hidden, since a resumed run repeats
    these steps.
    """

    def __init__(self, folder: Path | str, *, after: int = 0) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=after + 1 if after else None)

    def write(self, report: StepReport) -> None:
        """Add the metrics of a report under their names, and its samples as text."""
        for name, value in report.metrics.items():
            self._writer.add_scalar(name, value, report.step)
        for index, sample in enumerate(report.samples):
            text = _as_markdown(sample)
            self._writer.add_text(f"sample/{index}", text, report.step)

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Flush and close."""
        self._writer.close()


def _as_markdown(sample: Sample) -> str:
    score = "" if sample.score is None else f" (score {sample.score:.3f})"
    return f"**Prompt**\n\n{sample.prompt}\n\n**Completion{score}**\n\n{sample.completion}"
