"""Curves for pages: long ones are thinned out, each by itself, and none loses its newest points."""

import pytest
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.services.jobs import training_curves, training_runs
from tests.services import sample
from tests.services.rounds import trained

NAMES = ["kl/k1", "heldout/kl"]


@pytest.mark.parametrize(("steps", "every"), [(9, 1), (20, 1), (21, 2), (121, 7)])
def test_each_curve_is_thinned_out_by_itself_and_keeps_its_ends(
    session: Session, monkeypatch: pytest.MonkeyPatch, steps: int, every: int
) -> None:
    monkeypatch.setattr(training_curves, "MOST_POINTS", 20)
    project = sample.make_project(session)
    curves = trained.policy_curves(steps)
    job = trained.add_job(session, trained.add_round(session, project, 1), "policy", curves)
    assert training_curves.interval(session, job.id, NAMES) == every
    thin = training_curves.of_job(session, job.id, NAMES)
    whole = training_curves.whole(session, job.id, NAMES)
    for name, points in whole.items():
        assert dict(points) == curves[name]
        assert set(thin[name]) <= set(points)
        assert thin[name][0] == points[0]
        assert thin[name][-every:] == points[-every:]
        assert len(thin[name]) <= 20 + every
    assert len(thin.get("heldout/kl", ())) == steps // trained.EVERY, "few points are all kept"


def test_nothing_logged_is_nothing_drawn(session: Session) -> None:
    project = sample.make_project(session)
    job = trained.add_job(session, trained.add_round(session, project, 1), "policy", {})
    assert training_curves.of_job(session, job.id, NAMES) == {}
    assert training_curves.interval(session, job.id, NAMES) == 1


def test_runs_of_a_kind_are_listed_newest_first_and_found_in_their_project_only(
    session: Session,
) -> None:
    project, other = (sample.make_project(session, slug=slug) for slug in ("one", "two"))
    first, second = trained.two_rounds(session, project, steps=10)
    run, others = training_runs.find(session, project.id, first.id)
    assert (run.name, [one.job.id for one in others]) == ("Round 1", [second.id])
    listed = training_runs.of_kind(session, project.id, "policy")
    assert [one.name for one in listed] == ["Round 2", "Round 1"]
    assert training_runs.of_kind(session, other.id, "policy") == []
    second.started_at = None
    session.flush()
    for project_id, job_id in ((other.id, first.id), (project.id, second.id), (project.id, 999)):
        with pytest.raises(NotFound):
            training_runs.find(session, project_id, job_id)
