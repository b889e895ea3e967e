"""Divide models among 1, 2 and 4 processes, kill four and resume with two, and compare.

    python -m tests.worker.rlhf.divided_proof

Everything is in fp64 on a tiny model, connected by gloo. The gradients of one step of every loop
must be those of one process, with the whole base in each process and with a part of it. Then all
weights are trained by four processes, which save their parts after step 2; one is killed after step
3. Two processes resume from the parts, and at the end the model, saved as one folder, must be that
of an undisturbed run of one process. The exit status is 1 if anything differs by more than 1e-9.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.worker.rlhf import both
from tests.worker.rlhf.launched import together
from worker.rlhf.core.parallel import Team
from worker.rlhf.core.training_state import TrainingState
from worker.rlhf.model.roles import Roles

MODULE = "tests.worker.rlhf.divided_proof"
MOST = 1e-9


def gradients(folder: Path) -> None:
    """Write the largest difference of each loop's gradients from those of one process."""
    team, divided = _teams()
    found = {"whole": both.differences(team)}
    with both.own_code():
        found["divided"] = both.differences(divided)
    if team.is_first:
        (folder / f"gradients-{team.size}.json").write_text(json.dumps(found))


def killed(folder: Path) -> None:
    """Train in parts up to a step after the last save; the last process is killed there."""
    team, divided = _teams()
    with both.own_code():
        both.full_steps(divided, both.SAVED_AT + 1, folder / "state")
    if team.rank == team.size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    team.gather([None])  # the others notice


def resumed(folder: Path) -> None:
    """Continue from the parts that others saved; save the whole model."""
    team, divided = _teams()
    state = TrainingState()
    state.restore(folder / "state")
    with both.own_code():
        roles = both.full_steps(divided, both.STEPS, state=state)
    roles.gather()
    team.leave()
    if team.is_first:
        _save(roles, folder / "resumed")


def alone(folder: Path) -> None:
    """Train undisturbed with one process; save the model."""
    torch.set_default_dtype(torch.float64)
    with both.own_code():
        _save(both.full_steps(Team(), both.STEPS), folder / "alone")


ACTS = {"gradients": gradients, "killed": killed, "resumed": resumed, "alone": alone}


def _save(roles: Roles, folder: Path) -> None:
    weights = both.saved_whole(roles, folder)
    folder.with_suffix(".json").write_text(json.dumps(weights))


def _teams() -> tuple[Team, Team]:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    team, divided = Team.launched(cpu=True), Team.launched(cpu=True)
    divided.shards = True
    return team, divided


def prove(folder: Path) -> bool:
    """Run all of it, print what is found, and return whether it holds."""
    holds = True
    for count in (2, 4):
        _run("gradients", folder, count)
        found = json.loads((folder / f"gradients-{count}.json").read_text())
        for how, differences in found.items():
            worst = float(max(differences.values()))
            holds &= worst <= MOST
            _say(f"gradients, {count} processes, {how:<7} base: differ by at most {worst:.1e}")
    deaths = [status for status, _ in together([MODULE, "killed", str(folder)], 4)]
    _say(f"killed at 4 processes: {deaths.count(-signal.SIGKILL)} of 4 ended by SIGKILL")
    _run("resumed", folder, 2)
    _run("alone", folder, 1)
    ours, theirs = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("resumed", "alone")
    )
    pairs = ((a, b) for name in theirs for a, b in zip(ours[name], theirs[name], strict=True))
    worst = max(abs(a - b) for a, b in pairs)
    holds &= worst <= MOST and set(ours) == set(theirs)
    _say(f"resumed at 2 processes: weights differ by at most {worst:.1e} from one undisturbed")
    return holds


def _run(act: str, folder: Path, count: int) -> None:
    for status, output in together([MODULE, act, str(folder)], count):
        if status:
            raise RuntimeError(f"{act} with {count} processes ended with {status}:\n{output}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Prove, or act as one of the processes; return the exit status."""
    if arguments:
        ACTS[arguments[0]](Path(arguments[1]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return 0 if prove(Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
