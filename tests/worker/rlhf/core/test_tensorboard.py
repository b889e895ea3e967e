from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from worker.rlhf.core.step_report import Sample, StepReport
from worker.rlhf.core.tensorboard import EventLog


def test_scalars_come_back_under_their_names_and_steps(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        for step in (1, 2, 3):
            log.write(StepReport(step, 3, {"loss": 1.0 / step, "kl/k1": step * 0.5}))
    read = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(read.Tags()["scalars"]) == ["kl/k1", "loss"]
    assert [(event.step, event.value) for event in read.Scalars("kl/k1")] == [
        (1, 0.5),
        (2, 1.0),
        (3, 1.5),
    ]


def test_steps_done_again_after_a_kill_are_there_once(tmp_path: Path) -> None:
    for begun, loss in ((0, 1.0), (2, 2.0)):
        with EventLog(tmp_path, after=begun) as log:
            for step in range(begun + 1, 5):
                log.write(StepReport(step, 5, {"loss": loss}))
    read = EventAccumulator(str(tmp_path)).Reload()
    found = [(event.step, event.value) for event in read.Scalars("loss")]
    assert found == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]


def test_samples_come_back_as_text(tmp_path: Path) -> None:
    with EventLog(tmp_path) as log:
        log.write(StepReport(1, 1, {}, samples=(Sample("Why?", "Because.", 0.25),)))
    read = EventAccumulator(str(tmp_path)).Reload()
    (tag,) = read.Tags()["tensors"]
    (event,) = read.Tensors(tag)
    (text,) = event.tensor_proto.string_val
    assert b"Why?" in text
    assert b"Because." in text
    assert b"0.250" in text
