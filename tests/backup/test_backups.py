"""What a backup has, refuses and leaves: damage, keys, folders, hostile archives."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import fsspec
import pyrage
import pytest
from sqlalchemy import delete

from app.backup import archives, artifact_stores, backup_readers, backups, encryption, restores
from app.backup.backup_manifest import HEADER, MANIFEST, BackupManifest
from app.backup.backup_progress import NoProgress
from app.backup.backups import BackupDone, BackupRequest
from app.backup.encryption import NO_KEY, EncryptionKey, Unlock
from app.backup.restores import RestoreRequest
from app.errors import Conflict, Invalid
from app.models import Export, Judgment
from tests.backup.worlds import World, snapshot_of


def check(path: Path, unlock: Unlock = NO_KEY) -> BackupManifest:
    return backup_readers.read(path, unlock, NoProgress()).manifest


def write_artifact(world: World, uri: str, files: dict[str, bytes]) -> None:
    """Write an artifact that an export of the project names."""
    folder = world.folder / "artifacts" / uri
    folder.mkdir(parents=True)
    listed = {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        listed[name] = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({"files": listed}))
    with world.database.transaction() as session:
        number = int(uri.rpartition("-")[2])
        row = Export(
            project_id=world.project_id,
            number=number,
            format="rich",
            options={},
            state="ready",
            uri=f"{uri}/{next(iter(files))}",
            created_at=datetime.now(UTC),
        )
        session.add(row)


@pytest.fixture
def world(small_world: World) -> World:
    small_world.fill(votes=1)
    write_artifact(small_world, "export/job-1", {"data": b"one" * 50_000, "card": b"same"})
    write_artifact(small_world, "export/job-2", {"data": b"two" * 50_000, "card": b"same"})
    return small_world


def test_a_changed_byte_and_a_missing_end_are_found(world: World, tmp_path: Path) -> None:
    path = world.backup(tmp_path / "a.backup", secret=b"s" * 40).path
    manifest = check(path)
    assert [files.uri for files in manifest.artifacts] == ["export/job-1", "export/job-2"]
    names = [part.name for part in manifest.parts]
    assert names == [HEADER, "database", *(f"objects/{n}" for n in range(5)), "secret"]
    content = path.read_bytes()
    for part in (*names, MANIFEST):
        with tarfile.open(path) as tar:
            at = tar.getmember(part).offset_data + 1
        damaged = tmp_path / "damaged"
        damaged.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(Invalid, match="damaged"):
            check(damaged)
    for length in (len(content) // 2, len(content) - 20_000, 1000, 0):
        damaged.write_bytes(content[:length])
        with pytest.raises(Invalid, match="truncated"):
            check(damaged)


def test_only_its_key_opens_an_encrypted_backup(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file, other_file = tmp_path / "key", tmp_path / "other"
    key, other = encryption.write_key_file(key_file), encryption.write_key_file(other_file)
    with pytest.raises(Invalid, match="exists"):
        encryption.write_key_file(key_file)
    assert key_file.stat().st_mode & 0o077 == 0
    public = EncryptionKey(key.recipients)
    path = world.backup(tmp_path / "a.backup", key=public).path
    assert b"one" * 100 not in path.read_bytes()
    assert check(path, Unlock(key_file=key_file)).rows["judgment"] == 1
    with pytest.raises(Invalid, match="is encrypted: give the key"):
        check(path)
    with pytest.raises(Invalid, match="encrypted with another key"):
        check(path, Unlock(key_file=other_file))
    other_file.write_text(f"{other.recipients[0]}\n")
    with pytest.raises(Invalid, match="has only recipients"):
        check(path, Unlock(key_file=other_file))
    other_file.write_text("swordfish\n")
    with pytest.raises(Invalid, match="line 1: neither an age identity"):
        check(path, Unlock(key_file=other_file))
    content = path.read_bytes()
    for changed in (content[:-1], content[:-70_000] + b"!" + content[-69_999:]):
        path.write_bytes(changed)
        with pytest.raises(Invalid, match="changed or truncated after it was encrypted"):
            check(path, Unlock(key_file=key_file))


def test_only_its_passphrase_opens_a_backup(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cheap_passphrases(monkeypatch)
    key = encryption.from_passphrase("correct horse")
    folder = tmp_path / "backups"
    folder.mkdir()
    path = world.backup(folder / "attune-20260101T000000Z.backup", key=key, shares=True).path
    assert check(path, Unlock("correct horse")).rows["judgment"] == 1
    for wrong, reason in (
        (Unlock("wrong horse"), "the passphrase does not open"),
        (NO_KEY, "encrypted with a passphrase: give the key"),
    ):
        with pytest.raises(Invalid, match=reason):
            check(path, wrong)
    with pytest.raises(Invalid, match="at least 8 characters, not 3"):
        encryption.from_passphrase("abc")
    known = (folder / "key.age").read_bytes()
    again = encryption.from_passphrase("correct horse", known)
    assert again.fingerprint == key.fingerprint
    second = world.backup(folder / "attune-20260102T000000Z.backup", key=again, shares=True)
    assert second.new_objects == 0
    assert check(second.path, Unlock("correct horse"))


@pytest.mark.slow
def test_a_passphrase_goes_through_age_itself(world: World, tmp_path: Path) -> None:
    key = encryption.from_passphrase("correct horse")
    path = world.backup(tmp_path / "a.backup", key=key).path
    assert check(path, Unlock("correct horse")).rows["judgment"] == 1
    with pytest.raises(Invalid, match="the passphrase does not open"):
        check(path, Unlock("wrong horse"))


def _cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the derivation of a key, which takes seconds on purpose."""

    def decrypt(content: bytes, passphrase: str) -> bytes:
        start = passphrase.encode() + b":"
        if not content.startswith(start):
            raise ValueError("wrong")
        return content.removeprefix(start)

    monkeypatch.setattr(
        pyrage.passphrase, "encrypt", lambda content, word: word.encode() + b":" + content
    )
    monkeypatch.setattr(pyrage.passphrase, "decrypt", decrypt)


