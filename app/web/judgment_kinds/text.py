"""Write and edit on the web side: a large text field."""

from collections.abc import Mapping
from typing import Literal

from app.domain.judgment_kinds import EditBody, JudgmentKind, WriteBody
from app.web.judgment_kinds.kind import JudgmentForm, JudgmentIn, JudgmentOut, PageKind


class WriteIn(JudgmentIn):
    """Your own response to the prompt, at most 64 KiB."""

    kind: Literal["write"]
    text: str


class EditIn(JudgmentIn):
    """A better version of the completion, at most 64 KiB."""

    kind: Literal["edit"]
    text: str


class WriteOut(JudgmentOut):
    """A text as it was written."""

    kind: Literal["write"] = "write"
    text: str

    def fill(self, form: JudgmentForm) -> None:
        """Fill in the form with this text."""
        form.text = self.text

    def words(self, names: Mapping[int, str]) -> str:
        """Quote the text."""
        del names
        return f"Written: {self.text}"


class EditOut(JudgmentOut):
    """A better version as it was written."""

    kind: Literal["edit"] = "edit"
    text: str

    def fill(self, form: JudgmentForm) -> None:
        """Fill in the form with this text."""
        form.text = self.text

    def words(self, names: Mapping[int, str]) -> str:
        """Quote the text."""
        del names
        return f"Better: {self.text}"


def parse_write(form: JudgmentForm) -> WriteBody:
    """Read the text."""
    return WriteBody(_text(form))


def parse_edit(form: JudgmentForm) -> EditBody:
    """Read the text."""
    return EditBody(_text(form))


def _text(form: JudgmentForm) -> str:
    # Forms send every line break as two characters.
    return form.text.replace("\r\n", "\n")


WRITE = PageKind(
    JudgmentKind.WRITE,
    parse_write,
    question="Write the best response you can",
    task="Write the best response you can.",
    task_keys=("e",),
    verb="write",
)
EDIT = PageKind(
    JudgmentKind.EDIT,
    parse_edit,
    question="Make this response better",
    task="Change the text until it is the response you want.",
    task_keys=("e",),
    verb="improve",
)
