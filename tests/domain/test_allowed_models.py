"""The operator's list of models: names by pattern, folders by where they really are."""

from pathlib import Path

import pytest

from app.domain.allowed_models import AllowedModels
from app.errors import Invalid


@pytest.mark.parametrize(
    ("setting", "name", "allows"),
    [
        ("*", "any/model", True),
        ("*", "/anywhere", True),
        ("", "any/model", False),
        ("Qwen/*, org/model", "Qwen/Qwen3-0.6B", True),
        ("Qwen/*, org/model", "org/model", True),
        ("Qwen/*, org/model", "org/model-2", False),
        ("Qwen/*", "/Qwen/Qwen3-0.6B", False),
        ("Qwen/*", "Qwen/../org", False),
        ("/models/*", "models/one", False),
        ("/models/*", "/models/one", True),
        ("/models/*", "/models/../etc/one", False),
        ("/models/*", "/modelsother", False),
        ("/models/one", "/models/one/", True),
    ],
)
def test_names_go_by_pattern_and_paths_by_their_end(setting: str, name: str, allows: bool) -> None:
    assert AllowedModels.of(setting).allows(name) is allows


def test_links_lead_where_they_lead(tmp_path: Path) -> None:
    shelf, outside = tmp_path / "shelf", tmp_path / "outside"
    (shelf / "own").mkdir(parents=True)
    outside.mkdir()
    (shelf / "link").symlink_to(outside)
    (tmp_path / "models").symlink_to(shelf)
    allowed = AllowedModels.of(f"{tmp_path}/models/*")
    assert allowed.allows(f"{tmp_path}/models/own")
    assert allowed.allows(f"{shelf}/own")
    assert not allowed.allows(f"{tmp_path}/models/link")


def test_a_folder_is_not_taken_for_the_hub_name_that_it_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert AllowedModels.of("org/*").allows("org/model")
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert not AllowedModels.of("org/*").allows("org/model")
    assert AllowedModels.of(f"{tmp_path}/*").allows("org/model")


def test_a_refusal_is_the_same_for_existing_and_missing_folders(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    allowed = AllowedModels.of("/models/*")
    said = []
    for name in ("there", "gone."):
        with pytest.raises(Invalid) as refused:
            allowed.check(str(tmp_path / name))
        said.append(str(refused.value).replace(name, "X"))
    assert said[0] == said[1]
    assert "allowed: /models/*" in said[0]


@pytest.mark.parametrize("setting", ["*", "{root}/*", "{root}/artifacts/*"])
def test_models_trained_for_a_project_are_no_base_models(setting: str, tmp_path: Path) -> None:
    theirs = tmp_path / "artifacts" / "project-7" / "policy"
    theirs.mkdir(parents=True)
    (tmp_path / "link").symlink_to(theirs)
    kept_out = (f"file://{tmp_path}/artifacts", "s3://bucket/attune")
    allowed = AllowedModels.of(setting.format(root=tmp_path), kept_out)
    said = set()
    for name in (theirs, f"{tmp_path}/x/../artifacts/gone", tmp_path / "link"):
        assert not allowed.allows(str(name))
        with pytest.raises(Invalid, match="trained here") as refused:
            allowed.check(str(name))
        said.add(str(refused.value).replace(str(name), "X"))
    assert len(said) == 1, "whether a folder exists is not told"
    if "artifacts" not in setting:
        assert allowed.allows(f"{tmp_path}/artifacts-other/model")