def test_a_folder_stores_nothing_twice_and_keeps_as_many_as_asked(
    world: World, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()

    def backup(day: int, **options: object) -> BackupDone:
        path = folder / f"attune-2026010{day}T000000Z.backup"
        return world.backup(path, shares=True, **options)

    objects = folder / "objects"
    assert (backup(1).new_objects, len(snapshot_of(objects))) == (5, 5)
    write_artifact(world, "export/job-3", {"data": b"one" * 50_000, "card": b"new"})
    assert (backup(2).new_objects, len(snapshot_of(objects))) == (2, 7)
    with world.database.transaction() as session:  # as if the first had never been
        session.execute(delete(Export).where(Export.number == 2))
    (folder / ".attune-20260102T000000Z.backup.objects").rename(tmp_path / "list")
    unlisted = backup(3, keep=2).pruned
    assert unlisted is not None
    assert (unlisted.objects, "has no list" in unlisted.kept_because) == (0, True)
    (tmp_path / "list").rename(folder / ".attune-20260102T000000Z.backup.objects")
    pruned = backup(4, keep=1).pruned
    assert pruned is not None
    assert pruned.backups == tuple(f"attune-2026010{day}T000000Z.backup" for day in (2, 3))
    assert pruned.objects == 2  # what only the second export had
    assert check(folder / "attune-20260104T000000Z.backup").rows["export"] == 2
    gone = next(path for path in sorted(objects.rglob("*")) if path.is_file())
    content = gone.read_bytes()
    for change, reason in ((content + b"!", "is damaged"), (None, "is missing")):
        gone.unlink() if change is None else gone.write_bytes(change)
        with pytest.raises(Invalid, match=reason):
            check(folder / "attune-20260104T000000Z.backup")


@pytest.mark.parametrize("shares", [True, False])
def test_an_artifact_that_is_not_whole_is_named_and_the_rest_is_backed_up(
    world: World, tmp_path: Path, shares: bool
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (world.folder / "artifacts/export/job-1/data").write_bytes(b"one")
    write_artifact(world, "export/job-3", {"data": b"three", "card": b"same"})
    (world.folder / "artifacts/export/job-3/manifest.json").unlink()
    done = world.backup(folder / "attune-20260101T000000Z.backup", shares=shares, keep=1)
    assert [files.uri for files in done.manifest.artifacts] == ["export/job-2"]
    reasons = {damaged.uri: damaged.reason for damaged in done.manifest.damaged}
    assert sorted(reasons) == ["export/job-1", "export/job-3"]
    assert "data has the hash" in reasons["export/job-1"]
    assert "manifest.json is missing" in reasons["export/job-3"]
    assert done.pruned is None  # an older, whole one is not removed for it
    assert check(done.path) == done.manifest


def test_a_failure_leaves_nothing_under_the_final_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    path = folder / "a.backup"
    path.write_bytes(b"older")
    with pytest.raises(Conflict, match="does not overwrite"):
        world.backup(path)
    path.unlink()
    usage = type("Usage", (), {"free": 1 << 20})
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _path: usage)
        with pytest.raises(Invalid, match=r"MiB below .*, and 1 MiB are free"):
            world.backup(path)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.ArchiveWriter, "close", full)
    with pytest.raises(OSError, match="No space left"):
        world.backup(path)
    assert list(folder.iterdir()) == []
    assert [entry.name for entry in world.folder.iterdir()] == ["artifacts"]


Change = Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]


def _rewritten(path: Path, to: Path, change: Change) -> Path:
    """Copy an archive, changing its members as somebody hostile would."""
    with tarfile.open(path) as source, tarfile.open(to, "w") as target:
        for info in source:
            opened = source.extractfile(info)
            assert opened is not None
            info, content = change(info, opened.read())
            info.size = len(content)
            target.addfile(info, io.BytesIO(content))
    return to


