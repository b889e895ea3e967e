"""Uploads of model folders to a hub: that of Hugging Face, or another named by HF_ENDPOINT."""

import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from app.errors import Forbidden, Invalid, NotFound, Unavailable
from worker.training import loading_code
from worker.training.model_folders import base_of, located

NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
TOKEN: Final = "HF_TOKEN"
TIMEOUT_S: Final = 20
PRIVATE_FILES: Final = ("events.out.tfevents.*", "tensorboard/*", "heldout_scores.jsonl")
"""Curves with samples of prompts, and held-out texts: people's data stays here."""


def push(model: str, name: str, *, is_private: bool) -> str:
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
    if not NAME.fullmatch(name):
        raise Invalid(f"a name on the hub is like desk/library-policy, not {name!r}")
    refuse_local_base(folder)
    token = os.environ.get(TOKEN, "")
    if not token:
        raise Forbidden(f"set {TOKEN} to a token that may write to the hub")
    endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    refuse_silence(endpoint)
    api = HfApi(endpoint=endpoint, token=token)
    try:
        made = api.create_repo(name, private=is_private, exist_ok=True)
        if is_private and not api.model_info(made.repo_id).private:
            raise Invalid(f"{made.repo_id} exists and is public; nothing was uploaded")
        api.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            commit_message="Upload a model of Attune",
            ignore_patterns=list(PRIVATE_FILES),
        )
    except HfHubHTTPError as error:
        raise _refused(error, endpoint, name) from error
    except OfflineModeIsEnabled as error:
        raise Unavailable("HF_HUB_OFFLINE is set; unset it to reach a hub") from error
    return f"{endpoint.rstrip('/')}/{made.repo_id}"


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
                "from a hub has; export a merged model with `attune models export` and push that"
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
