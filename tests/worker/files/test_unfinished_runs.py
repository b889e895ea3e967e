"""The folder of a run that has not finished: each command that takes a model says so."""

import json
from pathlib import Path

import pytest

from app.errors import Invalid
from tests.worker.files import material
from tests.worker.files.material import error
from worker.training import model_check, model_folders

SAID = (
    "has no model yet: its training has not finished; wait for it or, if it was interrupted, "
    "continue it with the same `attune train` command"
)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Make the folder of a run as it is between its first step and its end."""
    folder = tmp_path / "begun"
    (folder / "work").mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "generate FILE -m RUN -o OUT",
        "score FILE -m RUN -o OUT --rule length:longest=4",
        "score FILE --reward RUN",
        "score FILE --rule length:longest=4 --tokenizer RUN",
        "train sft FILE -m RUN -o OUT",
        "train policy FILE -m BASE -r RUN -o OUT",
        "train policy FILE -m BASE -o OUT --reward-part reward_model:model=RUN",
        "models check RUN",
        "models export RUN --merged OUT",
        "models push RUN desk/model",
    ],
)
def test_a_command_says_that_the_run_has_not_finished(
    command: str, base: Path, begun: Path, tmp_path: Path
) -> None:
    data = material.demonstrations(tmp_path / "data.jsonl", 4)
    places = {"FILE": data, "RUN": begun, "OUT": tmp_path / "out", "BASE": base}
    for name, place in places.items():
        command = command.replace(name, str(place))
    assert SAID in error(*command.split())


def test_the_check_of_a_model_says_so_too(begun: Path) -> None:
    assert model_check.check(str(begun)).refusal == f"{begun} {SAID}"


def test_a_finished_run_and_a_model_beside_settings_are_models(begun: Path) -> None:
    (begun / "model").mkdir()
    with pytest.raises(Invalid, match="has no model yet"):  # its manifest is written last
        model_folders.located(str(begun))
    (begun / "model" / "manifest.json").write_text("{}")
    assert model_folders.located(str(begun)) == str(begun / "model")
    (begun / "config.json").write_text("{}")
    assert model_folders.located(str(begun)) == str(begun)


def test_the_check_of_a_finished_run_is_of_its_model(begun: Path) -> None:
    (material.save_tiny_llama(begun / "model") / "manifest.json").write_text("{}")
    shown = material.ok("models", "check", begun, "--json", "--device", "cpu").stdout
    assert json.loads(shown)["name"] == str(begun / "model")
    assert json.loads(shown)["refusal"] is None
    found = model_check.check(str(begun))  # as for a project, whose runs load the folder itself
    assert found.refusal == f"{begun} is the folder of a run; the model in it is {begun / 'model'}"
