"""Whether the processes of a run divide its base model, as its plan says."""

from app.domain.plan import Parallel
from worker.rlhf.core.parallel import Held, Team
from worker.training.training_loop import RunPlace


def settle(place: RunPlace, team: Team | None, parallel: Parallel) -> Held:
    """Let the processes divide the base model that is loaded next, if the plan says so.

    Returns:
        Where this process loads the weights. A single process holds the whole model, and says so.
    """
    is_wanted = parallel is Parallel.SHARDED
    if team is None or team.size == 1:
        if is_wanted:
            place.say(
                "The base model is not divided, although parallel is sharded: this run has one "
                "process; see ATTUNE_JOB_PROCESSES and --processes."
            )
        return "device"
    team.shards = is_wanted
    return team.held
