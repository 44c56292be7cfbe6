"""The package and the plugin with real machines, in the nest or wherever `auto` finds a place."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
import spore

pytestmark = pytest.mark.nest

_FORK = "--spore-fork=4"
_TIMEOUT = 600


@pytest.fixture(scope="module")
def session() -> Iterator[spore.Session]:
    with spore.Session.open() as session:
        yield session


@pytest.fixture(scope="module")
def image() -> spore.Image:
    return spore.build_image(programs=["uname", "cat", "sleep"], base_system=True)


@pytest.fixture
def machine(session: spore.Session, image: spore.Image) -> Iterator[spore.Machine]:
    with session.boot(memory=256 << 20, images=[image]) as machine:
        yield machine


def test_a_command_runs_in_a_machine(machine: spore.Machine) -> None:
    result = machine.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in\n", timeout=60)
    assert (result.stdout, result.stderr, result.status) == ("in\n", "err\n", 3)


def test_children_differ_and_share(machine: spore.Machine) -> None:
    children = machine.capture().fork(3)
    who = [child.run(["cat", "/proc/sys/kernel/hostname"], timeout=60).stdout for child in children]
    assert who == ["spore-0\n", "spore-1\n", "spore-2\n"]
    assert len({child.generation.id for child in children}) == 3
    for child in children:
        assert child.stats().private_bytes < child.stats().memory_bytes / 2


def test_closing_wakes_who_waits_and_names_the_end(machine: spore.Machine) -> None:
    process = machine.exec(["sleep", "1000"])
    assert process.next_event(timeout=0) is None
    machine.close()
    with pytest.raises(spore.MachineEnded):
        process.wait(timeout=60)
    assert machine.ended is not None


def test_a_program_that_is_not_there_is_not_found(machine: spore.Machine) -> None:
    with pytest.raises(spore.NotFound):
        machine.run(["no-such-program"], timeout=60)


def test_ctrl_c_interrupts_a_wait(image: spore.Image) -> None:
    script = (
        "import spore, sys\n"
        "with spore.Session.open() as session, session.boot(images=sys.argv[1:]) as machine:\n"
        "    process = machine.exec(['sleep', '1000'])\n"
        "    print('waiting', flush=True)\n"
        "    process.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, image.path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as popen:
        assert popen.stdout is not None
        assert popen.stdout.readline() == b"waiting\n"
        popen.send_signal(signal.SIGINT)
        _, err = popen.communicate(timeout=60)
    assert b"KeyboardInterrupt" in err


# ---- the plugin -----------------------------------------------------------------------------

_SUITE = """
    import os
    import pathlib
    import random
    import uuid

    import pytest

    @pytest.fixture(scope="session")
    def prepared(tmp_path_factory):
        path = tmp_path_factory.mktemp("data") / "table"
        path.write_text("rows")
        return path

    @pytest.fixture(scope="session")
    def broken():
        raise ValueError("no data")

    @pytest.mark.parametrize("number", range(12))
    def test_destroys(prepared, number):
        assert prepared.read_text() in ("rows", "gone")
        prepared.write_text("gone")

    def test_fails(prepared):
        assert 0

    def test_needs_broken(broken):
        pass

    def test_skipped():
        pytest.skip("no")

    @pytest.mark.xfail
    def test_expected():
        assert 0
"""


def _outcomes(path: Path) -> dict[str, list[str]]:
    cases: dict[str, list[str]] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        cases.setdefault(name, []).extend(kinds)
    return {name: sorted(kinds) for name, kinds in cases.items()}


def test_outcomes_are_those_of_plain_pytest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_suite=_SUITE, test_other="def test_more(): pass")
    plain = pytester.runpytest_subprocess("--junitxml=plain.xml", timeout=_TIMEOUT)
    result = pytester.runpytest_subprocess(_FORK, "--junitxml=forked.xml", timeout=_TIMEOUT)
    assert result.ret == plain.ret
    assert _outcomes(pytester.path / "forked.xml") == _outcomes(pytester.path / "plain.xml")
    assert result.parseoutcomes() == plain.parseoutcomes()


def test_children_are_different_machines(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import os, random, socket, uuid
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def seeded():
            random.seed(1)

        @pytest.mark.parametrize("number", range(4))
        def test_it(number):
            print(f"host={socket.gethostname()}")
            print(f"uuid={uuid.uuid4()} random={random.random()} bytes={os.urandom(16).hex()}")
    """)
    result = pytester.runpytest_subprocess(_FORK, "-rP", timeout=_TIMEOUT)
    text = result.stdout.str()
    for name in ("host", "uuid", "random", "bytes"):
        assert len(set(re.findall(rf"{name}=(\S+)", text))) == 4, name
    result.stdout.fnmatch_lines(["forked:*4 children*", "memory:*"])


@pytest.mark.long
def test_a_crash_costs_one_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import ctypes, os, threading
        def wait_here(): threading.Event().wait()
        def test_hangs(): wait_here()
        def test_before(): pass
        def test_exits(): os._exit(3)
        def test_segfault(): ctypes.string_at(0)
        def test_panic(): open("/proc/sysrq-trigger", "w").write("c")
        def test_after(): pass
    """)
    result = pytester.runpytest_subprocess(_FORK, "-rA", "--spore-timeout=30", timeout=_TIMEOUT)
    result.assert_outcomes(passed=2, failed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines_random(
        [
            *("*status 3", "*signal 11 (SIGSEGV)", "*panic*"),
            *("*--spore-timeout=30 passed; *(SIGABRT)", "*line 2 in wait_here"),
        ]
    )


def test_a_run_that_stops_early_ends_as_without_forks(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(): assert 0\ndef test_b(): assert 0")
    result = pytester.runpytest_subprocess(_FORK, "-x", timeout=_TIMEOUT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1)


@pytest.mark.long
def test_a_failed_test_keeps_its_machine(pytester: pytest.Pytester, program: str) -> None:
    pytester.makepyfile("""
        import pathlib
        import pytest

        @pytest.fixture
        def data(tmp_path):
            path = pathlib.Path("/tmp/data")
            path.write_text("set up")
            yield path
            path.unlink()

        def test_passes(data): pass
        def test_fails(data):
            data.write_text("as it was")
            assert 0
    """)
    result = pytester.runpytest_subprocess(
        "--spore-fork=2", "--spore-keep-failed=kept", timeout=_TIMEOUT
    )
    result.assert_outcomes(passed=1, failed=1)
    (kept,) = pytester.path.glob("kept/1/*test_fails")
    assert not any(pytester.path.glob("kept/1/*test_passes"))
    command = f"spore run --from {kept.relative_to(pytester.path)} -- "
    result.stdout.fnmatch_lines(["*Kept machine*", f"{command}sh"])
    for _ in range(2):  # it stays at that moment
        done = subprocess.run(
            [program, "run", "--from", kept, "--", "cat", "/tmp/data"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
        assert (done.returncode, done.stdout) == (0, "as it was"), done.stderr
