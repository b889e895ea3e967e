"""The worker's commands and their lines in `attune --help`, known without importing them."""

from collections.abc import Mapping
from typing import Final

HELP: Final[Mapping[str, str]] = {
    "worker": "Run jobs until told to stop.",
    "train": "Train from a plain file: no server, no database.",
    "generate": "Generate responses to a file of prompts.",
    "score": "Score responses by a classifier, reward model or rule.",
    "models": "Check models, and take trained ones away.",
    "bench.learning": "Measure the learning core.",
}
