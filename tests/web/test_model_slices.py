"""A reward model's page shows its accuracy on parts of the held-out pairs, by category first."""

from collections.abc import Callable

from sqlalchemy import select
from starlette.testclient import TestClient

from app.db import Database, now
from app.models import Checkpoint, CheckpointKind, User
from app.services.project import projects

RATINGS = [
    {
        "criterion": name,
        "weight": weight,
        "ratings": 12,
        "rmse": 0.5,
        "rmse_of_mean": 0.9,
        "correlation": 0.81,
    }
    for name, weight in (("helpful", 1.0), ("harmful", -2.0))
]
SEARCH = {
    "rate": 3e-3,
    "usual": 1e-3,
    "batch_size": 4,
    "sentence": "Learning rate 0.003 and up to 4 epochs, chosen.",
    "trials": [
        {"rate": 1e-3, "steps": 24, "loss": 0.6512, "accuracy": 0.6},
        {"rate": 3e-3, "steps": 24, "loss": None, "accuracy": 0.5},
    ],
}


def test_categories_come_first(sign_in: Callable[..., TestClient], database: Database) -> None:
    browser = sign_in("lead")
    groups = [
        {"name": "round", "value": "1", "pairs": 30, "accuracy": 0.5},
        {"name": "category", "value": "math", "pairs": 10, "accuracy": 0.75},
    ]
    with database.transaction() as session:
        user = session.scalars(select(User)).one()
        project = projects.create(session, name="Desk", owner=user)
        model = Checkpoint(
            project_id=project.id,
            kind=CheckpointKind.REWARD,
            name="Reward 1",
            uri="reward/1",
            metrics={
                "heldout": {"accuracy": 0.6, "groups": groups},
                "ratings": RATINGS,
                "rate_search": SEARCH,
            },
            created_at=now(session),
        )
        session.add(model)
        session.flush()
        model_id = model.id
    page = browser.get(f"/p/desk/models/{model_id}", headers={"accept": "text/html"}).text
    part = page.split("<h2>Accuracy on parts of the held-out pairs</h2>")[1]
    assert part.index("math") < part.index("round")
    assert "75.0\N{NO-BREAK SPACE}%" in part
    ratings = page.split("<h2>Held-out ratings, by criterion</h2>")[1]
    assert "a high rating counts against a response on harmful." in ratings
    assert ratings.index("helpful") < ratings.index("0.81")
    search = page.split('id="learning-rate"')[1].split("</section>")[0]
    assert "up to 4 epochs, chosen." in search
    assert (
        search.index("usual for the size") < search.index("not finite") < search.index(">chosen<")
    )
    assert "0.6512" in search
    assert "rate_search" not in page.split("<h2>Metrics</h2>")[1]
