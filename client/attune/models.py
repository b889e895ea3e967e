"""The models of a project: listing and downloading them."""

from collections.abc import Iterator
from pathlib import Path

from attune import files
from attune.connection import Connection
from attune.progress import meter
from attune.types import Checkpoint


class Models:
    """The models of one project, newest first."""

    def __init__(self, connection: Connection, project_path: str) -> None:
        self._connection = connection
        self._path = f"{project_path}/checkpoints"

    def __repr__(self) -> str:
        return f"<Models of {self._path.split('/')[2]} at {self._connection.url}>"

    def __iter__(self) -> Iterator[Checkpoint]:
        return self.list()

    def list(self, kind: str | None = None) -> Iterator[Checkpoint]:
        """Yield the models of a kind (base, sft, reward, policy), or all."""
        listed = self._connection.get(self._path, kind=kind)
        yield from (Checkpoint.from_json(each) for each in listed)

    def get(self, number: int) -> Checkpoint:
        """Return a model."""
        return Checkpoint.from_json(self._connection.get(f"{self._path}/{number}"))

    def download(self, number: int, to: str | Path, *, progress: bool | None = None) -> Path:
        """Download a model's folder, which transformers or peft load, and verify every file.

        Args:
            number: the id of the model.
            to: the folder to create.
            progress: whether to show a line of progress; by default to people only.

        Raises:
            DownloadDamaged: a file is missing, is one too many, or has a different hash.
            FileExistsError: there is something at `to`.
            NotFound: the server does not store the model, because it is a base model.
        """
        model = self.get(number)
        with meter(progress) as shown:
            return files.fetch_folder(
                self._connection,
                f"{self._path}/{number}/download",
                Path(to),
                sha256=model.sha256,
                on_bytes=lambda size: shown.show(f"{model.name}: {size / 1e6:.1f} MB"),
            )
