"""The rows of the proof, in the order in which they are measured and printed."""

from typing import Final

from tests.faults.proof import (
    broker_gone,
    dead_worker,
    export_lane,
    first_label,
    job_kills,
    lost_judgments,
    partition,
    queue_rows,
    replays,
    shared_work,
    speeds,
    tested,
)
from tests.faults.proof.rows import Row

ROWS: Final = (
    Row("lost", "acknowledged judgments lost", "0", lost_judgments.measure),
    Row("twice", "judgments applied twice", "0", replays.measure),
    Row(
        "too-many",
        "more than K active judgments, or one labeler twice",
        "0",
        queue_rows.too_many,
    ),
    Row(
        "starvation",
        "every comparison reaches K when 10 % of labelers walk away",
        "1.05 × the fewest claims",
        queue_rows.starvation,
    ),
    Row("jobs", "jobs lost, or results applied twice", "0", job_kills.measure),
    Row("partition", "jobs of a worker that is cut off applied twice", "0", partition.measure),
    Row(
        "dead-worker",
        "dead worker noticed and work restarted",
        "75 s",
        dead_worker.measure,
        is_idle=True,
    ),
    Row(
        "shared",
        "work shared by workers, one of which is killed",
        f"the same bytes; two workers take {shared_work.MOST} of one worker's time, plus the start",
        shared_work.measure,
        is_idle=True,
    ),
    Row(
        "lanes",
        "an export of 10,000 rows ordered while a policy trains",
        f"{export_lane.MOST_S:.0f} s, embedded and with Celery",
        export_lane.measure,
    ),
    Row("resume", "resume after a kill", "bit-equal weights on the CPU", tested.resume),
    Row(
        "broker",
        "Redis gone under load",
        "no labeling errors; jobs late, none lost",
        broker_gone.measure,
    ),
    Row(
        "labeling",
        "claim and submit",
        "150 cycles/s with 8 labelers; p95 100 / 80 ms at 50 requests/s",
        speeds.labeling,
    ),
    Row("files", "export and import", "20,000 rows/s, 150 MiB", speeds.files),
    Row("dashboard", "pages of a lead", "p95 500 ms", speeds.dashboard),
    Row("restore", "restore", "a byte-identical export", tested.restore),
    Row("routes", "routes × roles", "100 %", tested.routes),
    Row("injections", "script injection", "0 executions, 0 violations", tested.injections),
    Row("accessibility", "accessibility", "0 violations of WCAG 2.2 AA", tested.accessibility),
    Row("first-label", "first label from a clean checkout", "180 s", first_label.measure),
)
