"""What is in ``deploy/`` is taken by the tools it is for, and says what the service says."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from consumer.sandbox import Sandbox, SandboxOptions
from consumer.settings import Settings, load_settings
from tests.support.servers.debian import needed

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OWN_KINDS = ["configmap", "deployment", "poddisruptionbudget", "secret.example", "service"]
GRACE_S = Settings.model_fields["shutdown"].get_default(call_default_factory=True).grace / 1000


def tool(*command):
    return subprocess.run(
        [Path(sys.executable).parent / command[0], *command[1:]],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )  # fmt: skip


def manifest(name):
    return yaml.safe_load((KUBERNETES / f"{name}.yaml").read_text())


def composed(*files):
    arguments = [part for file in files for part in ("-f", str(DEPLOY / file))]
    done = tool("docker-compose", *arguments, "config")
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


# ---------------------------------------------------------------- the Dockerfile


def test_hadolint_has_nothing_to_say():
    done = tool("hadolint", "--failure-threshold", "style", "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


# ---------------------------------------------------------------- compose


def test_compose_takes_the_files_alone_and_with_the_simulated_org():
    assert composed("compose.yaml").keys() == {"consumer", "redis", "prometheus"}
    assert composed("compose.yaml", "compose.sandbox.yaml").keys() == {
        "consumer",
        "redis",
        "prometheus",
        "sandbox",
    }


def test_redis_keeps_what_it_is_given():
    command = " ".join(composed("compose.yaml")["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--appendfsync everysec" in command
    assert "--maxmemory-policy noeviction" in command


def test_the_service_of_compose_has_time_to_stop_and_nothing_it_does_not_need():
    service = composed("compose.yaml")["consumer"]
    assert float(service["stop_grace_period"].removesuffix("s")) > GRACE_S
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_the_simulated_org_of_compose_lets_the_service_in():
    """With settings the service accepts, on an address it sends tokens to."""
    services = composed("compose.yaml", "compose.sandbox.yaml")
    service = services["consumer"]
    settings = load_settings(None, {**service["environment"], "CADENCE_CONTAINER": "1"})
    known = Sandbox(SandboxOptions(seed=1)).credentials
    assert settings.salesforce.client_id == known.client_id
    assert settings.salesforce.client_secret.get_secret_value() == known.client_secret
    port = services["sandbox"]["command"][services["sandbox"]["command"].index("--port") + 1]
    assert settings.salesforce.login_url == f"http://localhost:{port}"
    assert service["network_mode"] == "service:sandbox"
    assert "ports" not in service


def test_prometheus_of_compose_finds_the_service_and_the_rules():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    (scrape,) = config["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": ["consumer:8080"]}]
    assert all((DEPLOY / "prometheus" / name).is_file() for name in config["rule_files"])
    aliases = composed("compose.yaml", "compose.sandbox.yaml")["sandbox"]["networks"]["default"]["aliases"]
    assert aliases == ["consumer"]


def test_promtool_accepts_the_configuration():
    done = subprocess.run(
        [needed("promtool"), "check", "config", str(DEPLOY / "prometheus" / "prometheus.yaml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# ---------------------------------------------------------------- Kubernetes


@pytest.mark.parametrize("version", ["1.29.0", "1.37.0"])
def test_kubernetes_accepts_every_resource(version):
    files = [str(KUBERNETES / f"{name}.yaml") for name in OWN_KINDS]
    done = tool("kubernetes-validate", "--strict", "-k", version, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count(" passed ") == len(files)


def test_kubernetes_would_not_accept_a_misspelt_field(tmp_path):
    text = (KUBERNETES / "deployment.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(text.replace("readOnlyRootFilesystem", "readonlyRootFilesystem"))
    assert tool("kubernetes-validate", "--strict", str(tmp_path / "wrong.yaml")).returncode != 0


def test_the_kustomization_names_every_resource_but_the_optional_ones():
    named = set(manifest("kustomization")["resources"])
    there = {path.name for path in KUBERNETES.glob("*.yaml")}
    assert there - named == {"kustomization.yaml", "secret.example.yaml", "servicemonitor.yaml"}
    assert named <= there


def test_all_of_it_is_about_the_same_pods():
    pods = manifest("deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("deployment")["spec"]["selector"]["matchLabels"] == pods
    assert manifest("service")["spec"]["selector"] == pods
    assert manifest("poddisruptionbudget")["spec"]["selector"]["matchLabels"] == pods
    assert (
        manifest("servicemonitor")["spec"]["selector"]["matchLabels"]
        == manifest("service")["metadata"]["labels"]
    )
    assert (
        manifest("servicemonitor")["spec"]["endpoints"][0]["port"]
        == manifest("service")["spec"]["ports"][0]["name"]
    )


def test_a_standby_beside_the_leader_and_time_to_stop():
    spec = manifest("deployment")["spec"]
    assert spec["replicas"] == 2
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > GRACE_S + 5
    (container,) = spec["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz?standby"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_not_root_nothing_to_write_to_and_no_token_of_the_cluster():
    pod = manifest("deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    user = (ROOT / "Dockerfile").read_text().split("USER ")[1].split(":")[0]
    assert (pod["securityContext"]["runAsNonRoot"], str(pod["securityContext"]["runAsUser"])) == (True, user)
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def test_the_pod_starts_with_settings_that_the_service_accepts(tmp_path):
    """The ConfigMap's file, the Secret's file where it is mounted, and the variables, read by the service itself."""
    pod = manifest("deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    (item,) = next(volume["secret"]["items"] for volume in pod["volumes"] if volume["name"] == "secret")
    secret = manifest("secret.example")["stringData"]
    (tmp_path / item["path"]).write_text(secret[item["key"]])
    text = manifest("configmap")["data"]["cadence.toml"]
    assert f'"{mounts["secret"]}/{item["path"]}"' in text
    (tmp_path / "cadence.toml").write_text(text.replace(mounts["secret"], str(tmp_path)))
    variables = {"CADENCE_CONTAINER": "1"}
    for each in container["env"]:
        reference = each.get("valueFrom", {}).get("secretKeyRef")
        variables[each["name"]] = each["value"] if reference is None else secret[reference["key"]]
    assert variables.pop("CADENCE_CONFIG") == f"{mounts['config']}/cadence.toml"
    settings = load_settings(tmp_path / "cadence.toml", variables)
    assert settings.store.is_redis
    assert settings.salesforce.client_secret.get_secret_value() == secret[item["key"]]


def test_the_image_of_the_deployment_is_that_of_this_release():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    (container,) = manifest("deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith(f":{version}")
