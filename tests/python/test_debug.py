"""--spore-pdb, with a double of the engine."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

Run = Callable[..., pytest.RunResult]

_BOUND = 200  # seconds; only a hang gets there


class Terminal:
    """pytest, as somebody uses it who answers what is asked."""

    def __init__(self, pytester: pytest.Pytester, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "spore_double", "--spore-pdb", *arguments],
            cwd=pytester.path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.printed = ""
        self._seen = 0

    def expect(self, text: str) -> None:
        """Waits for `text`, behind all that was expected before."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + _BOUND
        while (found := self.printed.find(text, self._seen)) < 0:
            assert time.monotonic() < deadline, f"no {text!r} in {self.printed[self._seen :]}"
            if select.select([self._process.stdout], [], [], 0.1)[0]:
                data = os.read(self._process.stdout.fileno(), 65536)
                assert data, f"no {text!r} in {self.printed[self._seen :]}"
                self.printed += data.decode()
        self._seen = found + len(text)

    def type(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def finish(self) -> int:
        rest, _ = self._process.communicate(timeout=_BOUND)
        self.printed += rest.decode()
        return self._process.returncode

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start(pytester: pytest.Pytester, forked: Run) -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def run(*arguments: str) -> Terminal:
        started.append(Terminal(pytester, *arguments))
        return started[-1]

    yield run
    for terminal in started:
        terminal.close()


_FAILING = """
    import pytest

    @pytest.fixture
    def account():
        holder = {"balance": 40}
        yield holder
        holder.clear()

    def test_before(): pass

    def test_pays(account):
        wanted = 100
        print("captured words")
        assert account["balance"] >= wanted

    def test_after(): pass
"""


def test_the_frame_of_a_failure_is_there_as_often_as_wanted(
    pytester: pytest.Pytester, start: Callable[..., Terminal]
) -> None:
    pytester.makepyfile(_FAILING)
    terminal = start("--spore-fork=1")
    for again in ("y", "n"):
        terminal.expect("assert 40 >= 100")
        terminal.expect("(Pdb)")
        terminal.type("account['balance'], wanted")
        terminal.expect("(40, 100)")
        terminal.expect("(Pdb)")
        terminal.type("account['balance'] = 7")
        terminal.expect("(Pdb)")
        terminal.type("q")
        terminal.expect("again from the same moment? [y/N]")
        terminal.type(again)
    assert terminal.finish() == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 2 passed" in terminal.printed
    assert "captured words" in terminal.printed
    assert "test_pays failed: pdb in a fork of its machine" in terminal.printed


def test_each_failure_has_its_turn(
    pytester: pytest.Pytester, start: Callable[..., Terminal]
) -> None:
    pytester.makepyfile("""
        import pytest
        @pytest.mark.parametrize("number", range(3))
        def test_fails(number): assert number > 5
    """)
    terminal = start("--spore-fork=2", "--spore-timeout=30")
    for _ in range(3):
        terminal.expect("(Pdb)")
        terminal.type("c")
        terminal.expect("again from")
        terminal.type("")
    assert terminal.finish() == pytest.ExitCode.TESTS_FAILED
    assert "3 failed" in terminal.printed


def test_the_end_of_input_leaves_the_debugger(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(_FAILING)
    result = forked("--spore-pdb")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*(Pdb)*"])


def test_a_run_that_passes_asks_nothing(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("def test_a(): pass")
    result = forked("--spore-pdb")
    result.assert_outcomes(passed=1)
    assert "Pdb" not in result.stdout.str()


def test_pytests_own_pdb_is_refused(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("def test_a(): pass")
    result = forked("--pdb")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*use --spore-pdb, or run the test without --spore-fork*"])