def _renamed(old: str, new: str) -> Change:
    def change(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        info.name = new if info.name == old else info.name
        return info, content

    return change


def _link(kind: bytes) -> Change:
    def change(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if info.name == "objects/0":
            info.type, info.linkname = kind, "/etc/passwd"
            return info, b""
        return info, content

    return change


def _uri(uri: str) -> Change:
    def change(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        if info.name != MANIFEST:
            return info, content
        document = json.loads(content)
        document["artifacts"][0]["uri"] = uri
        manifest = BackupManifest.model_construct(**document)
        try:
            document["sha256"] = BackupManifest.model_validate(document).hash_of_rest()
        except ValueError:
            del manifest  # not even the rest is valid
        return info, json.dumps(document).encode()

    return change


def _format(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if info.name == HEADER:
        content = json.dumps(json.loads(content) | {"format": 2}).encode()
    return info, content


def _revision(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if info.name == HEADER:
        content = json.dumps(json.loads(content) | {"revision": "ffffffffffff"}).encode()
    return info, content


def _kind(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    if info.name == HEADER:
        content = json.dumps(json.loads(content) | {"database": "postgresql"}).encode()
    return info, content


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_renamed("objects/0", "../../outside"), "a part named '../../outside'"),
        (_renamed("objects/0", "/outside"), "a part named '/outside'"),
        (_renamed("objects/0", "objects/1"), "a part named 'objects/1'"),
        (_link(tarfile.SYMTYPE), "not a plain file"),
        (_link(tarfile.LNKTYPE), "not a plain file"),
        (_link(tarfile.FIFOTYPE), "not a plain file"),
        (_uri("../../outside"), "a path must stay below its folder"),
        (_uri("/outside"), "a path must stay below its folder"),
        (_format, "backup format 2; this version reads format 1"),
        (_revision, "at revision ffffffffffff, which this version does not know"),
        (_kind, "of a PostgreSQL database, and this installation uses SQLite"),
    ],
)
def test_a_hostile_or_foreign_archive_changes_nothing(
    world: World, tmp_path: Path, change: Change, reason: str
) -> None:
    path = world.backup(tmp_path / "a.backup").path
    hostile = _rewritten(path, tmp_path / "hostile", change)
    world.vote()
    before = snapshot_of(tmp_path)
    with pytest.raises(Invalid, match=reason):
        world.restore(hostile, replaces=True)
    assert snapshot_of(tmp_path) == before
    assert world.count(Judgment) == 2


def test_artifacts_do_not_leave_their_root_through_a_link(world: World, tmp_path: Path) -> None:
    path = world.backup(tmp_path / "a.backup").path
    exports, outside = world.folder / "artifacts/export", tmp_path / "outside"
    exports.rename(tmp_path / "moved")
    outside.mkdir()
    exports.symlink_to(outside)
    with pytest.raises(Invalid, match=r"outside .*, through a link"):
        world.restore(path, replaces=True)
    assert list(outside.iterdir()) == []


def test_artifacts_that_differ_are_kept_aside(world: World, tmp_path: Path) -> None:
    path = world.backup(tmp_path / "a.backup").path
    data = world.folder / "artifacts/export/job-1/data"
    data.write_bytes(b"changed")
    done = world.restore(path, replaces=True)
    assert (done.artifacts_written, done.artifacts_there) == (1, 1)
    assert data.read_bytes() == b"one" * 50_000
    aside = next((world.folder / "artifacts/export").glob("job-1.before-restore-*"))
    assert (aside / "data").read_bytes() == b"changed"


def test_artifacts_of_an_object_store_go_there_and_back(world: World, tmp_path: Path) -> None:
    store, _ = fsspec.core.url_to_fs("memory://attune")
    store.put(str(world.folder / "artifacts"), "/attune", recursive=True)
    before = {path: store.cat_file(path) for path in store.find("/attune")}
    installation = replace(world.installation, artifacts="memory://attune")
    path = tmp_path / "a.backup"
    try:
        backups.make(installation, BackupRequest(path, "1.2", datetime.now(UTC)), NoProgress())
        store.rm("/attune/export/job-1", recursive=True)
        store.pipe_file("/attune/export/job-2/data", b"changed")
        request = RestoreRequest(path, replaces=True)
        done = restores.restore(installation, request, NoProgress())
        assert (done.artifacts_written, done.artifacts_there) == (2, 0)
        after = {path: store.cat_file(path) for path in store.find("/attune")}
        assert before.items() <= after.items()
        assert b"changed" in after.values()  # kept aside
    finally:
        store.rm("/attune", recursive=True)


def test_what_an_object_store_has_is_moved_aside_object_by_object() -> None:
    files, _ = fsspec.core.url_to_fs("memory://aside")
    uri = "sft/job-1-1"
    for name in ("manifest.json", "model.bin", "deep/config.json"):
        files.pipe_file(f"/aside/{uri}/{name}", name.encode())
    store = artifact_stores.store_at("memory://aside")
    store.move_aside("sft/job-9-9", "x")
    store.move_aside(uri, "x")
    left = sorted(path.removeprefix("/aside/") for path in files.find("/aside"))
    names = ("deep/config.json", "manifest.json", "model.bin")
    assert left == [f"{uri}.before-x/{name}" for name in names]
