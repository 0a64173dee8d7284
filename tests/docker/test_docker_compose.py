"""compose.yaml against the rules of the Compose specification, and its commands against the program."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nuwa_search.service.cli.main import COMMANDS
from tests.support.cli_lines import parse_nuwa_line
from tests.support.dockerfiles import last_stage, read_dockerfile, texts

DOCKER = Path(__file__).resolve().parents[2] / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("nuwa-search:")}

# The Compose specification (compose-spec/compose-spec, 05-services.md), those of its keys that make sense here.
TOP_KEYS = {"name", "services", "networks", "volumes", "configs", "secrets", "include"}
SERVICE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "deploy", "entrypoint", "environment", "expose", "healthcheck",
    "image", "init", "networks", "ports", "profiles", "read_only", "restart", "runtime", "secrets", "security_opt",
    "shm_size", "stop_grace_period", "stop_signal", "tmpfs", "user", "volumes", "working_dir",
}  # fmt: skip
HEALTH_KEYS = {"test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
DURATION = re.compile(r"(\d+(h|ms|m|s))+")
SECRET_NAME = re.compile(r"(?i)password|token|secret|key")
REQUIRED = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")  # interpolation that stops where the variable is not set


def test_keys_are_the_specifications() -> None:
    assert {k for k in COMPOSE if not k.startswith("x-")} <= TOP_KEYS
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service.get("build", {})) <= {"context", "dockerfile", "args", "target"}


def test_dependencies_exist_and_can_be_waited_for() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} waits for {other}"
            assert set(how) <= {"condition", "restart", "required"}
            assert how["condition"] in CONDITIONS
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], other
    assert SERVICES["api"]["depends_on"]["db"]["condition"] == "service_healthy"


def test_volumes_and_secrets_are_declared() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            assert source in COMPOSE["volumes"]
            assert target.startswith("/")
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()
    for secret in COMPOSE["secrets"].values():
        assert set(secret) in ({"environment"}, {"file"})


def test_health_is_asked_in_valid_terms() -> None:
    for name, service in SERVICES.items():
        check = service.get("healthcheck")
        if check is None:
            dockerfile = DOCKER.parent / service.get("build", {}).get("dockerfile", "")
            assert texts(last_stage(read_dockerfile(dockerfile)), "HEALTHCHECK"), name
            continue
        assert set(check) <= HEALTH_KEYS
        assert check["test"][0] in ("CMD", "CMD-SHELL")
        assert check["retries"] > 0
        for key in HEALTH_KEYS & check.keys() & {"interval", "timeout", "start_period"}:
            assert DURATION.fullmatch(check[key]), check[key]


def test_images_are_exact_or_built_here() -> None:
    built = {service["image"] for service in SERVICES.values() if "build" in service}
    for service in SERVICES.values():
        if service["image"] not in built:
            assert re.fullmatch(r"[\w/-]+:\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?", service["image"])
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_no_secret_is_written_down() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET_NAME.search(name) or "://" in str(value):
                assert REQUIRED.search(value), name
                assert "://" in value or REQUIRED.fullmatch(value)


def test_ours_can_do_little_harm() -> None:
    for service in OURS.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.get("privileged")
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")  # the API stays on this machine unless someone decides otherwise


@pytest.mark.parametrize("name", OURS)
def test_commands_are_ones_the_program_takes(name: str) -> None:
    service = OURS[name]
    if service["command"][0] not in COMMANDS:
        pytest.skip(f"nuwa {service['command'][0]} is not there yet")
    parse_nuwa_line(service["command"])
    check = service.get("healthcheck", {}).get("test", [])
    if check[1:2] == ["nuwa"]:
        parse_nuwa_line(check[2:])


def test_the_database_it_names_is_the_one_that_runs() -> None:
    database = SERVICES["db"]["environment"]
    for service in OURS.values():
        url = re.sub(r"\$\{[^}]+\}", "word", service["environment"]["NUWA_DB"])
        assert url == f"postgresql://{database['POSTGRES_USER']}:word@db:5432/{database['POSTGRES_DB']}"


def test_the_gpu_is_asked_for_where_one_is_needed() -> None:
    (device,) = SERVICES["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert SERVICES["gpu-worker"]["profiles"]  # not started where there is none
