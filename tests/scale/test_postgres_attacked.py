"""Dagster's storage on PostgreSQL under attack: the command is killed, the database is killed, it is not there."""

import time

import pytest

from tests.scale import services
from tests.scale.conftest import need
from tests.scale.deployment import finish, partitions

PASSWORD = "very-secret-word"
CONNECTIONS = 16
RUN = ("run", "--until", "scores")


@pytest.fixture
def database():
    """A server of its own, whose URL has a password that must be shown nowhere."""
    need("dagster_postgres", "psycopg2")
    if services.postgres_programs() is None:
        pytest.skip("initdb is absent: apt-get install postgresql")
    with services.postgres_server() as server:
        server.url = server.url.replace("mpta@", f"mpta:{PASSWORD}@")
        yield server


def tables(world):
    """Stored partitions; responses have times."""
    return {name: content for name, content in partitions(world.data).items() if "responses" not in name}


def until(condition, process):
    deadline = time.monotonic() + 300
    while not condition() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


def test_kills_of_command_and_database_lose_nothing(deployment, endpoint, database):
    whole = deployment("whole")
    whole.run(*RUN)
    world = deployment().use("postgres", MPTA_POSTGRES_URL=database.url)
    endpoint.asked.clear()
    endpoint.delay = 0.1
    try:
        process = world.start(*RUN)
        until(lambda: endpoint.calls >= 8, process)
        process.kill()
        process.communicate()
        process = world.start(*RUN)
        asked = endpoint.calls
        until(lambda: endpoint.calls >= asked + 8, process)
        database.kill()
        said, _ = process.communicate(timeout=300)
    finally:
        endpoint.delay = 0.0
    assert process.returncode == 1 and "cannot be used" in said and "Remedy: " in said, said
    assert "Traceback" not in said and "bug" not in said and PASSWORD not in said, said
    said, _ = world.start(*RUN).communicate(timeout=300)
    assert "cannot be used" in said and PASSWORD not in said, "the database is not there"
    database.start()
    finish(world.start(*RUN))
    assert tables(world) == tables(whole)
    assert sum(times - 1 for times in endpoint.asked.values()) <= 2 * CONNECTIONS, "only what was in flight"
    assert {status for (status,) in _rows(database.url, "select distinct status from runs")} <= {"SUCCESS", "FAILURE"}
    held = [p for p in world.data.rglob("*") if p.is_file() and PASSWORD.encode() in p.read_bytes()]
    assert held == [], "the password is in no file of ours"
    before = endpoint.calls
    finish(world.start(*RUN))
    assert endpoint.calls == before


def _rows(url, query):
    import psycopg2

    with psycopg2.connect(url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()
