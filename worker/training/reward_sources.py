"""The models and endpoints behind the parts of a reward: checked, found and loaded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from app.domain.reward_parts import CheckpointName, PartKind, RewardPart
from app.errors import Invalid
from worker.rlhf.model import models, saving
from worker.rlhf.model.roles import Roles
from worker.rlhf.model.template import ChatMessage
from worker.rlhf.reward import classifier, endpoint, published_reward, scoring
from worker.rlhf.reward.endpoint import EndpointConfig
from worker.rlhf.reward.judge_reward import JudgeReward, Judging
from worker.rlhf.reward.other_reward import OtherReward
from worker.rlhf.reward.rule_rewards import FormatRule, LengthRule
from worker.rlhf.reward.scoring import AdapterReward, RewardFunction
from worker.rlhf.reward.texts import Texts
from worker.training import model_folders
from worker.training.model_folders import RewardFolder, first_line

TokenIds = tuple[int, ...]
READING_MESSAGES = frozenset({PartKind.REWARD_MODEL, PartKind.ENDPOINT, PartKind.JUDGE})
"""Parts that read the turns of a prompt, not its ids."""


def _no_checkpoint(name: CheckpointName) -> RewardFolder:
    raise Invalid(f"{name.name!r} is a model of an installation; name its folder instead")


def _no_judge(part: RewardPart) -> Judging:
    raise Invalid(f"no server is known on which {part.model!r} may judge")


@dataclass(frozen=True, slots=True)
class RewardSources:
    """What the parts of a reward take from their surroundings.

    Attributes:
        checkpoint: finds a reward model of this installation.
        endpoint: returns how to call an endpoint; refuses one that may not be called.
        judge: returns the judge of a part; refuses one that may not be asked.
    """

    checkpoint: Callable[[CheckpointName], RewardFolder] = _no_checkpoint
    endpoint: Callable[[str], EndpointConfig] = EndpointConfig
    judge: Callable[[RewardPart], Judging] = _no_judge


@dataclass(frozen=True, slots=True)
class RewardReading:
    """The prompts that rewards are computed for, as the rewards read them.

    Attributes:
        roles: the base model that samples, on which adapters of the same base are put; None if
            texts are scored that no model here has sampled.
        device: for other models.
        conversations: the turns of each prompt by its token ids, where parts read them.
        safety_prompts: the ids of prompts whose responses count by their safety alone.
        tokenizer: that reads the ids, if it is not the base model's.
    """

    roles: Roles | None
    device: str
    conversations: Mapping[TokenIds, tuple[ChatMessage, ...]] = field(default_factory=dict)
    safety_prompts: frozenset[TokenIds] = frozenset()
    tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def writer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the model that samples, or the one that reads the texts."""
        if self.tokenizer is not None:
            return self.tokenizer
        assert self.roles is not None  # one of the two is set
        return self.roles.loaded.tokenizer

    @property
    def texts(self) -> Texts:
        """Prompts and responses as text."""
        if self.tokenizer is not None:
            return Texts(self.tokenizer, (int(self.tokenizer.eos_token_id),), self.conversations)
        assert self.roles is not None
        return Texts(self.writer, self.roles.loaded.end_ids, self.conversations)


def reads_messages(parts: Sequence[RewardPart]) -> bool:
    """Whether any part reads the turns of prompts."""
    return any(part.kind in READING_MESSAGES for part in parts)


def check(part: RewardPart, title: str, sources: RewardSources) -> None:
    """Refuse a part that cannot be used, without loading weights.

    Raises:
        Invalid: there is no such model, label, head or permission; the message names the part.
    """
    try:
        match part.kind:
            case PartKind.CLASSIFIER:
                classifier.check(part.model, part.label, part.score.value)
            case PartKind.REWARD_MODEL if part.checkpoint is not None:
                sources.checkpoint(part.checkpoint)
            case PartKind.REWARD_MODEL if model_folders.is_trained_here(part.model):
                model_folders.reward_folder(part.model)
            case PartKind.REWARD_MODEL:
                published_reward.check(part.model)
            case PartKind.ENDPOINT:
                sources.endpoint(part.url)
            case PartKind.JUDGE:
                sources.judge(part)
            case PartKind.LENGTH | PartKind.FORMAT:
                pass
    except (OSError, ValueError) as error:
        raise _unusable(part, title, error) from error


def build(
    part: RewardPart, title: str, sources: RewardSources, reading: RewardReading
) -> RewardFunction:
    """Return a part of the reward as a function, loading its model if it has one.

    Raises:
        Invalid: as in `check`.
    """
    try:
        match part.kind:
            case PartKind.CLASSIFIER:
                return classifier.load(
                    part.model,
                    part.label,
                    reading.writer,
                    reads_prompt=part.reads_prompt,
                    form=part.score.value,
                    device=reading.device,
                )
            case PartKind.REWARD_MODEL:
                return _reward_model(part, title, sources, reading)
            case PartKind.ENDPOINT:
                return endpoint.connect(sources.endpoint(part.url), reading.texts)
            case PartKind.JUDGE:
                return JudgeReward(sources.judge(part), reading.texts)
            case PartKind.LENGTH:
                return LengthRule(part.shortest, part.longest)
            case PartKind.FORMAT:
                return FormatRule(part.pattern, reading.writer)
    except (OSError, ValueError) as error:
        raise _unusable(part, title, error) from error


def _reward_model(
    part: RewardPart, title: str, sources: RewardSources, reading: RewardReading
) -> RewardFunction:
    if part.checkpoint is not None:
        return _on_base(sources.checkpoint(part.checkpoint), title, reading)
    if model_folders.is_trained_here(part.model):
        return _on_base(model_folders.reward_folder(part.model), title, reading)
    return published_reward.load(part.model, reading.texts, device=reading.device)


def _on_base(trained: RewardFolder, title: str, reading: RewardReading) -> OtherReward:
    """Put adapters on the policy's base if it is theirs too, or else on a base of their own."""
    roles, texts = reading.roles, None
    if roles is None or trained.base != roles.loaded.path:
        roles, texts = Roles(models.load(trained.base, device=reading.device)), reading.texts
    prefix = "".join(char if char.isalnum() else "_" for char in title)
    names = tuple(f"part_{prefix}~{member}" for member in trained.names)
    for name, member in zip(names, trained.names, strict=True):
        saving.load_reward(roles, Path(trained.folder) / member, name)
    return OtherReward(AdapterReward(roles, names, scoring.probe(roles)), texts)


def _unusable(part: RewardPart, title: str, error: Exception) -> Invalid:
    return Invalid(f"the {part.words} reward {title!r} cannot be used: {first_line(error)}")
