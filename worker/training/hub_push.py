"""Uploads of model folders to a hub: that of Hugging Face, or another named by HF_ENDPOINT."""

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from app.domain import hub_names
from app.errors import Forbidden, Invalid, NotFound, Unavailable
from worker.training import loading_code
from worker.training.model_folders import base_of, located

TOKEN: Final = "HF_TOKEN"
TIMEOUT_S: Final = 20
PRIVATE_FILES: Final = ("events.out.tfevents.*", "tensorboard/*", "heldout_scores.jsonl")
"""Curves with samples of prompts, and held-out texts: people's data stays here."""

Report = Callable[[int, int, str], None]
"""Takes the MiB that are uploaded, those there are, and what is being done."""


def push(
    model: str, name: str, *, is_private: bool, report: Report = lambda *_progress: None
) -> str:
    """Upload a folder as a model repository, made if it does not exist; return its address.

    Raises:
        Invalid: the name is none, or the adapter's base is a folder of this machine.
        NotFound: there is no such folder.
        Forbidden: there is no token, or the hub refuses it.
        Unavailable: no hub answers.
    """
    folder = Path(located(model))
    if not folder.is_dir():
        raise NotFound(f"there is no folder {model}")
    hub_names.check(name)
    refuse_local_base(folder)
    token = os.environ.get(TOKEN, "")
    if not token:
        raise Forbidden(
            f"there is no token for the hub: set {TOKEN}, where this command or worker runs, to "
            "one that may write"
        )
    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    refuse_silence(endpoint)
    api = HfApi(endpoint=endpoint, token=token)
    try:
        made = api.create_repo(name, private=is_private, exist_ok=True)
        if is_private and not api.model_info(made.repo_id).private:
            raise Invalid(f"{made.repo_id} exists and is public; nothing was uploaded")
        _upload(api, made.repo_id, folder, report)
    except HfHubHTTPError as error:
        raise _refused(error, endpoint, name) from error
    except OfflineModeIsEnabled as error:
        raise Unavailable("HF_HUB_OFFLINE is set; unset it to reach a hub") from error
    return f"{endpoint.rstrip('/')}/{made.repo_id}"


def _upload(api: HfApi, repo_id: str, folder: Path, report: Report) -> None:
    """Upload large files one by one, then make one commit of all; sent files are not sent again."""
    files = [path for path in sorted(folder.rglob("*")) if _is_uploaded(path, folder)]
    sizes = [path.stat().st_size for path in files]
    total, done = _mib(sum(sizes)), 0
    operations = []
    for path, size in zip(files, sizes, strict=True):
        inside = path.relative_to(folder).as_posix()
        report(_mib(done), total, f"uploading {inside}")
        operations.append(CommitOperationAdd(path_in_repo=inside, path_or_fileobj=path))
        api.preupload_lfs_files(repo_id, additions=operations[-1:])
        done += size
    report(total, total, "committing")
    api.create_commit(repo_id, operations, commit_message="Upload a model of Attune")


def _is_uploaded(path: Path, folder: Path) -> bool:
    inside = path.relative_to(folder).as_posix()
    return path.is_file() and not any(fnmatch(inside, pattern) for pattern in PRIVATE_FILES)


def _mib(size: int) -> int:
    return -(-size // 2**20)


def refuse_local_base(folder: Path) -> None:
    """Refuse an adapter whose base nobody else has.

    Raises:
        Invalid: its base is a path of this machine; naming what helps.
    """
    adapters = [folder, *(path.parent for path in folder.glob(f"*/{loading_code.ADAPTER}"))]
    for part in adapters:
        if not (part / loading_code.ADAPTER).is_file():
            continue
        base = base_of(part)
        if Path(base).is_dir():
            raise Invalid(
                f"the adapter's base is {base}, a folder of this machine that nobody who loads it "
                "from a hub has; merge the model, on its page or with `attune models export`, and "
                "push the merged one"
            )


def refuse_silence(endpoint: str) -> None:
    """Refuse to start where no hub answers.

    Raises:
        Invalid: the address is none.
        Unavailable: nothing answers there.
    """
    if not endpoint.startswith(("http://", "https://")):
        raise Invalid(f"HF_ENDPOINT must begin with http:// or https://, not {endpoint!r}")
    try:
        urllib.request.urlopen(endpoint, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return  # it answers
    except OSError as error:
        raise Unavailable(f"no hub answers at {endpoint}: {error}") from error


def _refused(error: HfHubHTTPError, endpoint: str, name: str) -> Exception:
    status = error.response.status_code
    said = error.server_message or str(error).splitlines()[0]
    if status in {401, 403}:
        return Forbidden(f"{endpoint} does not let the token of {TOKEN} write {name}: {said}")
    if status >= 500:
        return Unavailable(f"{endpoint} failed with status {status}: {said}")
    return Invalid(f"{endpoint} refuses {name} with status {status}: {said}")
