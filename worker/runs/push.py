"""Uploads a checkpoint, or its merged folder, to the hub that this worker has a token for."""

from worker.orders import Interrupted
from worker.runs.process.job_context import JobContext
from worker.training import hub_push


def run(context: JobContext) -> None:
    """Upload the folder of the payload, file by file; what is on the hub is not sent again."""
    payload = context.payload

    def report(done: int, total: int, note: str) -> None:
        context.report(done, total, note)
        if context.should_stop() in {"cancel", "preempt"}:
            raise Interrupted(f"{note}: asked to stop")

    folder = context.fetch(payload["uri"], payload["sha256"])
    url = hub_push.push(str(folder), payload["name"], is_private=payload["private"], report=report)
    context.succeed(lambda _session: {"checkpoint_id": payload["checkpoint_id"], "url": url})
