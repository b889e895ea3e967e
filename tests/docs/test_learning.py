"""docs/learning says what the code does: settings with their defaults, names, files."""

import re
from dataclasses import MISSING, Field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from app.domain.plan import RoundPlan
from worker.commands.train import DPO_DEFAULTS
from worker.rlhf.policy.best_of_n import BestOfNConfig
from worker.rlhf.policy.dpo import DpoConfig
from worker.rlhf.policy.ppo import PpoConfig
from worker.rlhf.policy.rloo import RlooConfig
from worker.rlhf.reward.ranking_loss import Terms
from worker.rlhf.reward.reward_model import RewardConfig
from worker.rlhf.sft.finetuning import SftConfig

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "learning"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
CONFIGS = {
    "sft.md": (SftConfig,),
    "reward.md": (RewardConfig, Terms),
    "ppo.md": (PpoConfig,),
    "rloo.md": (RlooConfig,),
    "dpo.md": (DpoConfig,),
    "best-of-n.md": (BestOfNConfig,),
}
# What only bounds memory, belongs to another page, or is filled in by the code.
UNTOLD = {
    *("adapter", "autocast", "criteria", "micro_tokens", "ppo", "token_budget"),
    *("value_scale", "watch"),
}
SETTING = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")


def _text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def _settings(page: str) -> dict[str, tuple[str, str]]:
    return {name: (default, plan) for name, default, plan in SETTING.findall(_text(page))}


def _in_plan(path: str) -> Any:
    found: Any = RoundPlan()
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return None if field.default_factory is MISSING else field.default_factory()


def _says(told: str, value: object) -> bool:
    if isinstance(value, bool) or value is None:
        return told == {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, int | float):
        return float(told) == float(value)
    return told == value if isinstance(value, str) else True


@pytest.mark.parametrize("page", CONFIGS)
def test_every_setting_is_told(page: str) -> None:
    told = set(_settings(page))
    known = {field.name for config in CONFIGS[page] for field in fields(config)}
    assert told - known == set(), "told, but there is no such setting"
    assert known - told - UNTOLD == set(), "not told"


@pytest.mark.parametrize("page", CONFIGS)
def test_every_default_is_what_a_run_has(page: str) -> None:
    known = {field.name: field for config in CONFIGS[page] for field in fields(config)}
    for name, (told, plan) in _settings(page).items():
        value = _default(known[name])
        if plan.strip() not in {"–", ""}:
            path = plan.strip().strip("`")
            of_plan = _in_plan(path)
            if page == "dpo.md":
                of_plan = DPO_DEFAULTS.get(path.removeprefix("policy."), of_plan)
            # A choice by name is a switch in the plan; None leaves it to the loop.
            value = value if of_plan is None or isinstance(value, str) else of_plan
        if not re.match(r"[a-z]\w* |see ", told):  # words that describe
            assert _says(told.strip(), value), f"{page}: {name} is {value!r}, not {told!r}"


@pytest.mark.parametrize("part", ["sft", "reward", "policy"])
def test_every_setting_of_a_plan_is_told_on_some_page(part: str) -> None:
    told = {name for page in CONFIGS for name in CODE.findall(_text(page))}
    known = {f"{part}.{field.name}" for field in fields(getattr(RoundPlan(), part))}
    assert known - told == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_exists(page: str) -> None:
    for name in CODE.findall(_text(page)):
        if re.fullmatch(r"(worker|app|docs)/[\w/.-]+", name):
            assert (ROOT / name).exists(), f"{page} names {name}"
    for target in re.findall(r"\]\(([^)#]+)\)", _text(page)):
        assert (DOCS / target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize("page", PAGES)
def test_every_function_and_setting_that_is_named_exists(page: str) -> None:
    modules = {
        path.stem: f"worker.rlhf.{path.parent.name}.{path.stem}"
        for path in (ROOT / "worker" / "rlhf").glob("*/*.py")
    }
    parts = {field.name for field in fields(RoundPlan)}
    checked = 0
    for name in CODE.findall(_text(page)):
        found = re.fullmatch(r"(\w+)\.(\w+)((?:\.\w+)*)(?: .*)?", name)
        if found is None or found[2] in {"md", "py", "json", "jsonl"}:
            continue
        first, second, rest = found.groups()
        is_plan = first in parts and hasattr(getattr(RoundPlan(), first), second)
        if not is_plan:
            assert first in modules, f"{page} names {name}"
            place: Any = import_module(modules[first])
            for part in [second, *rest.split(".")[1:]]:
                assert hasattr(place, part), f"{page} names {name}"
                place = getattr(place, part)
        checked += 1
    assert checked or page in {"README.md", "glossary.md"}


def test_the_index_names_every_page() -> None:
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", _text("README.md"))) == set(PAGES) - {"README.md"}
