"""Runs as Kubernetes jobs, through dagster-k8s' run launcher.

There is no cluster here. An API server's stand-in takes the job that the launcher submits; its manifest is looked at,
and its container's command is run as the pod would run it, with the environment that the manifest gives it. Of an
indexed job the stand-in starts such a command for each index by itself, and states how many have ended.
"""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import Popen
from urllib.parse import parse_qs

import dagster as dg
import pytest
import yaml

from tests.scale.conftest import need
from tests.scale.deployment import EXAMPLES, finish, partitions, start
from tests.scale.launch import launch, wait, without_queue

IMAGE = "registry.example/mpta:1"


class _Api(BaseHTTPRequestHandler):
    server: "_Server"

    def log_message(self, format, *args):
        """Keep the test output clean."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{len(self.server.submitted):02}Z"
        self.server.submitted.append((self.path, body))
        if body["spec"].get("completionMode") == "Indexed":
            self.server.start_pods(body)
        self._send(201, body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        assert path == "/apis/batch/v1/namespaces/mpta/jobs", path
        self._send(200, self.server.listed(parse_qs(query)["labelSelector"][0]))

    def _send(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Api)
        self.submitted: list[tuple[str, dict]] = []
        self.pods: dict[str, list[Popen]] = {}
        self.environment: dict[str, str] = {}
        self.killed: tuple[int, ...] = ()

    def start_pods(self, job):
        """Run the command of each index, but of those whose pods never start."""
        [container] = job["spec"]["template"]["spec"]["containers"]
        own = {e["name"]: e["value"] for e in container["env"] if "value" in e} | self.environment
        command = [*container.get("command", []), *container["args"]]
        indexes = [i for i in range(job["spec"]["completions"]) if i not in self.killed]
        started = [start(command, own | {"JOB_COMPLETION_INDEX": str(i)}) for i in indexes]
        self.pods[job["metadata"]["name"]] = started

    def listed(self, selector):
        """The jobs with a label, as the API lists them."""
        key, _, value = selector.partition("=")
        jobs = [job for _, job in self.submitted if job["metadata"]["labels"].get(key) == value]
        return {
            "apiVersion": "batch/v1",
            "kind": "JobList",
            "items": [job | {"status": self._status(job)} for job in jobs],
        }

    def _status(self, job):
        states = [pod.poll() for pod in self.pods[job["metadata"]["name"]]]
        status = {"active": states.count(None), "succeeded": states.count(0)}
        if None in states:
            return status
        good = states.count(0) == job["spec"]["completions"]
        condition = {"type": "Complete" if good else "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
        return status | {"conditions": [condition | {"message": "Job has reached the specified backoff limit"}]}


@pytest.fixture
def api(tmp_path, monkeypatch):
    """A stand-in of a Kubernetes API server, and a KUBECONFIG that names it."""
    need("dagster_k8s", "kubernetes")
    server = _Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = tmp_path / "kubeconfig"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                "users": [{"name": "me", "user": {}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    yield server
    server.shutdown()
    server.server_close()


def test_a_models_answers_are_made_by_a_kubernetes_job(one_machine, deployment, postgres, api, monkeypatch):
    world = deployment().use("kubernetes", MPTA_POSTGRES_URL=postgres, MPTA_IMAGE=IMAGE)
    for name, value in world.further.items():
        monkeypatch.setenv(name, value)
    without_queue(world.config)
    world.run("run", "--until", "prompts")
    run_id = launch(world, "responses", "one|sample_myths", "one|value_alignment")
    [(path, job)] = api.submitted
    assert path == "/apis/batch/v1/namespaces/mpta/jobs"
    assert run_id in job["metadata"]["name"]
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert (container["image"], pod["serviceAccountName"]) == (IMAGE, "mpta")
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "2Gi"}
    assert {m["mountPath"] for m in container["volumeMounts"]} >= {"/shared"}
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
    sources = [v["configMapRef"]["name"] for v in container["envFrom"] if "configMapRef" in v]
    # What the manifest refers to is what environment.yaml makes.
    made = list(yaml.safe_load_all((EXAMPLES / "kubernetes" / "environment.yaml").read_text()))
    names = {(m["kind"], m["metadata"]["name"]) for m in made}
    assert names >= {("PersistentVolumeClaim", c) for c in claims} | {("ConfigMap", c) for c in sources}
    assert names >= {("ServiceAccount", "mpta"), ("Namespace", "mpta"), ("RoleBinding", "mpta-jobs")}
    assert {m["metadata"].get("namespace", "mpta") for m in made} == {"mpta"}
    settings = next(m["data"] for m in made if m["kind"] == "ConfigMap")
    assert set(settings) == set(world.environment) | {"MPTA_DATA_URL", "MPTA_LEDGER_DIR", "MPTA_CLUSTER"}
    assert {"name": "MPTA_IMAGE", "value": IMAGE} in container["env"], "a run makes jobs of the same image"
    [role] = [m for m in made if m["kind"] == "Role"]
    assert role["rules"] == [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "list", "delete"]}]
    # As the pod would: its command, its own environment, then what the config map and the secret name.
    own = {e["name"]: e["value"] for e in container["env"] if "value" in e}
    finish(start([*container.get("command", []), *container["args"]], own | world.environment | world.further))
    assert wait(world, run_id) == dg.DagsterRunStatus.SUCCESS
    answers = {k: v for k, v in partitions(world.data).items() if k.startswith("tables/responses/")}
    assert sorted(answers) == [
        "tables/responses/one/sample_myths.parquet",
        "tables/responses/one/value_alignment.parquet",
    ]
    assert answers.items() <= partitions(one_machine().data).items()


def test_an_indexed_job_makes_the_chunks_of_a_large_step(deployment, postgres, api):
    alone = deployment("alone").in_chunks(12)
    command = ("run", "--tasks", "value_alignment", "--until", "prompts")
    alone.run(*command)
    world = deployment("cut").use("kubernetes", MPTA_POSTGRES_URL=postgres, MPTA_IMAGE=IMAGE).in_chunks(12)
    without_queue(world.config)
    shutil.copytree(alone.data, world.data, dirs_exist_ok=True)
    api.environment = world.environment | world.further
    for api.killed in ((), (1,)):  # all pods, and all but one that never starts
        shutil.rmtree(world.data / "tables" / "prompts")
        output = world.run(*command, MPTA_CLUSTER="kubernetes", MPTA_PARTS="3")
        _, job = api.submitted[-1]
        spec, [container] = job["spec"], job["spec"]["template"]["spec"]["containers"]
        assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
        assert spec["template"]["spec"]["restartPolicy"] == "Never" and spec["ttlSecondsAfterFinished"] == 3600
        assert (container["image"], container["resources"]["requests"]["memory"]) == (IMAGE, "2Gi")
        assert container["args"][:2] == ["sh", "-c"] and len(job["metadata"]["name"]) <= 63
        assert "prompts [value_alignment]: 3 jobs on Kubernetes make" in output
        assert f"the jobs {'left' if api.killed else 'made all'}" in output
        assert ("BackoffLimitExceeded" in output) == bool(api.killed)
        assert partitions(world.data) == partitions(alone.data)
    names = [job["metadata"]["name"] for _, job in api.submitted]
    assert len(set(names)) == 2 and names[0][:-7] == names[1][:-7], (
        "the same work, and a job that ended is not waited for"
    )


def test_a_run_inside_a_pod_reaches_the_cluster_as_pods_do(monkeypatch):
    need("dagster_k8s", "kubernetes")
    from mpta_pipeline.orchestration.kubernetes_run_launcher import KubernetesRunLauncher

    used = []
    monkeypatch.setattr("dagster_k8s.launcher.load_kubernetes_config", lambda **given: used.append(given))
    config = {
        "service_account_name": "mpta",
        "instance_config_map": "mpta-instance",
        "dagster_home": "/opt",
        "job_image": IMAGE,
        "load_incluster_config": False,
        "kubeconfig_file": "/home/me/.kube/config",
    }
    monkeypatch.delenv("KUBECONFIG", raising=False)
    for host in ("", "10.0.0.1"):
        if host:
            monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        KubernetesRunLauncher.from_config_value(None, config)
    assert [(u["load_incluster_config"], u["kubeconfig_file"]) for u in used] == [
        (False, "/home/me/.kube/config"),
        (True, None),
    ]
