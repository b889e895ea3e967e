import os
from pathlib import Path

import pytest

from app.errors import Invalid, NotFound
from worker import artifacts
from worker.artifacts import MANIFEST, Artifacts


def fill(text: str = "weights") -> artifacts.Write:
    def write(folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "model.bin").write_text(text)
        (folder / "deep" / "config.json").write_text("{}")

    return write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    fill()(made)
    return made


def store(tmp_path: Path, kind: str) -> Artifacts:
    root = str(tmp_path / "root") if kind == "local" else f"memory://{tmp_path.name}"
    return Artifacts(root, tmp_path / "cache")


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_what_is_published_can_be_fetched_and_has_the_hash(
    tmp_path: Path, folder: Path, kind: str
) -> None:
    found = store(tmp_path, kind)
    published = found.publish(folder, "policy/job-1-1")
    fetched = found.fetch(published.uri, published.sha256)
    assert (fetched / "model.bin").read_text() == "weights"
    assert (fetched / "deep" / "config.json").read_text() == "{}"
    assert artifacts.verify(fetched)
    assert published.bytes == len("weights{}")


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_the_hash_is_of_the_content_alone(tmp_path: Path, folder: Path, kind: str) -> None:
    found = store(tmp_path, kind)
    first = found.publish(folder, "policy/job-1-1").sha256
    assert found.publish(folder, "policy/job-1-2").sha256 == first
    (folder / "model.bin").write_text("others!")
    assert found.publish(folder, "policy/job-1-3").sha256 != first


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_an_artifact_that_is_not_whole_is_not_there(
    tmp_path: Path, folder: Path, kind: str
) -> None:
    found = store(tmp_path, kind)
    with pytest.raises(NotFound):
        found.fetch("policy/job-9-9")
    published = found.publish(folder, "policy/job-1-1")
    with pytest.raises(Invalid, match="must have the hash"):
        found.fetch(published.uri, "0" * 64)


@pytest.mark.parametrize("key", ["../up", "/etc", "", "a/../../b"])
def test_a_key_stays_below_the_root(tmp_path: Path, folder: Path, key: str) -> None:
    found = store(tmp_path, "local")
    with pytest.raises(Invalid):
        found.publish(folder, key)
    with pytest.raises(Invalid):
        found.fetch(key)


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_what_is_removed_is_gone_and_nothing_else(tmp_path: Path, folder: Path, kind: str) -> None:
    found = Artifacts(store(tmp_path, kind).root, tmp_path / "cache")
    parts = [found.publish(folder, f"export-parts/{number}/job-1-1") for number in (1, 2)]
    found.remove(parts[0].uri)
    found.remove(parts[0].uri)  # again, by an attempt that did not know
    with pytest.raises(NotFound):
        Artifacts(found.root, tmp_path / "another cache").fetch(parts[0].uri)
    assert (found.fetch(parts[1].uri, parts[1].sha256) / "model.bin").read_text() == "weights"
    with pytest.raises(Invalid):
        found.remove("../outside")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def write(aside: Path) -> None:
        (aside / "half").write_text("…")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        artifacts.save(tmp_path / "target", write)
    assert list(tmp_path.iterdir()) == []


DAMAGES = ("flip", "truncate", "remove", "add", "no manifest", "torn manifest")


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_damage_is_seen(tmp_path: Path, damage: str) -> None:
    state = artifacts.save(tmp_path / "state", fill())
    assert artifacts.verify(state)
    weights, manifest = state / "model.bin", state / MANIFEST
    match damage:
        case "flip":
            weights.write_text("Weights")
        case "truncate":
            os.truncate(weights, 3)
        case "remove":
            weights.unlink()
        case "add":
            (state / "more").write_text("")
        case "no manifest":
            manifest.unlink()
        case _:
            os.truncate(manifest, manifest.stat().st_size // 2)
    assert not artifacts.verify(state)


def test_resume_takes_the_newest_that_verifies(tmp_path: Path) -> None:
    assert artifacts.newest_state(tmp_path) is None
    first = artifacts.save_state(tmp_path, 10, 1, fill())
    second = artifacts.save_state(tmp_path, 200, 1, fill())
    assert artifacts.newest_state(tmp_path) == second
    (second / "model.bin").write_text("torn")
    assert artifacts.newest_state(tmp_path) == first


def test_a_state_of_a_later_lease_is_newer_at_the_same_step_and_safe_from_earlier_ones(
    tmp_path: Path,
) -> None:
    artifacts.save_state(tmp_path, 10, 1, fill())
    later = artifacts.save_state(tmp_path, 10, 2, fill())
    assert artifacts.newest_state(tmp_path) == later
    for step in (20, 30, 40):
        artifacts.save_state(tmp_path, step, 1, fill())
    assert artifacts.verify(later)
    kept = {artifacts._order(state) for state in artifacts._states(tmp_path)}
    assert kept == {(10, 2), (30, 1), (40, 1)}


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    artifacts.save_state(tmp_path, 10, 1, fill("old"))
    state = artifacts.save_state(tmp_path, 10, 1, fill("new"))
    assert (state / "model.bin").read_text() == "new"
    assert artifacts.verify(state)
