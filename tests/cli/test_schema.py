"""`sessionware schema postgres` and `check-store` on PostgreSQL: what is printed, made, and left behind."""

import asyncio
import secrets

import asyncpg
import pytest

from sessionware.cli import main
from tests.postgres_server import PostgresServer
from tests.selection import is_selected

pytestmark = pytest.mark.skipif(not is_selected("postgres"), reason="not among STORES")


async def schemas(url, *, like):
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE $1", like)
        return [row[0] for row in rows]
    finally:
        await connection.close()


async def execute(url, script):
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


def test_the_sql_is_printed_without_a_database(tmp_path, monkeypatch, capsys):
    """`sessionware schema postgres | psql` is all that a database administrator needs."""
    monkeypatch.chdir(tmp_path)
    assert main(["schema", "postgres"]) == 0
    printed = capsys.readouterr().out
    assert 'CREATE SCHEMA IF NOT EXISTS "sessionware";' in printed
    assert main(["schema", "postgres", "--store", "postgresql://nobody@127.0.0.1:1/none?schema=mine"]) == 0
    assert capsys.readouterr().out == printed.replace('"sessionware"', '"mine"')


def test_the_printed_sql_is_applied_by_hand_and_the_store_needs_no_more(postgres_url, capsys):
    schema = f"test_{secrets.token_hex(8)}"
    store = f"{postgres_url}?schema={schema}&create=no"
    assert main(["sessions", "list", "--store", store]) == 2
    assert "create=no, and its schema is missing or old: run `sessionware schema postgres --apply`" in (
        capsys.readouterr().err
    )
    assert main(["schema", "postgres", "--store", store]) == 0
    asyncio.run(execute(postgres_url, capsys.readouterr().out))
    assert main(["sessions", "list", "--store", store, "--count"]) == 0
    assert capsys.readouterr().out == "0\n"


def test_applying_says_what_was_done_even_where_servers_may_not(postgres_url, monkeypatch, capsys):
    schema = f"test_{secrets.token_hex(8)}"
    monkeypatch.setenv("SESSIONWARE_STORE", f"{postgres_url}?schema={schema}&create=no")
    assert main(["schema", "postgres", "--apply"]) == 0
    assert capsys.readouterr().out.endswith(f"?schema={schema}: made, version 1\n")
    assert main(["schema", "postgres", "--apply"]) == 0
    assert capsys.readouterr().out.endswith(f"?schema={schema}: up to date, version 1\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--apply",), "--apply makes the schema in a PostgreSQL store: name it (--store postgresql://"),
        (("--store", "redis://127.0.0.1"), "--store: schema postgres is about a PostgreSQL store"),
        (("--store", "postgresql://u:hunter2@h"), "names no database"),
        (("--apply", "--store", "postgresql://u:hunter2@127.0.0.1:1/db"), "cannot be reached"),
    ],
)
def test_a_wrong_question_is_one_clear_line(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SESSIONWARE_STORE", raising=False)
    assert main(["schema", "postgres", *words]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1
    assert "hunter2" not in said


def test_an_examination_leaves_nothing_behind(capsys):
    """Beside live data, in schemas of its own."""
    with PostgresServer() as server:
        assert main(["check-store", server.url, "--only", "log"]) == 0
        assert "laws hold" in capsys.readouterr().out
        assert asyncio.run(schemas(server.url, like="check%")) == []
        assert asyncio.run(schemas(server.url, like="sessionware")) == []
