"""A real PostgreSQL server with a data set, started once for the whole session.

Under ``pytest --spore-fork`` this happens in a virtual machine, once; every child machine then owns
the running server and its data, and may do to it what it likes.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

ACCOUNTS = 20_000


def programs() -> Path:
    """The newest PostgreSQL's programs, where Debian keeps them."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[-3])
    )
    if not found:
        pytest.fail("no PostgreSQL server here: install the package postgresql")
    return found[-1].parent


@dataclass
class Server:
    """A running server and where it keeps its data."""

    data: Path
    socket: Path

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.socket), user="postgres", dbname="bank", autocommit=True
        )

    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """PostgreSQL with the data base ``bank``: 20,000 accounts of 100 units each."""
    bin_dir = programs()
    # The server refuses to be root, and its user must be able to reach the directory.
    home = Path("/tmp/spore-example-postgres")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    owner = "postgres" if os.geteuid() == 0 else None
    if owner:
        os.chown(home, pwd.getpwnam(owner).pw_uid, pwd.getpwnam(owner).pw_gid)

    def run(*command: str) -> None:
        subprocess.run(command, user=owner, cwd=home, check=True, stdout=subprocess.DEVNULL)

    data = home / "data"
    run(str(bin_dir / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync")
    options = f"-k {home} -c listen_addresses='' -c fsync=off"
    run(
        str(bin_dir / "pg_ctl"),
        "-D",
        str(data),
        "-w",
        "-l",
        str(home / "log"),
        "-o",
        options,
        "start",
    )
    with psycopg.connect(host=str(home), user="postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE bank")
    started = Server(data, home)
    with started.connect() as connection:
        connection.execute("CREATE TABLE account (id int PRIMARY KEY, owner text, balance int)")
        connection.execute(
            "INSERT INTO account SELECT i, 'owner ' || i, 100 FROM generate_series(1, %s) AS i",
            [ACCOUNTS],
        )
    yield started
    # A test may have killed it, as is its right.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(started.pid(), signal.SIGQUIT)


@pytest.fixture
def bank(server: Server) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection to the untouched data set: checked before every test."""
    with server.connect() as connection:
        row = connection.execute("SELECT count(*), sum(balance) FROM account").fetchone()
        assert row == (ACCOUNTS, ACCOUNTS * 100), "another test has been here"
        yield connection
