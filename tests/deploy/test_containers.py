"""The compose file and the manifests: settings exist, commands parse, bounds are set."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from app.cli.main import app
from app.queue import QUEUES
from app.settings import Settings, load
from app.web import transport

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")
# The images of PostgreSQL and Redis start as root, to hand their folders to a user of their own.
FOREIGN = {"database", "broker"}


def _documents() -> Iterator[dict[str, Any]]:
    for name in yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]:
        yield from yaml.safe_load_all((KUBERNETES / name).read_text())


MANIFESTS = list(_documents())


def _pods() -> dict[str, dict[str, Any]]:
    """Return the pods of the workloads by name."""
    pods = {}
    for one in MANIFESTS:
        spec = one.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            pods[one["metadata"]["name"]] = spec["template"]["spec"]
    return pods


def _commands() -> Iterator[list[str]]:
    for service in COMPOSE["services"].values():
        yield service.get("command", [])
    for pod in _pods().values():
        yield pod["containers"][0]["command"]


def _settings() -> dict[str, dict[str, str]]:
    (configuration,) = (one["data"] for one in MANIFESTS if one["kind"] == "ConfigMap")
    compose = COMPOSE["services"]["web"]["environment"]
    read = {name: DEFAULT.sub(r"\1", value) for name, value in compose.items()}
    return {"kubernetes": configuration, "compose": read}


def _parses(arguments: list[str]) -> None:
    group = typer.main.get_command(app)
    with group.make_context("attune", list(arguments)) as context:
        name, command, rest = group.resolve_command(context, list(arguments))  # type: ignore[attr-defined]
        command.make_context(name, rest, parent=context).close()


def test_every_command_parses() -> None:
    ours = [command[1:] for command in _commands() if command[:1] == ["attune"]]
    assert {arguments[0] for arguments in ours} == {"migrate", "serve", "worker", "backup"}
    for arguments in ours:
        _parses(arguments)
    with pytest.raises(Exception, match="No such option"):
        _parses(["serve", "--hosts", "0.0.0.0"])


@pytest.mark.parametrize("place", ["kubernetes", "compose"])
def test_every_setting_exists_and_people_can_sign_in(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {
        "database_url": "postgresql://attune:x@db/attune",
        "broker_url": "redis://broker:6379/0",
        "secret_key": "x" * 40,
    }
    for name, text in held.items():
        (tmp_path / name).write_text(text)
    settings = _settings()[place]
    for name, value in settings.items():
        is_secret = value.startswith("/run/secrets/")
        monkeypatch.setenv(name, str(tmp_path / Path(value).name) if is_secret else value)
    loaded = load(prepares=False)
    assert (loaded.database_url, loaded.secret) == (held["database_url"], b"x" * 40)
    assert loaded.broker_url
    assert not loaded.is_embedded
    transport.check(loaded, "0.0.0.0")
    known = {f"ATTUNE_{name}".upper() for name in Settings.model_fields}
    assert set(settings) <= known


def test_pods_are_confined_and_bounded() -> None:
    pods = _pods()
    assert set(pods) == {"migrate", "web", "worker-gpu", "worker-cpu", "backup"}
    for name, pod in pods.items():
        (container,) = pod["containers"]
        rules, context = container["securityContext"], pod["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] == 10001, name  # the user of the Dockerfile
        assert rules["readOnlyRootFilesystem"] is True, name
        assert rules["allowPrivilegeEscalation"] is False, name
        assert rules["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["automountServiceAccountToken"] is False, name
        # With links, a service called `attune` would set ATTUNE_PORT to a URL.
        assert pod["enableServiceLinks"] is False, name
        assert "memory" in container["resources"]["limits"], name
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes, name
    assert "--uid 10001" in (ROOT / "Dockerfile").read_text()


def test_what_the_manifests_name_is_there() -> None:
    made = {(one["kind"], one["metadata"]["name"]) for one in MANIFESTS}
    labels = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in MANIFESTS
        if one["kind"] in {"Deployment", "Job"}
    ]
    for pod in _pods().values():
        assert ("ConfigMap", pod["containers"][0]["envFrom"][0]["configMapRef"]["name"]) in made
        for volume in pod["volumes"]:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            assert claim is None or ("PersistentVolumeClaim", claim) in made
    for one in MANIFESTS:
        if one["kind"] in {"PodDisruptionBudget", "Deployment"}:
            wanted = one["spec"]["selector"]["matchLabels"].items()
            assert any(wanted <= carried.items() for carried in labels), one["metadata"]["name"]
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    assert set(kustomization["resources"]) == files
    images = {pod["containers"][0]["image"] for pod in _pods().values()}
    assert {image["name"] for image in kustomization["images"]} == images


def test_every_queue_has_a_worker_that_is_watched() -> None:
    pods = [pod["containers"][0] for pod in _pods().values()]
    workers = [one for one in pods if one["command"][1] == "worker"]
    assert sorted(one["command"][3] for one in workers) == sorted(QUEUES)
    services = [one for one in COMPOSE["services"].values() if "worker" in one.get("command", [])]
    checks = [
        *(one["livenessProbe"]["exec"]["command"] for one in workers),
        *(one["healthcheck"]["test"][1:] for one in services),
    ]
    assert checks == [["python", "-m", "worker.pulse", "/data/work"]] * 2 * len(QUEUES)


def test_services_are_confined_and_bounded() -> None:
    secrets = {f"/run/secrets/{name}" for name in COMPOSE["secrets"]}
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] is True, name
        assert service["tmpfs"], name
        assert service["mem_limit"], name
        assert name in FOREIGN or service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        given = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
        variables = service.get("environment", {})
        read = {value for value in variables.values() if str(value).startswith("/run/")}
        assert read == given <= secrets, name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    assert COMPOSE["services"]["tensorboard"]["profiles"] == ["tensorboard"]
