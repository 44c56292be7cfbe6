"""Tests that ruin the data base, each in its own way. None of them cleans up.

With one shared server all but the first would fail; in a machine of its own each finds the data set
whole: `pytest --spore-fork=8`, a child for each, or `pytest --spore-fork --spore-dist=each`.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable

import psycopg
import pytest
from conftest import Server


def repeat(action: Callable[[], object]) -> None:
    """Until it raises: what was done to the server takes a moment to show."""
    for _ in range(1000):
        action()
        time.sleep(0.01)


def test_drop_the_table(bank: psycopg.Connection[tuple[object, ...]]) -> None:
    bank.execute("DROP TABLE account")
    with pytest.raises(psycopg.errors.UndefinedTable):
        bank.execute("SELECT * FROM account")


def test_delete_every_row(bank: psycopg.Connection[tuple[object, ...]]) -> None:
    assert bank.execute("DELETE FROM account").rowcount == 20_000


def test_take_all_the_money(bank: psycopg.Connection[tuple[object, ...]]) -> None:
    bank.execute("UPDATE account SET balance = 0 WHERE id > 1")
    assert bank.execute("SELECT sum(balance) FROM account").fetchone() == (100,)


def test_change_the_schema(bank: psycopg.Connection[tuple[object, ...]]) -> None:
    bank.execute("ALTER TABLE account RENAME COLUMN balance TO debt")
    assert bank.execute("SELECT max(debt) FROM account").fetchone() == (100,)


def test_kill_the_server(server: Server, bank: psycopg.Connection[tuple[object, ...]]) -> None:
    os.kill(server.pid(), signal.SIGKILL)
    with pytest.raises(psycopg.OperationalError):
        repeat(lambda: bank.execute("SELECT 1"))


def test_remove_its_files(server: Server, bank: psycopg.Connection[tuple[object, ...]]) -> None:
    bank.execute("CHECKPOINT")
    shutil.rmtree(server.data / "base")
    with pytest.raises(psycopg.OperationalError):
        server.connect()


def test_drop_the_database(server: Server, bank: psycopg.Connection[tuple[object, ...]]) -> None:
    with psycopg.connect(host=str(server.socket), user="postgres", autocommit=True) as other:
        other.execute("DROP DATABASE bank WITH (FORCE)")
    with pytest.raises(psycopg.OperationalError):
        bank.execute("SELECT 1")


def test_lock_everyone_out(server: Server, bank: psycopg.Connection[tuple[object, ...]]) -> None:
    (server.data / "pg_hba.conf").write_text("local all all reject\n")
    bank.execute("SELECT pg_reload_conf()")
    with pytest.raises(psycopg.OperationalError):
        repeat(lambda: server.connect().close())
