"""What a backup says about itself: a header that comes first, and a manifest that comes last.

The header lets a restoration refuse a backup before it reads all of it. The manifest has the hash
of every part, the rows of every table and the files of every artifact; an archive without one is
truncated. Both come from outside and are validated.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from app.errors import Invalid

HEADER: Final = "backup.json"
MANIFEST: Final = "manifest.json"
SECRET: Final = "secret"
DATABASE: Final = "database"
OBJECTS: Final = "objects/"
LARGEST_JSON: Final = 256 << 20

Kind = Literal["sqlite", "postgresql"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0)]


def _relative(path: str) -> str:
    parts = PurePosixPath(path)
    if (
        not path
        or parts.is_absolute()
        or ".." in parts.parts
        or str(parts) != path
        or any(character in path for character in "\\\0\n")
    ):
        raise ValueError(f"a path must stay below its folder, not {path!r}")
    return path


RelativePath = Annotated[str, AfterValidator(_relative)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackupHeader(_Document):
    """What a restoration must know before it reads the rest."""

    format: Literal[1]
    version: str
    taken_at: datetime
    database: Kind
    server: str
    schema_name: str
    revision: str
    has_artifacts: bool
    objects_beside: bool
    objects_suffix: Annotated[str, Field(pattern=r"^(\.[0-9a-f]{8}\.age)?$")]
    database_bytes: Size
    artifact_bytes: Size


class ArchivePart(_Document):
    """A member of the archive."""

    name: str
    bytes: Size
    sha256: Sha256


class ArtifactFile(_Document):
    """A file of an artifact, by its path in the artifact's folder."""

    name: RelativePath
    bytes: Size
    sha256: Sha256


class ArtifactFiles(_Document):
    """A folder below the artifact root."""

    uri: RelativePath
    files: Sequence[ArtifactFile]


class DamagedArtifact(_Document):
    """An artifact that the database names and that was not whole when the backup was taken."""

    uri: str
    reason: str


class BackupManifest(_Document):
    """The whole backup."""

    header: BackupHeader
    parts: Sequence[ArchivePart]
    rows: dict[str, Size]
    artifacts: Sequence[ArtifactFiles]
    damaged: Sequence[DamagedArtifact]
    has_secret: bool
    sha256: str = ""

    def sealed(self) -> "BackupManifest":
        """Return the manifest with the hash of everything else in it."""
        return self.model_copy(update={"sha256": self.hash_of_rest()})

    def hash_of_rest(self) -> str:
        """Return the hash of all fields but the hash itself."""
        rest = self.model_dump(mode="json", exclude={"sha256"})
        return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()

    @property
    def object_bytes(self) -> int:
        """The bytes of all artifact files, each content counted once."""
        return sum(self.sizes().values())

    def sizes(self) -> dict[str, int]:
        """Return the size of every artifact file, by hash."""
        return {file.sha256: file.bytes for files in self.artifacts for file in files.files}


Document = TypeVar("Document", bound=_Document)


def parse(document: type[Document], content: bytes, path: object) -> Document:
    """Read a header or a manifest.

    Raises:
        Invalid: it is not one, or of a format that this version does not know.
    """
    try:
        found = document.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        if (first["loc"], first["type"]) == (("format",), "literal_error"):
            raise Invalid(
                f"{path} has the backup format {first['input']!r}; this version reads format 1"
            ) from error
        where = ".".join(map(str, first["loc"]))
        raise Invalid(f"{path} is damaged: {where or 'its text'}: {first['msg']}") from error
    if isinstance(found, BackupManifest) and found.sha256 != found.hash_of_rest():
        raise Invalid(f"{path} is damaged: its manifest was changed")
    return found
