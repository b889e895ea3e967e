"""Everything that is checked of a plan before its round is launched."""

from sqlalchemy.orm import Session

from app.domain.allowed_servers import AllowedServers
from app.domain.plan import RoundPlan
from app.models import Project
from app.services.judging import judges
from app.services.rounds import readiness, reward_checks


def check(
    session: Session,
    project: Project,
    plan: RoundPlan,
    user_id: int | None,
    servers: AllowedServers | None,
) -> None:
    """Refuse a plan that the project or the installation cannot carry out.

    Args:
        session: of the launch.
        project: of the round.
        plan: of the round.
        user_id: who launches the round, and must lead the projects whose models it uses.
        servers: the operator's lists; None where they are unknown, and only the workers check them.

    Raises:
        Invalid: the message names what is missing or not allowed, and who can help.
    """
    readiness.check(session, project, plan)
    reward_checks.check(session, project, plan.reward, user_id)
    if servers is None:
        return
    servers.check(plan)
    for name in filter(None, (plan.judge, plan.evaluation.judge)):
        judges.check_server(judges.named(session, project.id, name), servers.judges)
