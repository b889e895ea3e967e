"""`judge`: AI judges of a project, compared with people and asked to label."""

from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.console import emit, say
from app.cli.serve import ready_database
from app.domain.judges import servers
from app.models import Job
from app.services.judging import ai_judgments, judges
from app.services.judging.ai_judgments import JudgeTotals
from app.services.project import projects
from app.services.quality import judge_quality
from app.services.rounds import judge_jobs
from app.settings import load

judge_app = typer.Typer(help="AI judges: list, compare with people, label.", no_args_is_help=True)

Project = Annotated[str, typer.Argument(help="The project's slug.")]
Name = Annotated[str, typer.Argument(help="The judge's name or pseudonym, such as J1.")]
Count = Annotated[int, typer.Option(help="How many comparisons to ask about.")]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    app.add_typer(judge_app, name="judge")


@judge_app.command("list")
def list_judges(project: Project) -> None:
    """Print the judges with their agreement with people and their cost, one JSON object a line."""
    with ready_database(load()).reader() as session:
        own = projects.by_slug(session, project)
        totals = ai_judgments.totals(session, own.id)
        for judge in judges.of_project(session, own.id):
            emit(
                {
                    "judge": judge.pseudonym,
                    "name": judge.name,
                    "setup": judge.setup,
                    "totals": asdict(totals.get(judge.id, JudgeTotals())),
                    "measures": asdict(judge_quality.of_judge(session, judge)),
                    "why_not_alone": judge_quality.why_not_alone(session, judge),
                }
            )


@judge_app.command()
def compare(project: Project, judge: Name, count: Count = 100) -> None:
    """Ask a judge about comparisons that people have judged; a worker does the job."""
    settings = load()
    with ready_database(settings).transaction() as session:
        found = judges.named(session, projects.by_slug(session, project).id, judge)
        judges.check_server(found, servers.allowed(settings.judge_servers))
        _say(judge_jobs.compare(session, found, count, actor_id=None))


@judge_app.command()
def label(project: Project, judge: Name, count: Count = 100) -> None:
    """Ask a judge about comparisons that wait for judgments; labelers are asked all the same."""
    settings = load()
    with ready_database(settings).transaction() as session:
        found = judges.named(session, projects.by_slug(session, project).id, judge)
        judges.check_server(found, servers.allowed(settings.judge_servers))
        _say(judge_jobs.label(session, found, count, actor_id=None))


def _say(job: Job) -> None:
    count = len(job.payload["comparison_ids"])
    say(f"Job {job.id} asks about {count} comparison{'' if count == 1 else 's'}")
    emit({"job": job.id, "comparisons": count})
