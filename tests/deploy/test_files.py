"""The files of examples/: what reads them can read them, and each line that a boundary hangs on is there."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.deploy.files import (
    COMPOSE,
    DEVCONTAINER,
    EXAMPLES,
    KUBERNETES,
    ROOT,
    SYSTEMD,
    compose,
    objects,
    only,
    text_of,
    unit,
)
from tests.support.outgate import run_outgate

SCHEMAS = Path(__file__).parent / "schemas"
MANIFESTS = [file.name for file in sorted(KUBERNETES.glob("*.yaml"))]
UNITS = sorted(file.name for file in SYSTEMD.glob("*.s[eo]*") if file.suffix in (".service", ".socket"))
SERVICES = compose()["services"]
KEY = "anthropic-key"
HARDENED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}


def checked(schema: str, value: object, definition: str = "") -> None:
    whole = json.loads(text_of(SCHEMAS / schema))
    part = whole | {"$ref": f"#/$defs/{definition}"} if definition else whole
    jsonschema.Draft202012Validator(part).validate(value)


# --- Compose ---


@pytest.mark.parametrize("file", [COMPOSE, DEVCONTAINER / "compose.devcontainer.yaml"], ids=lambda file: file.name)
def test_compose_files_follow_the_specification(file: Path) -> None:
    checked("compose.json", compose(file))


def test_the_schema_of_compose_knows_a_misspelt_key() -> None:
    with pytest.raises(jsonschema.ValidationError):
        checked("compose.json", {"services": {"agent": {"image": "a", "read-only": True}}})


def test_the_agent_of_compose_has_one_network_whose_only_other_member_is_outgate() -> None:
    file = compose()
    assert SERVICES["agent"]["networks"] == ["sandbox"]
    assert {name for name, one in SERVICES.items() if "sandbox" in one.get("networks", [])} == {"agent", "outgate"}
    sandbox = file["networks"]["sandbox"]
    assert sandbox["internal"] is True
    assert {mode for option, mode in sandbox["driver_opts"].items() if "gateway_mode" in option} == {"isolated"}
    assert (
        not {"network_mode", "ports", "extra_hosts", "pid", "privileged", "cap_add", "devices"}
        & SERVICES["agent"].keys()
    )


def test_outgate_listens_on_the_address_of_the_agents_network_alone_and_forwards_nothing() -> None:
    outgate = SERVICES["outgate"]
    address = outgate["networks"]["sandbox"]["ipv4_address"]
    assert outgate["command"][outgate["command"].index("--listen") + 1] == f"{address}:8899"
    assert outgate["sysctls"] == {"net.ipv4.ip_forward": "0"}
    assert "ports" not in outgate


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_of_compose_is_without_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_keys_reach_outgate_and_nobody_else() -> None:
    assert [name for name, service in SERVICES.items() if service.get("secrets")] == ["outgate"]
    assert [name for name, one in SERVICES.items() if any("state:" in each for each in one["volumes"])] == [
        "outgate",
        "handout",
    ]
    (handed,) = [each for each in SERVICES["agent"]["volumes"] if each.startswith("handout")]
    assert handed.endswith(":ro")
    assert SERVICES["handout"]["network_mode"] == "none"
    assert "ca-key" not in SERVICES["handout"]["command"][0]


# --- the development container ---

# The keys of devcontainer.json that are used, and what their values may be (containers.dev's reference).
DEVCONTAINER_KEYS: dict[str, Any] = {
    "name": str,
    "dockerComposeFile": list,
    "service": str,
    "runServices": list,
    "workspaceFolder": str,
    "overrideCommand": bool,
    "remoteUser": str,
    "updateRemoteUserUID": bool,
    "userEnvProbe": ("none", "loginShell", "loginInteractiveShell", "interactiveShell"),
    "shutdownAction": ("none", "stopCompose"),
    "remoteEnv": dict,
    "customizations": dict,
}


def test_the_development_container_has_keys_that_exist() -> None:
    for key, value in json.loads(text_of(DEVCONTAINER / "devcontainer.json")).items():
        allowed = DEVCONTAINER_KEYS[key]
        assert isinstance(value, allowed) if isinstance(allowed, type) else value in allowed, key


def test_the_development_container_is_made_of_files_that_are_there() -> None:
    """All files lie in one folder in the end: those of both examples."""
    found = json.loads(text_of(DEVCONTAINER / "devcontainer.json"))
    folders = (COMPOSE.parent, DEVCONTAINER)
    assert all(any((folder / name).exists() for folder in folders) for name in found["dockerComposeFile"])
    assert {found["service"], *found["runServices"]} == set(SERVICES)


def test_the_agent_cannot_write_the_files_that_decide_over_it() -> None:
    agent = compose(DEVCONTAINER / "compose.devcontainer.yaml")["services"]["agent"]
    assert ".:/workspace/.devcontainer:ro" in agent["volumes"]
    assert not {"networks", "network_mode", "user", "cap_add", "privileged"} & agent.keys()


# --- Kubernetes ---


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_follow_the_definitions_of_kubernetes(name: str) -> None:
    for one in objects(name):
        group = {"v1": "core.v1", "apps/v1": "apps.v1", "networking.k8s.io/v1": "networking.v1"}[one["apiVersion"]]
        checked("kubernetes.json", one, f"io.k8s.api.{group}.{one['kind']}")


def test_the_definitions_know_a_misspelt_key() -> None:
    pod = only("agent.yaml", "Pod", "agent-1")
    pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(jsonschema.ValidationError):
        checked("kubernetes.json", pod, "io.k8s.api.core.v1.Pod")


def test_agents_reach_the_gateway_and_nothing_else_not_even_names() -> None:
    policies = [one for one in objects("gateway.yaml") if one["kind"] == "NetworkPolicy"]
    agents = [one["spec"] for one in policies if one["metadata"]["namespace"] == "agents"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in agents
    (egress,) = [rule for spec in agents for rule in spec.get("egress", [])]
    (peer,) = egress["to"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "outgate"}
    assert peer["podSelector"]["matchLabels"] == {"app": "outgate"}
    assert egress["ports"] == [{"protocol": "TCP", "port": 8899}]
    pod = only("agent.yaml", "Pod", "agent-1")["spec"]
    assert (pod["dnsPolicy"], pod["dnsConfig"]) == ("None", {"nameservers": ["127.0.0.1"]})


def test_the_gateway_asks_every_sandbox_for_its_token() -> None:
    (container,) = only("gateway.yaml", "Deployment", "outgate")["spec"]["template"]["spec"]["containers"]
    assert "0.0.0.0:8899" in container["args"]
    assert "--allow-anonymous" not in container["args"]


def pods() -> list[Any]:
    found = [
        (f"{name}:{one['metadata']['name']}", one["spec"].get("template", one)["spec"])
        for name in MANIFESTS
        for one in objects(name)
        if one["kind"] in ("Pod", "Deployment")
    ]
    return [pytest.param(spec, id=name) for name, spec in found]


@pytest.mark.parametrize("spec", pods())
def test_no_pod_has_an_account_or_privileges(spec: dict[str, Any]) -> None:
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert not spec.get("shareProcessNamespace")
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        context = container["securityContext"]
        assert context.items() >= HARDENED.items(), container["name"]
        assert context["capabilities"]["drop"] == ["ALL"]
        assert context["capabilities"].get("add", []) == (["NET_ADMIN"] if container["name"] == "boundary" else [])


def test_the_rules_of_the_sidecar_know_outgates_user_and_the_agent_is_another() -> None:
    spec = only("sidecar.yaml", "Pod", "agent-1")["spec"]
    users = {one["name"]: one["securityContext"]["runAsUser"] for one in (*spec["initContainers"], *spec["containers"])}
    rules = only("sidecar.yaml", "ConfigMap", "outgate")["data"]["boundary.nft"]
    assert re.findall(r"skuid (\d+)", rules) == [str(users["outgate"])]
    assert users["agent"] not in (0, users["outgate"])
    assert [one["name"] for one in spec["initContainers"]] == ["boundary", "outgate", "handout"]


def test_the_agents_of_kubernetes_see_neither_state_nor_keys() -> None:
    for name in ("agent.yaml", "sidecar.yaml"):
        (agent,) = only(name, "Pod", "agent-1")["spec"]["containers"]
        assert {mount["name"] for mount in agent["volumeMounts"]} <= {"workspace", "tmp", "tmp-agent", "ca", "handout"}


# --- the policies in them ---


def policies() -> list[Any]:
    inside = [
        (f"{name}:{one['metadata']['name']}", one["data"]["agent.yaml"])
        for name in MANIFESTS
        for one in objects(name)
        if one["kind"] == "ConfigMap"
    ]
    files = [(file.name, text_of(file)) for file in sorted(EXAMPLES.glob("*/policies/*.yaml"))]
    return [pytest.param(text, id=name) for name, text in (*files, *inside)]


@pytest.mark.parametrize("text", policies())
def test_the_policies_pass_the_check(text: str, tmp_path: Path) -> None:
    # As Kubernetes mounts a config map: links to links.
    (tmp_path / "policies/..1").mkdir(parents=True)
    (tmp_path / "policies/..1/agent.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "policies/..data").symlink_to("..1")
    (tmp_path / "policies/agent.yaml").symlink_to("..data/agent.yaml")
    done = run_outgate(tmp_path, "check", "--strict", "policies")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_policies_differ_in_where_the_key_is_and_nothing_else() -> None:
    texts = [yaml.safe_load(param.values[0]) for param in policies()]
    for one in texts:
        assert one["credentials"]["anthropic"].pop("from").endswith(f"/{KEY}")
    assert all(one == texts[0] for one in texts)


# --- systemd ---


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    # It looks for the programs that the units start, which are not here.
    for name in UNITS:
        text = re.sub(r"^(ExecStart)=\S+", r"\1=/bin/true", text_of(SYSTEMD / name), flags=re.MULTILINE)
        (tmp_path / name).write_text(text, encoding="utf-8")
        if "@" in name:
            (tmp_path / name.replace("@", "@one")).symlink_to(tmp_path / name)
    named = [str(tmp_path / name.replace("@", "@one")) for name in UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", *named], capture_output=True, text=True, check=False, timeout=60,
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "outgate" in line]
    assert (done.returncode, said) == (0, [])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".service")])
def test_the_units_are_hardened(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(SYSTEMD / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, (done.stdout + done.stderr)[-200:]


def test_the_agent_of_systemd_shares_the_network_of_its_socket_alone() -> None:
    agent, socket = unit("outgate-agent@.service"), unit("outgate-agent@.socket")
    assert (agent["PrivateNetwork"], socket["PrivateNetwork"]) == (["yes"], ["yes"])
    assert agent["JoinsNamespaceOf"] == ["outgate-agent@%i.socket"]
    assert socket["Service"] == ["outgate-link@%i.service"]
    assert agent["User"] != unit("outgate.service")["User"]
    # Buses, resolvers and container engines have their sockets there.
    assert agent["TemporaryFileSystem"] == ["/run:ro /var:ro"]


def test_the_link_can_connect_to_loopback_alone() -> None:
    link = unit("outgate-link@.service")
    assert (link["IPAddressDeny"], link["IPAddressAllow"]) == (["any"], ["localhost"])
    listens = unit("outgate.service")["ExecStart"][0].partition("--listen ")[2].split()[0]
    assert link["ExecStart"][0].split()[1] == listens == unit("outgate-agent@.socket")["ListenStream"][0]


def test_the_key_of_systemd_is_a_credential_of_the_unit() -> None:
    assert unit("outgate.service")["LoadCredential"] == [f"{KEY}:/etc/outgate/{KEY}"]
    assert f"file:/run/credentials/outgate.service/{KEY}" in text_of(ROOT / "docs/deploy.md")
