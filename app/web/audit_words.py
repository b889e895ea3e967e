"""What happened, as the audit log's page words the actions that are stored by name."""

from collections.abc import Mapping
from typing import Final

_WHOLE: Final[Mapping[str, str]] = {
    "automatic_rounds.set": "Automatic rounds changed",
    "comparison.priority": "Priority of a comparison set",
    "comparisons.ask": "Comparisons added to the queue",
    "checkpoint.merge": "Model merged",
    "checkpoint.push": "Model uploaded to a hub",
    "criteria.arrange": "Criteria changed",
    "evaluation.decided_by_judge": "Evaluation left to an AI judge",
    "identity.connect": "Sign-in by a provider connected",
    "identity.disconnect": "Sign-in by a provider disconnected",
    "import.labelers": "Labelers of an imported file assigned",
    "installation.backup": "Installation backed up",
    "installation.restore": "Installation restored from a backup",
    "judge.let_alone": "AI judge allowed to judge alone",
    "judge.limits": "Limits of an AI judge changed",
    "judge.restore": "AI judge restored",
    "labeler_weights.take_back": "Labeler weights withdrawn",
    "labeler_weights.use": "Labeler weights put into use",
    "member.practise": "Pass in practice reset",
    "member.release": "Comparisons of a labeler returned to the queue",
    "member.set": "Member added, or their role changed",
    "overlap.set": "Number of judgments changed",
    "practice.add": "Practice comparisons added",
    "prompts.categorize": "Category of prompts set",
    "prompts.tag": "Prompts tagged",
    "prompts.undo": "Change of prompts undone",
    "prompts.untag": "Tag of prompts removed",
    "round.finish_labeling": "Labeling of a round ended",
    "round.gate": "Round stopped at a check",
    "round.gate_override": "Check of a round overridden",
    "round.gate_remedy": "Remedy for a failed check applied",
    "round.hold": "Policy of a round held",
    "round.promote": "Policy of a round promoted",
    "two_factor.off": "Two-factor authentication turned off",
    "two_factor.on": "Two-factor authentication turned on",
    "two_factor.recovery_code": "Signed in with a recovery code",
    "two_factor.recovery_codes": "Recovery codes replaced",
    "two_factor.reset": "Two-factor authentication reset",
    "user.password": "Password changed",
}
_NOUNS: Final[Mapping[str, str]] = {
    "automatic_rounds": "Automatic rounds",
    "judge": "AI judge",
    "results": "Results file",
    "scoring": "Scores",
    "token": "API token",
    "user": "Account",
}
_VERBS: Final[Mapping[str, str]] = {
    "add": "added",
    "archive": "archived",
    "ask": "asked",
    "cancel": "cancelled",
    "close": "closed",
    "create": "created",
    "edit": "changed",
    "erase": "erased",
    "launch": "launched",
    "open": "reopened",
    "pause": "paused",
    "publish": "published",
    "reassign": "reassigned",
    "release": "released",
    "remove": "removed",
    "restore": "returned to the queue",
    "resume": "resumed",
    "retry": "retried",
    "revoke": "revoked",
    "set": "set",
    "settle": "settled",
    "stop": "stopped",
    "withdraw": "withdrawn",
}


def of(action: str) -> str:
    """Return an action in words; one without words of its own is named by its parts."""
    if action in _WHOLE:
        return _WHOLE[action]
    noun, _, verb = action.partition(".")
    plain = noun.replace("_", " ")
    verb = _VERBS.get(verb, verb.replace("_", " "))
    return f"{_NOUNS.get(noun, plain[:1].upper() + plain[1:])} {verb}".strip()
