"""The gates by key: their titles, and the figures that each is judged by."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from app.domain import json_dataclasses
from app.domain.gate_policies import Gate
from app.domain.gates.candidates import EndingFigures, PreflightFigures
from app.domain.gates.failures import FailureFigures
from app.domain.gates.judging import EvaluationFigures, LabelerFigures
from app.domain.gates.learning import LeftOutFigures, PolicyFigures, RewardFigures
from app.domain.gates.verdicts import Figures

KINDS: Mapping[Gate, type[Figures]] = {
    Gate.LABELERS: LabelerFigures,
    Gate.ENDINGS: EndingFigures,
    Gate.PREFLIGHT: PreflightFigures,
    Gate.LEFT_OUT: LeftOutFigures,
    Gate.REWARD: RewardFigures,
    Gate.POLICY: PolicyFigures,
    Gate.EVALUATION: EvaluationFigures,
    Gate.FAILURE: FailureFigures,
}

TITLES: Mapping[Gate, str] = {
    Gate.LABELERS: "Enough labelers",
    Gate.ENDINGS: "Responses that end",
    Gate.PREFLIGHT: "Usable candidates",
    Gate.LEFT_OUT: "Data left out",
    Gate.REWARD: "Reward model",
    Gate.POLICY: "Policy has moved",
    Gate.EVALUATION: "Evaluation decides",
    Gate.FAILURE: "Failed stage",
}

CHECKED: Mapping[Gate, str] = {
    Gate.LABELERS: "There are at least as many active labelers as judgments per comparison.",
    Gate.ENDINGS: "The model ends its responses by itself before the length limit.",
    Gate.PREFLIGHT: "Pre-flight leaves enough prompts with candidates to compare.",
    Gate.LEFT_OUT: "Training leaves out little of the data because of its length or form.",
    Gate.REWARD: "On held-out votes, the reward model is better than chance and than length alone.",
    Gate.POLICY: "Training has moved the policy, and its reward has risen.",
    Gate.EVALUATION: "The evaluation is large enough to tell the win rate from 50 %.",
}


def read(gate: Gate, data: Mapping[str, Any]) -> Figures:
    """Read the figures of a gate from JSON values.

    Raises:
        Invalid: they are not those of this gate.
    """
    figures = json_dataclasses.read(KINDS[gate], data, f"gate {gate}")
    assert isinstance(figures, KINDS[gate])
    return figures


def to_json(figures: Figures) -> dict[str, Any]:
    """Return figures as JSON values."""
    return asdict(figures)  # type: ignore[call-overload, no-any-return]
