"""A checkpoint is merged in a job, once, and its folder comes back from the page and the API."""

import tarfile
from io import BytesIO
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from transformers import AutoModelForCausalLM
from typer import Typer
from typer.testing import CliRunner

from app.db import Database
from app.errors import Invalid
from app.models import Checkpoint, CheckpointKind
from app.services.checkpoints import checkpoints, merged_models
from app.services.checkpoints.checkpoints import CheckpointFiles
from app.web import downloads
from tests.worker.rlhf import tiny
from tests.worker.runs import small
from worker.artifacts import Artifacts, verify
from worker.commands import model_export
from worker.rlhf.model import models, saving
from worker.rlhf.model.roles import Roles
from worker.training.layout import ADAPTER


def with_policy(database: Database, folder: Path) -> int:
    """Give a project a base model and a policy adapter on it; return the policy's id."""
    base = small.save_tiny_llama(folder / "base")
    roles = Roles(models.load(base))
    roles.add_adapter("policy", tiny.LORA, seed=1)
    saving.save_policy(roles, folder / "adapter")
    store = Artifacts(str(folder / "artifacts"), folder / "cache")
    published = store.publish(folder / "adapter", "policy/one")
    with database.transaction() as session:
        project = small.make_project(session, base_model=str(base))
        whole = checkpoints.register_base(session, project, str(base))
        config = {"layout": ADAPTER, "over": whole.id, **roles.loaded.record}
        files = CheckpointFiles(published.uri, published.sha256, config, {})
        row = checkpoints.create(
            session,
            project_id=project.id,
            kind=CheckpointKind.POLICY,
            written=files,
            parent_id=whole.id,
        )
        return row.id


def request(session: Session, checkpoint_id: int, member: str = "") -> int:
    checkpoint = session.get_one(Checkpoint, checkpoint_id)
    return merged_models.request(session, checkpoint, member, user_id=None).id


def test_a_checkpoint_is_merged_once(database: Database, tmp_path: Path) -> None:
    policy_id = with_policy(database, tmp_path)
    with database.transaction() as session:
        first = request(session, policy_id)
        assert request(session, policy_id) == first
    assert small.run_jobs(database, tmp_path) == ["merge"]
    with database.transaction() as session:
        assert request(session, policy_id) == first
        [merged] = merged_models.of_checkpoint(session, session.get_one(Checkpoint, policy_id))
        assert merged.is_ready
        assert merged.job.result["dtype"] == "float32"
        folder = tmp_path / "artifacts" / merged.uri
    assert verify(folder)
    AutoModelForCausalLM.from_pretrained(folder)
    archive = b"".join(downloads.tar_stream(folder, "policy"))
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        assert "policy/model.safetensors" in tar.getnames()


def test_what_cannot_be_merged_is_refused_when_it_is_asked_for(
    database: Database, tmp_path: Path
) -> None:
    policy_id = with_policy(database, tmp_path)
    with database.transaction() as session:
        policy = session.get_one(Checkpoint, policy_id)
        with pytest.raises(Invalid, match=r"base model; it is at .*base as it is"):
            request(session, policy.parent_id or 0)
        with pytest.raises(Invalid, match="'reward-2' is none of them"):
            request(session, policy_id, "reward-2")
        policy.kind = CheckpointKind.REWARD
        policy.config = {**policy.config, "names": ["reward-0", "reward-1"]}
        with pytest.raises(Invalid, match="has the members reward-0, reward-1"):
            request(session, policy_id)


def test_the_command_merges_a_checkpoint_by_its_name(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_policy(database, tmp_path)
    monkeypatch.setenv("ATTUNE_DATABASE_URL", str(database.engine.url))
    monkeypatch.setenv("ATTUNE_DATA_DIR", str(tmp_path))
    app = Typer()
    model_export.register(app)
    command = ["models", "export", "policy 1", "--project", "small", "--merged"]
    done = CliRunner().invoke(app, [*command, str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    again = CliRunner().invoke(app, [*command, str(tmp_path / "out")])
    assert "exists already" in str(again.exception)
    missing = CliRunner().invoke(
        app, ["models", "export", "Policy 9", "--project", "small", "--merged", str(tmp_path / "x")]
    )
    assert "has no checkpoint 'Policy 9'; it has Policy 1" in str(missing.exception)
