"""Files that tests leave come home from their machines, with a double of the engine.

Its machines are processes of this host, so pytest in them is given another directory than pytest on
the host: what lies in the host's came over the channel.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from spore._pytest import artifacts, frames, transfer

Run = Callable[..., pytest.RunResult]

_ELSEWHERE_IN_THE_MACHINE = """
    import os, pytest

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(config):
        if "SPORE_PYTEST_GUEST" in os.environ:
            config.option.spore_artifacts = "inside"
"""

_LEAVES = """
    import os, pytest

    @pytest.fixture
    def late(spore_artifacts):
        yield
        (spore_artifacts / "late.txt").write_text("after the test")

    def test_small(spore_artifacts):
        (spore_artifacts / "a" / "b").mkdir(parents=True)
        (spore_artifacts / "a" / "b" / "\\u00fc.txt").write_text("small")
        (spore_artifacts / "empty").touch()

    @pytest.mark.parametrize("text", ["a b", "a/b"])
    def test_fails(late, spore_artifacts, text):
        (spore_artifacts / "big").write_bytes(bytes(range(256)) * 4000 + text.encode())
        assert 0

    def test_leaves_nothing(spore_artifacts):
        assert list(spore_artifacts.iterdir()) == []

    def test_does_not_use_it(): pass
"""


def files_below(directory: Path) -> dict[str, bytes]:
    paths = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(paths)}


@pytest.mark.parametrize("arguments", [(), ("--spore-dist=each",), ("--spore-artifacts=x/y",)])
def test_files_are_where_a_plain_run_leaves_them(
    pytester: pytest.Pytester, forked: Run, arguments: tuple[str, ...]
) -> None:
    pytester.makeconftest(_ELSEWHERE_IN_THE_MACHINE)
    pytester.makepyfile(_LEAVES)
    home = pytester.path / ("x/y" if arguments == ("--spore-artifacts=x/y",) else "spore-artifacts")
    pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)
    plain = files_below(home)
    assert len(plain) == 6
    home.rename(pytester.path / "of-the-plain-run")
    result = forked(*arguments)
    result.assert_outcomes(passed=3, failed=2)
    assert files_below(home) == plain
    assert len(list(home.iterdir())) == 3  # nothing is left of how they came
    name = "x/y" if "x/y" in str(home) else "spore-artifacts"
    result.stdout.fnmatch_lines([f"files:   6 of 3 tests in {name}"])


def test_another_run_replaces_them(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makeconftest(_ELSEWHERE_IN_THE_MACHINE)
    pytester.makepyfile("""
        import os
        def test_a(spore_artifacts):
            (spore_artifacts / os.environ["NAME"]).touch()
    """)
    home = pytester.path / "spore-artifacts"
    for name in ("one", "two"):
        forked(f"--override-ini=spore_env=NAME={name}").assert_outcomes(passed=1)
        assert [Path(path).name for path in files_below(home)] == [name]


def test_nothing_is_made_where_nothing_is_left(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makeconftest(_ELSEWHERE_IN_THE_MACHINE)
    pytester.makepyfile("def test_a(spore_artifacts): pass")
    result = forked()
    result.assert_outcomes(passed=1)
    assert not (pytester.path / "spore-artifacts").exists()
    assert "files:" not in result.stdout.str()


def test_links_stay_and_are_told(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makeconftest(_ELSEWHERE_IN_THE_MACHINE)
    pytester.makepyfile("""
        import os
        def test_a(spore_artifacts):
            (spore_artifacts / "plain").touch()
            (spore_artifacts / "link").symlink_to("/etc/passwd")
            (spore_artifacts / "directory").symlink_to("/etc")
            os.mkfifo(spore_artifacts / "pipe")
    """)
    result = forked()
    home = pytester.path / "spore-artifacts"
    assert [Path(path).name for path in files_below(home)] == ["plain"]
    result.stdout.fnmatch_lines(["left:    3 files of test *::test_a did not come (at most *"])


def test_too_many_are_told(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makeconftest(_ELSEWHERE_IN_THE_MACHINE)
    pytester.makepyfile("""
        def test_a(spore_artifacts):
            from spore._pytest import transfer
            transfer.MOST_FILES = 20
            for number in range(25):
                (spore_artifacts / f"{number:04}").touch()
    """)
    result = forked()
    result.assert_outcomes(passed=1)
    assert len(files_below(pytester.path / "spore-artifacts")) == 20
    result.stdout.fnmatch_lines(["left:    5 files of test *::test_a did not come (at most *"])


def test_of_repeated_tests_those_of_the_told_run_come(
    pytester: pytest.Pytester, forked: Run
) -> None:
    pytester.makeconftest(_ELSEWHERE_IN_THE_MACHINE)
    pytester.makepyfile("""
        import pathlib
        def test_flaky(spore_artifacts):
            runs = pathlib.Path(__file__).with_name("runs")
            with runs.open("a") as file:
                file.write("x")
            run = runs.stat().st_size
            (spore_artifacts / "run").write_text(str(run))
            assert run not in (3, 4)
    """)
    forked("--spore-repeat=5", fork="--spore-fork=1").assert_outcomes(failed=1)
    assert list(files_below(pytester.path / "spore-artifacts").values()) == [b"3"]


def test_after_the_end_of_a_run_nothing_comes(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makeconftest(_ELSEWHERE_IN_THE_MACHINE)
    pytester.makepyfile("""
        import pytest
        @pytest.mark.parametrize("number", range(6))
        def test_a(number, spore_artifacts):
            (spore_artifacts / "file").touch()
            assert number != 1
    """)
    forked("-x").assert_outcomes(passed=1, failed=1)
    home = pytester.path / "spore-artifacts"
    assert sorted(path.name[-3:] for path in home.iterdir()) == ["a-0", "a-1"]


_HOSTILE = """
    import base64, pytest

    def sends(request, kind, **values):
        plugin = request.config.pluginmanager.getplugin("spore-guest")
        plugin.send(kind, **{{"place": "artifacts", "parcel": "0" * 32, **values}})

    def test_before(): pass

    def test_hostile(request):
        data = base64.b64encode(b"evil").decode()
        sends(request, "file", **{{"path": "file", "data": data, **{file}}})
        sends(request, "parcel", **{{"name": "test", "left_out": 0, **{parcel}}})

    def test_after(): pass
