"""--log-file has with forks what it has without them, with a double of the engine.

Nobody but pytest on the host knows the file: in the machines its handler writes to the channel.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., pytest.RunResult]

_LOGS = """
    import logging, os, threading, time
    import pytest

    log = logging.getLogger("app")
    log.warning("collected")

    @pytest.fixture(scope="session")
    def base():
        log.info("base is up")
        yield
        log.info("base is down")

    @pytest.fixture
    def around(request):
        log.info("before %s", request.node.name)
        yield
        log.info("after %s", request.node.name)

    @pytest.mark.parametrize("number", range(6))
    def test_logs(number, around, base):
        time.sleep(0.05 * (number % 3))
        log.info("number %s \\u00fc\\u2603", number)
        assert number != 4

    def test_thread(base):
        thread = threading.Thread(target=lambda: log.error("from a thread\\nwith two lines"))
        thread.start()
        thread.join()

    def test_debug(base):
        log.debug("not at this level")
"""
_OPTIONS = ("--log-file-level=INFO", "--log-file-format=%(asctime)s %(levelname)s %(message)s")


def read(path: Path) -> list[str]:
    """The lines of a log file without the times; a session fixture is set up before any test."""
    text = path.read_text("utf-8")
    path.unlink()
    return [re.sub(r"^[\d:]+ ", "", line) for line in text.splitlines()]


def early(lines: list[str]) -> list[str]:
    """What a run without forks writes, with the session fixture before the first test."""
    rest = [line for line in lines if "base is up" not in line]
    return [rest[0], "INFO base is up", *rest[1:]]


@pytest.mark.parametrize("arguments", [("--log-file=logs/all.log",), ("-o", "log_file=all.log")])
def test_the_file_is_that_of_a_plain_run(
    pytester: pytest.Pytester, forked: Run, arguments: tuple[str, ...]
) -> None:
    pytester.makepyfile(_LOGS)
    path = pytester.path / arguments[-1].partition("=")[2]
    pytester.runpytest_subprocess("-p", "no:xdist", *arguments, *_OPTIONS)
    plain = early(read(path))
    assert len(plain) == 23
    result = forked(*arguments, *_OPTIONS, "--spore-dist=each")
    result.assert_outcomes(passed=7, failed=1)
    assert read(path) == plain
    # Each child takes down what it has of the fixture.
    forked(*arguments, *_OPTIONS, fork="--spore-fork=2").assert_outcomes(passed=7, failed=1)
    down = "INFO base is down"
    lines = read(path)
    assert [line for line in lines if line != down] == [line for line in plain if line != down]
    assert down in lines


def test_lines_until_a_crash_are_there(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile("""
        import logging, os
        def test_crashes():
            logging.warning("about to crash")
            os._exit(1)
        def test_after(): logging.warning("after it")
    """)
    forked("--log-file=all.log").assert_outcomes(passed=1, failed=1)
    lines = (pytester.path / "all.log").read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("about to crash")
    assert lines[1].endswith("after it")


def test_a_forked_process_does_not_write_into_the_channel(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makepyfile("""
        import logging, os
        def test_forks():
            if os.fork() == 0:
                for _ in range(1000):
                    logging.warning("from another process")
                os._exit(0)
            for _ in range(1000):
                logging.warning("from the test")
            assert os.wait()[1] == 0
    """)
    forked("--log-file=all.log").assert_outcomes(passed=1)
    assert (pytester.path / "all.log").read_text().count("from the test") == 1000


def test_without_a_log_file_there_is_none(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(_LOGS)
    forked().assert_outcomes(passed=7, failed=1)
    assert not list(pytester.path.glob("*.log"))


@pytest.mark.parametrize("message", ["text=3, test=None", "text='a', test=[]", "test=None"])
@pytest.mark.parametrize("options", [(), ("--log-file=all.log",)])
def test_nonsense_costs_the_test_that_sent_it(
    pytester: pytest.Pytester, forked: Run, message: str, options: tuple[str, ...]
) -> None:
    pytester.makepyfile(f"""
        def test_before(): pass
        def test_hostile(request):
            request.config.pluginmanager.getplugin("spore-guest").send("log", {message})
        def test_after(): pass
    """)
    result = forked(*options, fork="--spore-fork=1")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["while this test ran, the machine sent nonsense: *"])


def test_text_that_cannot_be_written_is_replaced(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makepyfile(r"""
        def test_hostile(request):
            plugin = request.config.pluginmanager.getplugin("spore-guest")
            plugin.send("log", text="a\ud800b\n", test=None)
    """)
    forked("--log-file=all.log").assert_outcomes(passed=1)
    assert (pytester.path / "all.log").read_text() == "a?b\n"
