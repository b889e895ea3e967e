"""The tables of the database, one noun per file."""

from app.domain.splits import Split
from app.models.accounts import (
    ApiToken,
    Invitation,
    LoginSession,
    Membership,
    Role,
    SignInFailure,
    User,
)
from app.models.audit import AuditEvent
from app.models.automatic_rounds import AutomaticRounds
from app.models.chats import Chat, ChatTurn, ModelReply, ReplyState
from app.models.checkpoints import Checkpoint, CheckpointInput, CheckpointKind
from app.models.comparisons import (
    Comparison,
    ComparisonCompletion,
    FreshComparison,
    Purpose,
    Slot,
)
from app.models.exports import Export, ExportedJudgments, ImportRun
from app.models.figures import FigureRefresher, KeptFigure
from app.models.imports import ImportChunk, ImportJob
from app.models.jobs import Job, JobAttempt, Metric, Shard, TrainingSample, WorkerHeartbeat
from app.models.judges import AiJudgment, AiOutcome, ExportAiJudgment, Judge
from app.models.judgments import Adjudication, Assignment, Judgment
from app.models.practice import PracticeAnswer
from app.models.projects import Criterion, Guidelines, Instruction, Project
from app.models.prompts import (
    Completion,
    Demonstration,
    Prompt,
    PromptEdit,
    PromptEditItem,
    PromptTag,
    UnindexedTexts,
)
from app.models.restorations import Restoration
from app.models.results import ResultsFile, ResultsRow
from app.models.rounds import Evaluation, GateVerdict, Round
from app.models.scorings import ScoredRow, Scoring
from app.models.sign_in import LinkedIdentity, PendingSignIn, RecoveryCode, SecondFactor

__all__ = [
    "Adjudication",
    "AiJudgment",
    "AiOutcome",
    "ApiToken",
    "Assignment",
    "AuditEvent",
    "AutomaticRounds",
    "Chat",
    "ChatTurn",
    "Checkpoint",
    "CheckpointInput",
    "CheckpointKind",
    "Comparison",
    "ComparisonCompletion",
    "Completion",
    "Criterion",
    "Demonstration",
    "Evaluation",
    "Export",
    "ExportAiJudgment",
    "ExportedJudgments",
    "FigureRefresher",
    "FreshComparison",
    "GateVerdict",
    "Guidelines",
    "ImportChunk",
    "ImportJob",
    "ImportRun",
    "Instruction",
    "Invitation",
    "Job",
    "JobAttempt",
    "Judge",
    "Judgment",
    "KeptFigure",
    "LinkedIdentity",
    "LoginSession",
    "Membership",
    "Metric",
    "ModelReply",
    "PendingSignIn",
    "PracticeAnswer",
    "Project",
    "Prompt",
    "PromptEdit",
    "PromptEditItem",
    "PromptTag",
    "Purpose",
    "RecoveryCode",
    "ReplyState",
    "Restoration",
    "ResultsFile",
    "ResultsRow",
    "Role",
    "Round",
    "ScoredRow",
    "Scoring",
    "SecondFactor",
    "Shard",
    "SignInFailure",
    "Slot",
    "Split",
    "TrainingSample",
    "UnindexedTexts",
    "User",
    "WorkerHeartbeat",
]
