"""The tables and figures of the report, and the plan and panel of the demo."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from app.demo import examples, heldout_scores, panel, taste, truth
from app.demo.plan import DemoPlan
from app.demo.report import DemoReport
from app.demo.round_report import RoundReport
from app.demo.truth import PolicyCompletions, ScoredComparison
from app.domain.plan import RoundPlan
from app.errors import NotFound

MEASURED = {"value": 0.7, "low": 0.65, "high": 0.75, "n": 100}
REQUIRED = [
    "agreement.raw",
    "agreement.raw_ci",
    "agreement.alpha",
    "human_level",
    "noise_ceiling",
    "reward_model.accuracy_votes",
    "reward_model.accuracy_truth",
    "reward_model.length_only",
    "policy.kl_nats",
    "policy.steps",
    "policy.stop_reason",
    "utility.before",
    "utility.after",
    "win_rate.labelers",
    "win_rate.labelers_ci",
    "win_rate.truth",
    "win_rate.truth_ci",
    "win_rate_sft.truth",
    "win_rate_sft.truth_ci",
    "utility_sft.after",
]


def _value(prompt: str, text: str) -> float:
    return float(text.count("!"))


def make_round(number: int = 1) -> RoundReport:
    rows = [ScoredComparison("p", ("a", "b!", "c!!"), (0.0, 1.0, 2.0)) for _ in range(12)]
    answers = [PolicyCompletions("p", "old", "new!" * (n % 3)) for n in range(12)]
    policy = truth.policy(answers, _value)
    return RoundReport(
        number=number,
        promoted=number == 1,
        agreement={"raw": MEASURED, "alpha": MEASURED},
        people={
            "human_level": MEASURED,
            "accuracy_on_votes": MEASURED,
            "ceiling": {"human": 0.7, "ceiling_low": 0.7, "ceiling_high": 0.8},
        },
        ceiling=0.78,
        reward=truth.reward(rows, _value, longer_wins=True),
        policy_metrics={"steps": 30, "best_step": 25, "stop_reason": "steps", "heldout/kl": 2.5},
        policy=policy,
        against_sft=policy,
        default=policy,
        evaluation={"share": 0.7, "low": 0.6, "high": 0.8, "judged": 240},
        labeling={"comparisons": 460, "done": 1380},
        seconds={"sft": 60.0, "label": 20.0},
    )


def make_report(rounds: int) -> DemoReport:
    answers = [PolicyCompletions(f"p{n}", "old", "new!") for n in range(20)]
    return DemoReport(
        taste="default",
        seed=1,
        sizes={"demonstrations": 7000, "labelers": 6},
        setup_s=3.0,
        rounds=tuple(make_round(at + 1) for at in range(rounds)),
        examples=examples.draw(answers, _value, 1, before="the SFT model", after="Policy 1"),
    )


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_report_has_every_figure(rounds: int) -> None:
    report: Any = json.loads(json.dumps(make_report(rounds).to_json()))
    assert [each["round"] for each in report["rounds"]] == list(range(1, rounds + 1))
    for figures in (report, *report["rounds"]):
        for path in REQUIRED:
            found = figures
            for name in path.split("."):
                found = found[name]
            assert found is not None, path


def shown(report: DemoReport) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=80).print(report.table())
    lines = out.getvalue().splitlines()
    assert max(len(line) for line in lines) <= 80
    return lines


def test_the_table_of_one_round_fits_an_ordinary_terminal() -> None:
    assert any("70.0 %" in line and "[65.0, 75.0]" in line for line in shown(make_report(1)))


def test_the_table_of_several_rounds_has_a_row_for_each() -> None:
    lines = shown(make_report(3))
    rows = [line.split() for line in lines if line.split()[:1] in (["1"], ["2"], ["3"])]
    assert [row[1:6] for row in rows] == [["70", "70", "70–78", "100", "2.5"]] * 3
    assert sum(line.count("[60, 80]") for line in lines) == 3, "the labelers' interval"
    remarks = list(make_report(3).remarks())
    assert "Round 1: promoted. Failed checks: none." in remarks
    assert "Round 3: held. Failed checks: none." in remarks
    assert remarks[-1] == "Total time 4.0 min, with 3 s of setup"


def test_held_out_scores_are_read_out_of_a_model_folder(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "q"}], "texts": ["a"], "scores": [1.0]}
    data = (json.dumps(row) + "\n").encode()
    archive = tmp_path / "reward.tar"
    with tarfile.open(archive, "w") as tar:
        info = tarfile.TarInfo(f"desk-reward-1/{heldout_scores.FILE}")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    assert list(heldout_scores.read(archive)) == [row]


def test_a_folder_without_scores_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "reward.tar"
    tarfile.open(archive, "w").close()
    with pytest.raises(NotFound, match=heldout_scores.FILE):
        list(heldout_scores.read(archive))


def test_the_plan_is_one_that_a_round_accepts() -> None:
    plan = DemoPlan().round_plan(seed=3)
    found = RoundPlan.from_json(json.loads(json.dumps(plan)))
    assert found.seed == 3
    assert found.evaluation.prompts >= 200


def test_the_panel_has_one_taste_and_labelers_of_its_own_names() -> None:
    made = panel.make(DemoPlan(), "reversed", seed=1)
    assert len({one.name for one in made}) == DemoPlan().labelers
    wanted = taste.named("reversed").utility
    assert all(one.utility("q", "a") == wanted("q", "a") for one in made)
