"""Access of a job to the server that samples its models, by the operator's lists."""

from dataclasses import dataclass

from app.domain import allowed_servers
from app.domain.server_plan import SamplingServerPlan
from app.models import Checkpoint
from worker.runs.process.job_context import JobContext
from worker.training.served_sampling import ServerAccess


@dataclass(frozen=True, slots=True)
class ServedBase:
    """A plan's server, and the id of the full model that it has: that of the round's policy."""

    plan: SamplingServerPlan
    whole_id: int


def of(context: JobContext, plan: SamplingServerPlan | None) -> ServerAccess | None:
    """Return the access that a plan asks for; None: it asks for none.

    Raises:
        Invalid: the server is not among those that this worker may call.
    """
    if plan is None:
        return None
    servers = context.servers
    context.once(lambda: allowed_servers.check_completions(plan.url, servers.urls))
    return ServerAccess(
        plan, servers.adapter_folder, context.run_name, context.attempt, key=servers.key
    )


def for_model(
    context: JobContext, server: ServedBase | None, checkpoint: Checkpoint, whole_id: int
) -> ServerAccess | None:
    """Return the access for a model on a full model; None: this worker samples it.

    Raises:
        Invalid: the server is not among those that this worker may call.
    """
    if server is None:
        return None
    if server.whole_id != whole_id:
        context.say(
            f"{checkpoint.name} is sampled by this worker: the sampling server has another base."
        )
        return None
    return of(context, server.plan)
