"""What a project's lead should do next, by name."""

from enum import StrEnum


class NextAction(StrEnum):
    """What the lead should do, or wait for."""

    RESUME_LABELING = "resume_labeling"
    IMPORT_PROMPTS = "import_prompts"
    IMPORT_RESPONSES = "import_responses"  # labelers have nothing to judge
    ASK_LABELERS = "ask_labelers"  # responses are there that nobody was asked about
    COMPLETE_SETUP = "complete_setup"  # a round cannot start yet
    CHOOSE_MODEL = "choose_model"  # the base model cannot be used
    PLAN_ROUND = "plan_round"
    RETRY_STAGE = "retry_stage"
    COLLECT_JUDGMENTS = "collect_judgments"
    SEE_RESULTS = "see_results"  # everything is judged, and no model is to be trained
    DECIDE = "decide"
    PASS_GATE = "pass_gate"  # a check found that the round cannot work as it is
    WAIT = "wait"
