"""Dagster's storage on PostgreSQL, by the example's dagster.yaml: the same tables as on SQLite."""

from tests.scale.deployment import partitions, published


def test_a_study_on_postgres_has_the_tables_of_one_on_sqlite(one_machine, deployment, postgres):
    world = deployment().use("postgres", MPTA_POSTGRES_URL=postgres)
    world.run("run")
    assert not list(world.config.glob("history/**/*.db*")), "Dagster wrote to SQLite, too"
    assert partitions(world.data) == partitions(one_machine().data)
    assert published(world.data / "warehouse.duckdb") == published(one_machine().data / "warehouse.duckdb")


def test_dagsters_history_is_in_postgres(deployment, postgres):
    import psycopg2

    world = deployment().use("postgres", MPTA_POSTGRES_URL=postgres)
    world.run("run", "--until", "harmonized_wave")
    with psycopg2.connect(postgres.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from runs where status = 'SUCCESS'")
        assert cursor.fetchone()[0] >= 2
        cursor.execute("select partition from dynamic_partitions where partitions_def_name = 'survey_wave' order by 1")
        assert [row[0] for row in cursor.fetchall()] == ["gss_extract-2016", "gss_extract-2018"]
