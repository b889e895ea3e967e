"""Rows whose proof is a test or a command of its own: it is run, and its outcome is counted.

Tests hand over figures with pytest's `record_property`; those of one name are added up.
"""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.faults.proof.rows import ROOT, NotMeasured, Outcome, Place, counted

ALGORITHMS = ("sft", "reward", "ppo")
_PROVEN = re.compile(r"^(\S+)\s+(\d+) kills .*: (\w+) (.*) (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tested:
    """What became of tests, and the sums of the figures that they recorded."""

    passed: int
    failed: tuple[str, ...]
    skipped: tuple[str, ...]  # the reasons
    figures: Mapping[str, int]

    @property
    def missed(self) -> str:
        """By how much they miss what they prove."""
        total = self.passed + len(self.failed)
        return f"{len(self.failed)} of {total} tests: {', '.join(self.failed)}" * bool(self.failed)

    @property
    def account(self) -> dict[str, float | str]:
        """The figures, and how many tests passed and failed."""
        return {"passed": self.passed, "failed": len(self.failed), **self.figures}


def routes(place: Place) -> Outcome:
    """Ask every route as every kind of asker."""
    tested = run(place, "routes", ["tests/web/test_policies.py"])
    figures = tested.figures
    return Outcome(
        f"{figures.get('guarded', 0)} of {figures.get('routes', 0)} routes have one policy; "
        f"{figures.get('refusals', 0):,} requests refused as they must be",
        f"{figures.get('routes', 0)} routes × 6 askers × {figures.get('scopes', 0)} scopes of "
        f"tokens, {tested.passed} tests",
        tested.missed,
        tested.account,
    )


def injections(place: Place) -> Outcome:
    """Show payloads wherever text is shown, in a real browser."""
    tested = run(place, "injections", ["tests/browser/test_injection.py"])
    figures = tested.figures
    return Outcome(
        f"{figures.get('executions', 0)} executions, {figures.get('violations', 0)} violations of "
        "the content security policy",
        f"{figures.get('payloads', 0)} payloads × {figures.get('places', 0)} places, "
        f"{tested.passed} tests, Chromium",
        tested.missed,
        tested.account,
    )


def accessibility(place: Place) -> Outcome:
    """Look at the labeling page with axe; in the long form, at every page that tests open."""
    short = ["tests/browser/test_states.py", "tests/browser/test_journeys.py"]
    rest = ["tests/browser", "--ignore=tests/browser/test_injection.py"]
    tested = run(place, "accessibility", rest if place.scale.is_long else short)
    states = tested.figures.get("states", 0)
    return Outcome(
        f"{counted(len(tested.failed), 'test')} with violations, or with a journey that fails by "
        "keyboard or click alone",
        f"{states} states, light, dark and right-to-left, {tested.passed} tests, Chromium",
        tested.missed,
        tested.account,
    )


def restore(place: Place) -> Outcome:
    """Back up while people label, restore elsewhere, and compare exports and jobs."""
    tested = run(place, "restore", ["tests/backup/test_drill.py"])
    return Outcome(
        f"{counted(len(tested.failed), 'drill')} with other bytes or a job under an old lease",
        f"{counted(tested.passed, 'drill')} on SQLite and PostgreSQL; "
        "python -m tests.faults.restore_drill is the long form",
        tested.missed,
        tested.account,
    )


def resume(place: Place) -> Outcome:
    """Kill training at random steps, and compare hashes of the weights with an undisturbed run."""
    kills = place.scale.count(2, 20)
    names = () if place.scale.is_long else ALGORITHMS
    arguments = ["--kills", str(kills), "--seed", str(place.scale.seed), *names]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.worker.rlhf.kill_proof", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    proven = _PROVEN.findall(ended.stdout)
    different = [name for name, _, _, verdict, _ in proven if verdict != "the same"]
    if ended.returncode and not different:
        raise RuntimeError(f"kill_proof ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return Outcome(
        f"sha256 of the weights the same for {len(proven) - len(different)} of {len(proven)} "
        "algorithms",
        f"{counted(sum(int(count) for _, count, *_ in proven), 'kill')}: "
        f"{', '.join(row[0] for row in proven)}, on the CPU",
        f"{', '.join(different)} differ" if different else "",
        {f"sha256 of {name}": first for name, _, first, *_ in proven},
    )


def run(place: Place, name: str, arguments: Sequence[str]) -> Tested:
    """Run tests in a process of their own, with servers of this proof.

    Raises:
        NotMeasured: none failed, but some were skipped.
    """
    report = place.room("tests") / f"{name}.xml"
    marks = () if place.scale.is_long else ("-m", "not slow")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("ATTUNE_")},
        **{key: value for key, value in os.environ.items() if key.startswith("ATTUNE_TEST_")},
        "ATTUNE_TEST_POSTGRES": place.postgres.server,
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *marks, *arguments]
    ended = subprocess.run(
        [*command, "-o", "junit_family=xunit1", f"--junitxml={report}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    if not report.exists():
        raise RuntimeError(f"pytest ended with {ended.returncode}: {ended.stdout[-2000:]}")
    tested = read(report.read_text(encoding="utf-8"))
    if not tested.failed and (tested.skipped or not tested.passed):
        # What was left out could have failed.
        raise NotMeasured("; ".join(Counter(tested.skipped)) or f"no tests in {arguments[0]}")
    return tested


def read(report: str) -> Tested:
    """Read what pytest writes with `--junitxml`."""
    passed, failed, skipped = 0, [], []
    figures: Counter[str] = Counter()
    for case in ElementTree.fromstring(report).iter("testcase"):
        for found in case.iter("property"):
            figures[str(found.get("name"))] += int(str(found.get("value")))
        reason = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(str(case.get("name")))
        elif reason is not None:
            skipped.append(str(reason.get("message")))
        else:
            passed += 1
    return Tested(passed, tuple(failed), tuple(skipped), dict(figures))
