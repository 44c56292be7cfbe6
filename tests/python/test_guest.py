"""The guest's side of the package, against a socket that plays the agent."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import spore

Agent = Callable[[bytes], None]


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Agent, list[bytes]]]:
    """Answers one request with the given bytes, and notes the request."""
    path = tmp_path / "agent.sock"
    monkeypatch.setenv("SPORE_AGENT_SOCKET", str(path))
    requests: list[bytes] = []
    threads = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def answer(data: bytes) -> None:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                requests.append(connection.makefile("rb").readline())
                connection.sendall(data)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()

    yield answer, requests
    for thread in threads:
        thread.join(10)
    listener.close()


_CHILD = {
    "number": 1,
    "id": "ab" * 16,
    "parent_id": "cd" * 16,
    "name": "two",
    "hostname": "spore-2",
    "mac": "02:00:00:00:00:02",
    "child_index": 2,
    "child_count": 4,
    "shard_index": 2,
    "shard_count": 4,
    "user": {"color": "blue"},
    "added_by_a_newer_agent": 1,
}


def test_outside_a_machine_there_is_one_shard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPORE_AGENT_SOCKET", str(tmp_path / "nothing"))
    for current in (spore.fixture_point(), spore.generation()):
        assert (current.number, current.shard_index, current.shard_count) == (0, 0, 1)


def test_the_fixture_point_returns_who_this_fork_is(agent: tuple[Agent, list[bytes]]) -> None:
    answer, requests = agent
    answer(json.dumps(_CHILD).encode() + b"\n")
    current = spore.fixture_point()
    assert requests == [b"fixture-point\n"]
    assert (current.hostname, current.shard_index, current.shard_count) == ("spore-2", 2, 4)
    assert current.user == {"color": "blue"}


def test_callbacks_hear_of_a_generation_until_they_are_removed(
    agent: tuple[Agent, list[bytes]],
) -> None:
    answer, _ = agent
    heard: list[int] = []
    remove = spore.on_generation(lambda current: heard.append(current.child_index))
    line = json.dumps(_CHILD).encode() + b"\n"
    answer(line)
    spore.fixture_point()
    remove()
    answer(line)
    spore.fixture_point()
    assert heard == [2]


def test_asking_for_the_generation_calls_nobody(agent: tuple[Agent, list[bytes]]) -> None:
    answer, requests = agent
    heard: list[int] = []
    remove = spore.on_generation(lambda current: heard.append(current.number))
    answer(json.dumps(_CHILD).encode() + b"\n")
    assert spore.generation().number == 1
    remove()
    assert (requests, heard) == ([b"generation\n"], [])


def test_an_agent_that_goes_away_is_an_error(agent: tuple[Agent, list[bytes]]) -> None:
    answer, _ = agent
    answer(b'{"number":')
    with pytest.raises(ConnectionError, match="without an answer"):
        spore.fixture_point()


def test_an_agent_that_refuses_says_why(agent: tuple[Agent, list[bytes]]) -> None:
    answer, _ = agent
    answer(b'{"error": "another process waits already"}\n')
    with pytest.raises(RuntimeError, match="another process waits"):
        spore.fixture_point()


def test_importing_the_package_loads_neither_the_extension_nor_pytest() -> None:
    script = (
        "import sys, spore; spore.generation();"
        "print(sorted({'spore._core', 'pytest', 'spore._pytest'} & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )
    assert loaded.stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        spore.nonsense  # noqa: B018
