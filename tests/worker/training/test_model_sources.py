"""Why a model's files cannot be had, in sentences that say what helps."""

import errno
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from app.errors import Invalid
from worker.training import model_sources


def caused(cause: Exception) -> OSError:
    error = OSError("as the library words it\nand more")
    error.__cause__ = cause
    return error


def answered(kind: type[HfHubHTTPError], status: int) -> Exception:
    made = httpx2.Response(status, request=httpx2.Request("GET", "http://127.0.0.1/a/b"))
    return kind("no", response=made)


@pytest.mark.parametrize(
    ("cause", "name", "said"),
    [
        (lambda: HFValidationError("no"), "/gone", "there is no folder /gone on this worker's"),
        (lambda: HFValidationError("no"), "a b", "neither a folder on this worker's machine nor"),
        (lambda: answered(GatedRepoError, 403), "a/b", "accepted its terms"),
        (lambda: answered(RepositoryNotFoundError, 404), "a/b", "set HF_TOKEN"),
        (lambda: LocalEntryNotFoundError("no"), "a/b", "the hub cannot be reached from it; copy"),
    ],
)
def test_a_missing_model_is_told_with_its_remedy(
    cause: Callable[[], Exception], name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise caused(cause())

    monkeypatch.setattr("worker.rlhf.model.models.load", fail)
    with pytest.raises(Invalid, match=f"the model {name} cannot be loaded: .*{said}"):
        model_sources.load(name)


def test_a_fault_that_may_pass_is_left_to_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(errno.EIO, "the disk is tired")

    monkeypatch.setattr("worker.rlhf.model.models.load", fail)
    with pytest.raises(OSError, match="the disk is tired"):
        model_sources.load("a/b")


def test_a_real_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="there is no folder"):
        model_sources.load(str(tmp_path / "gone"))
