"""The Compose file, as docker-compose itself reads it: refused half configured, and safe once it is configured."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from firstread.cli import app
from firstread.secret_files import SECRETS
from firstread.settings import Settings
from tests.compose.engine import compose_command
from worklist.job import ALWAYS_SERVED
from worklist.site import SiteRules

ROOT = Path(__file__).parents[2]
REQUIRED = {"SECRETS_DIR": "/srv/secrets", "DICOM_HOST": "pacs.example.org"}
OURS = {"migrate", "gateway", "dimse", *(f"worker-{queue}" for queue in ALWAYS_SERVED)}
SERVICES = {"orthanc", "postgres", "redis", *OURS}

Service = dict[str, Any]


def read_compose(tmp_path: Path, values: dict[str, str], *, more: str = "") -> subprocess.CompletedProcess[str]:
    """What docker-compose makes of the example environment with these values filled in."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    filled = re.sub(r"^(\w+)=$", lambda line: f"{line[1]}={values.get(line[1], '')}", example, flags=re.MULTILINE)
    environment = tmp_path / "environment"
    environment.write_text(f"{filled}\n{more}\n", encoding="utf-8")
    compose = compose_command()
    if compose is None:
        pytest.skip("needs docker-compose: apt-get install docker-compose")
    command = [*compose, "--file", str(ROOT / "docker-compose.yml"), "--env-file", str(environment), "config"]
    # No variable of this machine may fill a gap.
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})


@pytest.fixture
def services(tmp_path: Path) -> dict[str, Service]:
    """The services of the filled example."""
    answer = read_compose(tmp_path, REQUIRED)
    assert answer.returncode == 0, answer.stderr
    return dict(yaml.safe_load(answer.stdout)["services"])


@pytest.mark.parametrize("missing", sorted(REQUIRED))
def test_nothing_starts_half_configured(missing: str, tmp_path: Path) -> None:
    """Each value that the example leaves empty must be set, and the refusal names it."""
    answer = read_compose(tmp_path, {name: value for name, value in REQUIRED.items() if name != missing})
    assert answer.returncode != 0
    assert "set it in .env" in answer.stderr
    assert missing in answer.stderr


def test_reports_are_written_in_the_hospitals_time(tmp_path: Path) -> None:
    """The time zone of .env reaches the workers: a container knows UTC alone, and DICOM times are local ones."""
    answer = read_compose(tmp_path, REQUIRED, more="TZ=Asia/Tokyo")
    assert answer.returncode == 0, answer.stderr
    assert yaml.safe_load(answer.stdout)["services"]["worker-report"]["environment"]["TZ"] == "Asia/Tokyo"


def test_every_service_is_there_and_watched(services: dict[str, Service]) -> None:
    """All but the one-shot migration have a health check and come back by themselves."""
    assert set(services) == SERVICES
    for name in SERVICES - {"migrate"}:
        assert services[name]["restart"] == "unless-stopped", name
        assert services[name]["healthcheck"]["test"], name
        assert services[name]["mem_limit"], name
        assert services[name]["logging"]["options"]["max-size"], name
    assert services["migrate"]["restart"] == "no"


def test_an_image_is_named_by_its_version(tmp_path: Path, services: dict[str, Service]) -> None:
    """After an upgrade the images of the version before are still there under their own name, to go back to."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {name: service["image"] for name, service in services.items() if name in {*OURS, "orthanc"}}
    assert {image.partition(":")[2] for image in ours.values()} == {project["version"]}
    answer = read_compose(tmp_path, REQUIRED, more="IMAGE_VERSION=9.9.9")
    assert {yaml.safe_load(answer.stdout)["services"][name]["image"].partition(":")[2] for name in ours} == {"9.9.9"}


def test_a_site_adds_to_orthancs_configuration(tmp_path: Path) -> None:
    """A folder of .env lies where Orthanc's start looks for further sections, and its AE title is one for all."""
    answer = read_compose(tmp_path, REQUIRED, more="ORTHANC_SITE_DIR=/srv/orthanc\nORTHANC_AET=KHRAD")
    services = yaml.safe_load(answer.stdout)["services"]
    start = (ROOT / "docker" / "orthanc.sh").read_text(encoding="utf-8")
    (mounted,) = {place for place, source in mounts_of(services["orthanc"]).items() if source == "/srv/orthanc"}
    assert f"{mounted}/*.json" in start
    assert services["orthanc"]["environment"]["ORTHANC_AET"] == "KHRAD"
    assert {services[name]["environment"]["FIRSTREAD_ORTHANC_AET"] for name in OURS} == {"KHRAD"}


