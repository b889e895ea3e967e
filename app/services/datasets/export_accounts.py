"""The account of a part of an export as JSON, and its addition to the account of the whole.

Rows and bytes are not in it: whoever joins the parts counts and hashes their lines in order.
"""

from collections.abc import Mapping
from typing import Any

from app.domain.id_set import IdSet
from app.formats.manifest import UnitCount
from app.services.datasets.export_rows import Account

_UNITS = ("comparisons", "judgments", "pairs", "demonstrations")


def to_json(account: Account) -> dict[str, Any]:
    """Return what an account has seen, as JSON values."""
    units = {name: _unit_json(getattr(account.counts, name)) for name in _UNITS}
    return {
        "units": units,
        "settled": account.counts.settled,
        "judgments": _blocks(account.judgments),
        "ai_judgments": _blocks(account.ai_judgments),
        "guidelines_versions": sorted(account.guidelines_versions),
        "checkpoint_ids": sorted(account.checkpoint_ids),
        "instructions": {str(key): text for key, text in account.instruction.texts.items()},
        "divided": account.instruction.divided,
    }


def add(account: Account, part: Mapping[str, Any]) -> None:
    """Add what `to_json` returned for a part."""
    for name in _UNITS:
        unit, values = getattr(account.counts, name), part["units"][name]
        unit.considered += values["considered"]
        unit.exported += values["exported"]
        unit.excluded.update(values["excluded"])
    account.counts.settled += part["settled"]
    for ids, blocks in (
        (account.judgments, part["judgments"]),
        (account.ai_judgments, part["ai_judgments"]),
    ):
        for number, members in blocks:
            ids.merge(number, members.encode())
    account.guidelines_versions.update(part["guidelines_versions"])
    account.checkpoint_ids.update(part["checkpoint_ids"])
    account.instruction.texts |= {int(key): text for key, text in part["instructions"].items()}
    account.instruction.divided += part["divided"]


def _unit_json(unit: UnitCount) -> dict[str, Any]:
    return {
        "considered": unit.considered,
        "exported": unit.exported,
        "excluded": dict(unit.excluded),
    }


def _blocks(ids: IdSet) -> list[tuple[int, str]]:
    return [(number, members.decode()) for number, members in ids.blocks()]
