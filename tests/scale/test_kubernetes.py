"""Runs as Kubernetes jobs, through dagster-k8s' run launcher.

There is no cluster here. An API server's stand-in takes the job that the launcher submits; its manifest is looked at,
and its container's command is run as the pod would run it, with the environment that the manifest gives it.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
        self.server.submitted.append((self.path, body))
        data = json.dumps(body).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Api)
        self.submitted: list[tuple[str, dict]] = []


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
    assert names >= {("ServiceAccount", "mpta"), ("Namespace", "mpta")}
    assert {m["metadata"].get("namespace", "mpta") for m in made} == {"mpta"}
    settings = next(m["data"] for m in made if m["kind"] == "ConfigMap")
    assert set(settings) == set(world.environment) | {"MPTA_DATA_URL", "MPTA_LEDGER_DIR"}
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