def test_nothing_of_ours_runs_before_the_database_is_current(services: dict[str, Service]) -> None:
    """Gateway and workers wait for the migration, and the migration for PostgreSQL."""
    for name in OURS - {"migrate"}:
        conditions = {needed: how["condition"] for needed, how in services[name]["depends_on"].items()}
        assert conditions["migrate"] == "service_completed_successfully"
        assert conditions["redis"] == "service_healthy"
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_no_service_is_root_or_can_become_it(services: dict[str, Service]) -> None:
    """Each container runs as a numbered user that is not 0, read-only, without capabilities."""
    for name, service in services.items():
        user = service.get("user") or last_user(service["build"]["dockerfile"])
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name


def last_user(dockerfile: str) -> str:
    """The user that an image's process runs as."""
    users = re.findall(r"^USER (\S+)$", (ROOT / dockerfile).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return str(users[-1]) if users else "0:0"


def test_each_service_knows_only_the_secrets_it_needs(services: dict[str, Service]) -> None:
    """PostgreSQL does not know Redis' password, nor Orthanc the database's."""
    ours = {"database_url", "broker_url", "orthanc_password"}
    assert {name: secrets_of(service) for name, service in services.items()} == {
        "postgres": {"postgres_password"},
        "redis": {"redis_password"},
        "orthanc": {"orthanc_password", "doorbell_secret"},
        **dict.fromkeys(OURS, ours),
        "gateway": {*ours, "doorbell_secret"},
    }


def secrets_of(service: Service) -> set[str]:
    """The secrets that lie in a container, as either generation of docker-compose prints them."""
    return {entry if isinstance(entry, str) else entry["source"] for entry in service.get("secrets", [])}


def test_every_secret_is_made_once_and_for_the_containers_alone(tmp_path: Path) -> None:
    """The script makes what the Compose file mounts, readable by containers, in a closed folder; again changes none."""
    folder = tmp_path / "secrets"
    made = []
    for _ in range(2):
        subprocess.run(["sh", str(ROOT / "docker" / "secrets.sh"), str(folder)], check=True)
        made.append({path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()})
    answer = read_compose(tmp_path, REQUIRED | {"SECRETS_DIR": str(folder)})
    mounted = {secret["file"] for secret in yaml.safe_load(answer.stdout)["secrets"].values()}
    assert mounted == {str(path) for path in folder.iterdir()}
    assert made[0] == made[1]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert made[0]["database_url"] == f"postgresql://firstread:{made[0]['postgres_password']}@postgres:5432/firstread"
    assert made[0]["broker_url"] == f"redis://:{made[0]['redis_password']}@redis:6379/0"
    assert len(set(made[0].values())) == len(made[0])


def test_a_secret_of_another_system_may_lie_in_a_file(services: dict[str, Service]) -> None:
    """Whichever container takes such a secret from .env takes the name of its file as well."""
    for setting in SECRETS:
        variable = f"FIRSTREAD_{setting.upper()}"
        told = {name for name, service in services.items() if variable in service.get("environment", {})}
        filed = {name for name, service in services.items() if f"{variable}_FILE" in service.get("environment", {})}
        assert filed, variable
        assert told <= filed, variable


def test_no_command_line_holds_a_password(services: dict[str, Service]) -> None:
    """Everybody on the machine sees those: a health check hands it on by the environment or by a pipe."""
    for name in OURS - {"migrate", "gateway", "dimse"}:
        shell = health_check_of(services[name])
        assert re.match(r'CELERY_BROKER_URL="\$+\(cat "\$+FIRSTREAD_BROKER_URL_FILE"\)" celery inspect ', shell), name
    assert "| curl --config - " in health_check_of(services["orthanc"])
    assert "--requirepass" not in str(services["redis"]["command"])


def health_check_of(service: Service) -> str:
    """A health check's shell, as either generation of docker-compose prints it."""
    test = service["healthcheck"]["test"]
    return str(test if isinstance(test, str) else test[-1])


def test_no_process_that_scores_films_judges_uploads(services: dict[str, Service]) -> None:
    """Uploads wait for one another, and no film waits for an upload."""
    served = [str(one["command"]) for one in services.values() if "worker" in str(one.get("command", ""))]
    assert any("score" in command for command in served)
    assert not [command for command in served if "score" in command and "predict" in command]


def test_gateway_and_worker_share_the_folder_of_uploads(services: dict[str, Service]) -> None:
    """One volume for both, made for their account in the image, and with room for what is being received."""
    (place,) = {services[name]["environment"]["FIRSTREAD_UPLOAD_DIR"] for name in ("gateway", "worker-predict")}
    mounted = {mounts_of(services[name])["/var/lib/firstread"] for name in ("gateway", "worker-predict")}
    assert len(mounted) == 1
    image = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    made = re.search(r"install --directory --mode 700 --owner (\d+) --group (\d+) ((?:\S*\s+)*?)(?=COPY)", image)
    assert made
    assert f"{made[1]}:{made[2]}" == last_user("docker/Dockerfile")
    assert {place, services["gateway"]["environment"]["TMPDIR"]} <= set(made[3].split())


def mounts_of(service: Service) -> dict[str, str]:
    """What lies at each place in a container, as either generation of docker-compose prints it."""
    entries = service.get("volumes", [])
    pairs = [
        entry.split(":")[:2] if isinstance(entry, str) else (entry["source"], entry["target"]) for entry in entries
    ]
    return {target: source for source, target in pairs}


def test_licensed_models_reach_the_workers_that_run_them(tmp_path: Path) -> None:
    """The folder of .env lies, read-only, where the settings look for models; without one an empty volume does."""
    chosen = "MODEL_DIR=/srv/models\nFIRSTREAD_SCORER=medsiglip\nFIRSTREAD_EXPLAINER_API_KEY=eeee5555"
    for more, source in (("", "models"), (chosen, "/srv/models")):
        answer = read_compose(tmp_path, REQUIRED, more=more)
        assert answer.returncode == 0, answer.stderr
        services = yaml.safe_load(answer.stdout)["services"]
        for queue in ALWAYS_SERVED:
            worker = services[f"worker-{queue}"]
            assert mounts_of(worker)[worker["environment"]["FIRSTREAD_MODEL_DIR"]] == source
            assert worker["environment"]["FIRSTREAD_SCORER"] == ("medsiglip" if more else None)
    assert {name for name, service in services.items() if "eeee5555" in str(service)} == {"worker-report"}
    assert "read_only" in str(services["worker-score"]["volumes"]) or ":ro" in str(services["worker-score"]["volumes"])


def test_doctor_finds_in_a_container_what_it_looks_at(services: dict[str, Service]) -> None:
    """The models' folder lies in the gateway's too, where doctor is run, and each other container asks that gateway."""
    gateway = services["gateway"]
    assert gateway["environment"]["FIRSTREAD_MODEL_DIR"] in mounts_of(gateway)
    for name in OURS - {"gateway"}:
        assert services[name]["environment"]["FIRSTREAD_HTTP_HOST"] == gateway["hostname"], name


def test_every_setting_is_handed_on(services: dict[str, Service]) -> None:
    """What a site may choose in .env reaches its containers, but for what Compose itself arranges."""
    # by orthanc.json, by the image, and because Orthanc is asked by HTTP on a network of its own
    arranged = {"orthanc_dicomweb_root", "viewer_dir", "orthanc_ca_file"}
    handed_on = {
        setting_of(variable)
        for name in OURS
        for variable in services[name]["environment"]
        if variable.startswith("FIRSTREAD_")
    }
    assert handed_on == Settings.model_fields.keys() - arranged


def setting_of(variable: str) -> str:
    """The setting of a variable, or of one that names the file of a secret."""
    setting = variable.removeprefix("FIRSTREAD_").lower()
    return setting.removesuffix("_file") if setting.removesuffix("_file") in SECRETS else setting


@pytest.mark.parametrize(
    "path", ["docker-compose.yml", ".env.example", "docker/Dockerfile", "docker/orthanc.Dockerfile"]
)
def test_no_file_holds_a_password(path: str) -> None:
    """Wherever a password is assigned, the value is a file that is mounted, or nothing."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for value in re.findall(r"^\s*\w*PASSWORD\w*[:=](.*)$", text, flags=re.MULTILINE):
        assert re.fullmatch(r"(\s*/run/secrets/\w+)?", value), value
    for credentials in re.findall(r"://\w*:([^@\s]+)@", text):
        assert credentials.startswith("${"), credentials


def test_only_the_dicom_ports_are_open_to_the_network(services: dict[str, Service]) -> None:
    """Orthanc and the DICOM server are, pages and REST interface on this machine alone, database and broker nowhere."""
    published = {name: [port_of(port) for port in service.get("ports", [])] for name, service in services.items()}
    assert published == {
        **{name: [] for name in SERVICES},
        "orthanc": [("", 4242), ("127.0.0.1", 8042)],
        "gateway": [("127.0.0.1", 8080)],
        "dimse": [("", 11112)],
    }
    assert {name for name, service in services.items() if "outside" in service["networks"]} == {
        "orthanc",
        "gateway",
        "dimse",
    }


def port_of(port: str | dict[str, Any]) -> tuple[str, int]:
    """Host address and published port, as either generation of docker-compose prints them."""
    if isinstance(port, dict):
        return str(port.get("host_ip", "")), int(port["published"])
    host, published, _target = port.rsplit(":", 2)
    return host, int(published)


def test_the_settings_understand_what_compose_hands_them(
    services: dict[str, Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every FIRSTREAD_ variable is a setting, and together they make a valid configuration."""
    for name in OURS:
        environment = services[name]["environment"]
        unknown = {
            variable
            for variable in environment.keys() - {"TZ", "TMPDIR"}
            if setting_of(variable) not in Settings.model_fields
        }
        assert not unknown
    monkeypatch.chdir(tmp_path)  # away from a developer's own .env
    secrets = {"database_url": "postgresql://a:b@postgres:5432/c", "broker_url": "redis://:d@redis:6379/0"}
    for name in secrets_of(services["gateway"]):
        (tmp_path / name).write_text(secrets.get(name, "e"), encoding="utf-8")
    for variable, value in services["gateway"]["environment"].items():
        if value is not None:
            monkeypatch.setenv(variable, str(value).replace("/run/secrets/", f"{tmp_path}/"))
    settings = Settings()
    assert settings.database_url == secrets["database_url"]
    assert settings.broker_url == secrets["broker_url"]
    assert settings.orthanc_auth == ("firstread", "e")
    assert settings.doorbell_secret.get_secret_value() == "e"
    assert (settings.orthanc_dicom_host, settings.shown_dicom_host) == ("orthanc", "pacs.example.org")
    assert settings.site_rules == SiteRules(), "what .env leaves out keeps its default"


def test_the_examples_choices_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line that the example leaves commented out is valid as it stands, and reaches a container."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    choices = dict(re.findall(r"^#(FIRSTREAD_\w+)=(.*)$", example, flags=re.MULTILINE))
    assert choices
    monkeypatch.chdir(tmp_path)
    for variable, value in choices.items():
        monkeypatch.setenv(variable, value)
    settings = Settings()
    assert settings.modalities == {"CR", "DX", "DR", "RG"}
    assert settings.site_rules.triage.weights == {"cardiomegaly": 0.1}
    answer = read_compose(tmp_path, REQUIRED)
    services = yaml.safe_load(answer.stdout)["services"]
    assert set(choices) <= {variable for name in OURS for variable in services[name]["environment"]}


def test_orthanc_finds_every_variable_of_its_configuration(services: dict[str, Service]) -> None:
    """Each ${NAME} in orthanc.json is set by the Compose file, by the image, or from a secret's file at the start."""
    used = set(re.findall(r"\$\{(\w+)[:}]", (ROOT / "orthanc" / "orthanc.json").read_text(encoding="utf-8")))
    image = (ROOT / services["orthanc"]["build"]["dockerfile"]).read_text(encoding="utf-8")
    by_image = set(re.findall(r"(\w+)=", " ".join(re.findall(r"^ENV (.*)$", image, flags=re.MULTILINE))))
    start = (ROOT / "docker" / "orthanc.sh").read_text(encoding="utf-8")
    from_files = {name for name, file in re.findall(r'^(\w+)=\$\(cat "\$(\w+)"\)$', start, flags=re.MULTILINE)}
    assert used
    assert {f"{name}_FILE" for name in from_files} <= set(services["orthanc"]["environment"])
    assert used <= set(services["orthanc"]["environment"]) | by_image | from_files


def test_the_documented_way_back_stops_whatever_uses_the_database() -> None:
    """A restore is refused while a program of ours lives; `make compose-test` goes the whole way."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| Go back \|.*$", page, flags=re.MULTILINE)
    stop, restore, start = re.findall(r"`docker-compose ([^`]+)`", row)
    assert stop.split()[0] == "stop"
    assert set(stop.split()[1:]) == OURS - {"migrate"}
    assert restore.startswith("run --rm --no-deps ")  # what it would start first is refused by the newer database
    assert start == "up --detach"


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_command_exists(name: str, services: dict[str, Service]) -> None:
    """What Compose runs is a command of the installed product."""
    answer = CliRunner().invoke(app, [*services[name]["command"], "--help"])
    assert answer.exit_code == 0, answer.output


def test_an_image_holds_the_product_and_nothing_else() -> None:
    """The build context lets in every package of the wheel and neither secrets, nor history, nor films."""
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    rules = [line for line in patterns if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert rules[0] == "*"
    assert {*wheel["packages"], *wheel["force-include"], "requirements.lock", "pyproject.toml"} <= let_in
    assert not let_in & {".", ".env", ".git", ".venv", ".firstread", "tests", "docs"}
