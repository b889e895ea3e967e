"""A model is uploaded to a hub by a job, once with its words and once merged."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db import Database
from app.domain.states import JobState
from app.errors import Forbidden, Invalid
from app.models import Checkpoint, Job
from app.services.checkpoints import hub_pushes
from app.services.checkpoints.hub_pushes import HubPush
from tests import hub_server
from tests.hub_server import Hub
from tests.worker.runs import small
from tests.worker.runs.test_merge import request as merge
from tests.worker.runs.test_merge import with_policy
from worker.orders import Interrupted, Orders
from worker.runs import push


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.serving(monkeypatch) as made:
        yield made


def request(database: Database, checkpoint_id: int, wanted: HubPush) -> int:
    with database.transaction() as session:
        checkpoint = session.get_one(Checkpoint, checkpoint_id)
        return hub_pushes.request(session, checkpoint, wanted, user_id=None).id


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own uploads
def test_a_job_uploads_the_merged_model_and_says_where_it_is(
    database: Database, tmp_path: Path, hub: Hub
) -> None:
    policy_id = with_policy(database, tmp_path)
    with database.transaction() as session:
        merge(session, policy_id)
    small.run_jobs(database, tmp_path)
    job_id = request(database, policy_id, HubPush("desk/policy", is_merged=True))
    assert small.run_jobs(database, tmp_path) == ["push"]
    with database.reader() as session:
        job = session.get_one(Job, job_id)
        assert job.result["url"] == f"{hub.url}/desk/policy"
        assert job.progress_done == job.progress_total >= 1
        assert hub_server.SECRET not in repr((job.payload, job.result))
    assert hub.private == {"desk/policy": True}
    assert {"config.json", "model.safetensors", "README.md"} <= hub.files.keys()


def test_an_adapter_on_a_folder_and_a_worker_without_a_token_fail_in_words(
    database: Database, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy_id = with_policy(database, tmp_path)
    request(database, policy_id, HubPush("desk/policy"))
    context = small.claimed(database, tmp_path)
    with pytest.raises(Invalid, match="merge the model, on its page or with"):
        push.run(context)
    monkeypatch.setattr("worker.training.hub_push.refuse_local_base", lambda _folder: None)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(Forbidden, match="set HF_TOKEN, where this command or worker runs"):
        push.run(context)
    assert hub.files == {}


def test_a_cancelled_upload_commits_nothing(
    database: Database, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.training.hub_push.refuse_local_base", lambda _folder: None)
    policy_id = with_policy(database, tmp_path)
    job_id = request(database, policy_id, HubPush("desk/policy"))
    context = small.claimed(database, tmp_path)
    orders = Orders()
    orders.give("cancel")
    monkeypatch.setattr(context, "_orders", orders)
    with pytest.raises(Interrupted):
        push.run(context)
    context.interrupt()
    assert hub.files == {}
    with database.reader() as session:
        assert session.get_one(Job, job_id).state == JobState.CANCELLED
