"""The other files of deploy/, the wheel that goes into an image, and its bill of materials: `make deploy-check`.

What a machine has no program for is left out with a line that names it; what can be read is held together all the same.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import httpx2
import jsonschema_rs
import pytest
import yaml  # type: ignore[import-untyped]  # schemathesis brings it, without its types

from bill_of_materials import bill
from graph.settings import Settings, load_settings

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
UNIT: Final = DEPLOY / "systemd" / "omnirelay.service"
CONTAINERFILE: Final = DEPLOY / "container" / "Containerfile"
SECRET: Final = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of a test
EXPOSURE: Final = 12
"""Of the unit, in tenths: `systemd-analyze security` calls it OK, and 10.0 is a unit that sets nothing."""


def done(*command: str | Path, **options: Any) -> str:
    """What a command prints; it must end well."""
    found = shutil.which(str(command[0]))
    if found is None:
        pytest.skip(f"cannot run: {command[0]} is not installed")
    ended = subprocess.run(  # noqa: S603 - found
        [found, *map(str, command[1:])], capture_output=True, text=True, check=False, **options
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return f"{ended.stdout}{ended.stderr}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of the file as a server has it: a password is in it. That of a pod is root's, and for its group."""
    copy = tmp_path / "omnirelay.toml"
    shutil.copy(DEPLOY / "omnirelay.toml", copy)
    copy.chmod(0o400 if os.geteuid() else 0o440)
    return load_settings(copy, {})


def test_the_settings_are_settings(settings: Settings) -> None:
    assert str(settings.auth_secret_file).startswith("/run/secrets/omnirelay/")
    assert (DEPLOY / "kubernetes" / "omnirelay.toml").read_bytes() == (DEPLOY / "omnirelay.toml").read_bytes()
    unit = dict(line.split("=", 1) for line in UNIT.read_text(encoding="utf-8").splitlines() if "=" in line)
    assert float(unit["TimeoutStopSec"]) > settings.drain_seconds
    assert "%d/omnirelay.toml" in unit["ExecStart"]
    assert unit["KillMode"] == "mixed"


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    """As it is, with a program that is there."""
    unit = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    program = "/opt/omnirelay/bin/omnirelay"
    assert f"ExecStart={program} serve" in text
    unit.write_text(text.replace(program, sys.executable))
    assert done("systemd-analyze", "verify", unit) == ""
    done("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", unit)