"""


@pytest.mark.parametrize(
    ("file", "parcel"),
    [
        ({"path": "../evil"}, {}),
        ({"path": "/tmp/evil"}, {}),
        ({"path": "a/../../evil"}, {}),
        ({"path": "a//b"}, {}),
        ({"path": "a\0b"}, {}),
        ({"path": "\ud800"}, {}),
        ({"path": "x" * 300}, {}),
        ({"path": ["a"]}, {}),
        ({"data": "not base64"}, {}),
        ({"data": None}, {}),
        ({"parcel": "../../evil"}, {}),
        ({"place": "elsewhere"}, {}),
        ({"place": []}, {}),
        ({}, {"name": 3}),
        ({}, {"left_out": "many"}),
        ({}, {"parcel": None}),
    ],
)
def test_nonsense_costs_the_test_that_sent_it(
    pytester: pytest.Pytester, forked: Run, file: dict[str, object], parcel: dict[str, object]
) -> None:
    pytester.makepyfile(_HOSTILE.format(file=ascii(file), parcel=ascii(parcel)))
    result = forked(fork="--spore-fork=1")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["while this test ran, the machine sent nonsense: *"])
    assert not [path for path in pytester.path.rglob("*") if "evil" in path.name]
    assert files_below(pytester.path / "spore-artifacts") == {}


def test_a_name_that_leads_elsewhere_leads_nowhere(pytester: pytest.Pytester, forked: Run) -> None:
    parcel = {"name": "../../../../evil"}
    pytester.makepyfile(_HOSTILE.format(file={}, parcel=parcel))
    forked(fork="--spore-fork=1").assert_outcomes(passed=3)
    home = pytester.path / "spore-artifacts"
    assert [path.parent for path in home.rglob("file")] == [home / "evil"]


def test_a_directory_over_its_limits_is_refused(tmp_path: Path) -> None:
    receiver = transfer.Receiver(tmp_path)
    piece = {"type": "file", "parcel": "a" * 32, "data": ""}
    for number in range(transfer.MOST_FILES):
        receiver.take_file({**piece, "path": str(number)})
    with pytest.raises(frames.FrameError, match="over its limits"):
        receiver.take_file({**piece, "path": "one more"})
    large = base64.b64encode(bytes(transfer.MOST_BYTES // 4)).decode()
    piece = {**piece, "parcel": "b" * 32, "path": "a", "data": large}
    for _ in range(4):
        receiver.take_file(piece)
    with pytest.raises(frames.FrameError, match="over its limits"):
        receiver.take_file(piece)
    receiver.close()
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_a_file_and_a_directory_is_refused(tmp_path: Path) -> None:
    for first, second in (("a", "a/b"), ("a/b", "a")):
        receiver = transfer.Receiver(tmp_path)
        piece = {"type": "file", "parcel": "a" * 32, "data": ""}
        receiver.take_file({**piece, "path": first})
        with pytest.raises(frames.FrameError, match="a file and a directory"):
            receiver.take_file({**piece, "path": second})
        receiver.close()


def test_names_are_readable_and_differ() -> None:
    assert artifacts.directory_name("tests/test_a.py::T::test_b[1-x]") == (
        "tests-test_a.py--T--test_b-1-x"
    )
    tests = [f"test_a.py::test_b[{text}]" for text in ("a b", "a/b", "a-b", "..", "\ud800", "[]")]
    names = {artifacts.directory_name(test) for test in tests}
    assert len(names) == len(tests)
    assert all(name == Path(name).name and name not in ("", ".", "..") for name in names)
