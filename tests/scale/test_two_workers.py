"""Two workers with PostgreSQL, an object store and a folder of ledgers in common share one study."""

from mpta_pipeline.core.storage import Layout
from tests.scale.deployment import MODELS, finish, partitions, published
from tests.scale.services import BUCKET


def test_two_workers_end_with_the_tables_of_one(one_machine, deployment, endpoint, postgres, s3, tmp_path, monkeypatch):
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/shared"
    common = {"MPTA_POSTGRES_URL": postgres, "MPTA_DATA_URL": url, "MPTA_LEDGER_DIR": str(tmp_path / "ledgers")}
    # Each worker has a data folder of its own, as on a machine of its own; configuration and survey files are the same.
    workers = [deployment(name).use("postgres", **common) for name in MODELS]
    endpoint.asked.clear()
    for process in [w.start("run", "--models", name) for w, name in zip(workers, MODELS, strict=True)]:
        finish(process)
    asked = endpoint.calls
    assert endpoint.asked.most_common(1)[0][1] == 1, "a question was asked twice"
    # Whoever comes last joins what the two have made; it asks nothing.
    workers[0].run("run")
    assert endpoint.calls == asked
    layout = Layout(workers[0].data, url)
    assert partitions(layout.store) == partitions(one_machine().data)
    assert published(workers[0].data / "warehouse.duckdb") == published(one_machine().data / "warehouse.duckdb")


def test_two_workers_that_ask_the_same_model_ask_nothing_twice(
    deployment, endpoint, postgres, s3, tmp_path, monkeypatch
):
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/same-model"
    common = {"MPTA_POSTGRES_URL": postgres, "MPTA_DATA_URL": url, "MPTA_LEDGER_DIR": str(tmp_path / "ledgers")}
    workers = [deployment(name).use("postgres", **common) for name in ("left", "right")]
    workers[0].run("run", "--until", "prompts")
    endpoint.asked.clear()
    for process in [w.start("run", "--models", "one", "--until", "responses") for w in workers]:
        finish(process)
    assert endpoint.asked.most_common(1)[0][1] == 1