def test_the_program_runs_where_memory_is_either_written_or_executed() -> None:
    """As MemoryDenyWriteExecute has it: PR_SET_MDWE, which goes on through exec."""
    libc = ctypes.CDLL(None, use_errno=True)
    loading = "import numpy, re2, cryptography.fernet, asyncpg, uvloop, orjson, graph.server.composition"

    def deny() -> None:
        if libc.prctl(65, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")

    try:
        ended = subprocess.run([sys.executable, "-c", loading], preexec_fn=deny, check=False)  # noqa: S603 - one thread
    except (subprocess.SubprocessError, OSError):
        pytest.skip("cannot run: this kernel has no PR_SET_MDWE")
    assert ended.returncode == 0


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """As kustomize has them."""
    folder = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(DEPLOY / "kubernetes", folder)
    (folder / "auth-secret").write_text(SECRET)
    rendered = done("kubectl", "kustomize", folder)
    if shutil.which("kubeconform"):
        done("kubeconform", "-strict", "-", input=rendered)
    return list(yaml.safe_load_all(rendered))


def only(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [one for one in manifests if one["kind"] == kind]
    assert found["metadata"].get("namespace", "omnirelay") == "omnirelay"
    return found


def test_what_selects_pods_selects_those_of_the_deployment(manifests: list[dict[str, Any]]) -> None:
    spec = only(manifests, "Deployment")["spec"]
    labels = spec["template"]["metadata"]["labels"]
    for selected in (
        spec["selector"]["matchLabels"],
        only(manifests, "Service")["spec"]["selector"],
        only(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selected.items() <= labels.items()
        assert selected
    job = yaml.safe_load((DEPLOY / "kubernetes" / "migration.yaml").read_text(encoding="utf-8"))
    assert not spec["selector"]["matchLabels"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    (container,) = spec["template"]["spec"]["containers"]
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == container["image"]


def test_servers_run_as_restricted_pods_with_their_secrets_as_files(
    manifests: list[dict[str, Any]], settings: Settings
) -> None:
    pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    secret = only(manifests, "Secret")
    assert set(secret["data"]) == {"omnirelay.toml", "auth-secret"}
    assert pod["volumes"][0]["secret"] == {"secretName": secret["metadata"]["name"], "defaultMode": 0o440}
    assert str(settings.auth_secret_file) == f"{container['volumeMounts'][0]['mountPath']}/auth-secret"
    assert "env" not in container
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    probes = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert probes == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert container["ports"][0]["containerPort"] == 8080
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause + settings.drain_seconds
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] > settings.wait_for_database_seconds


def test_the_image_copies_what_there_is_and_runs_as_no_root() -> None:
    lines = CONTAINERFILE.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    instructions = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    copied = [
        source for name, rest in instructions if name == "COPY" and "--from" not in rest for source in rest.split()[:-1]
    ]
    assert all((ROOT / source).exists() for source in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {*packages, "frontend-queries", "requirements.lock", "pyproject.toml"} <= set(copied)
    final = instructions[max(at for at, (name, _) in enumerate(instructions) if name == "FROM") :]
    assert [rest for name, rest in final if name == "USER"] == ["65532:65532"]
    assert any(name == "HEALTHCHECK" and "/healthz" in rest for name, rest in final)
    if shutil.which("hadolint"):
        done("hadolint", CONTAINERFILE)


def test_the_image_is_built() -> None:
    engine = next((one for one in ("podman", "docker", "buildah") if shutil.which(one)), None)
    if engine is None or subprocess.run([engine, "info"], capture_output=True, check=False).returncode:  # noqa: S603 - found
        pytest.skip("cannot run: there is no container engine, or it does not run")
    done(engine, "build", "--file", CONTAINERFILE, "--tag", "omnirelay-deploy-check", ROOT)
    hardened = ("--rm", "--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")
    assert "omnirelay" in done(engine, "run", *hardened, "omnirelay-deploy-check", "--help")


def test_the_bill_of_materials_is_one_by_its_schema() -> None:
    schemas = ROOT / ".audit" / "cyclonedx" / "schema" / "_res"
    if not schemas.exists():
        pytest.skip("cannot run: CycloneDX's schema is not here, which `make audit` brings")
    whole, *parts = (
        (name, json.loads((schemas / name).read_text(encoding="utf-8")))
        for name in (f"{part}.SNAPSHOT.schema.json" for part in ("bom-1.6", "spdx", "jsf-0.82"))
    )
    registry = jsonschema_rs.Registry([(urljoin(whole[1]["$id"], name), part) for name, part in parts])
    validator = jsonschema_rs.validator_for(whole[1], registry=registry, validate_formats=True)
    materials = bill(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    assert [error.message for error in validator.iter_errors(materials)] == []
    assert not validator.is_valid({**materials, "specVersion": 1.6})


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, and the packages that it needs from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
    done(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "dist", ROOT)
    (wheel,) = (folder / "dist").glob("omnirelay_shards-*.whl")
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    done(*pip, "--python", python, "install", "--quiet", "--no-deps", wheel)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(f"{Path(httpx2.__file__).parents[1]}\n")
    return folder / "venv" / "bin" / "omnirelay"


def test_the_wheel_serves_from_any_folder(installed: Path, tmp_path: Path) -> None:
    """GraphiQL's assets and the documents of operations are in it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMNIRELAY", "PYTHON"))}
    with subprocess.Popen(  # noqa: S603 - made above
        [installed, "serve", "--port", "0", "--data-dir", tmp_path / "data"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            address = next(
                found[1] for line in process.stdout if (found := re.match(r"GraphiQL +(http\S+)/graphql", line))
            )
            with httpx2.Client(base_url=address, trust_env=False) as client:
                assert client.get("/readyz").status_code == 200
                page = client.get("/graphql", headers={"accept": "text/html"}).text
                assets = re.findall(r'(?:src|href)="(graphql/assets/[^"]+)"', page)
                assert assets
                for asset in assets:
                    assert client.get(f"/{asset}").status_code == 200, asset
            listed = done(installed, "mesh", "namespaces", "list", "--server", address, cwd=tmp_path, env=environment)
            assert "orders" in listed
            place = done(installed.with_name("python"), "-c", "import graph; print(graph.__path__)", cwd=tmp_path)
            assert str(installed.parents[1]) in place
        finally:
            process.terminate()
            assert process.wait(30) == 0
