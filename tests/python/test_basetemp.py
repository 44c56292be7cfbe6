"""--basetemp has the temporary files of the machines, with a double of the engine.

It gives pytest in its machines, which are processes of this host, another directory: what lies in
the one that was asked for came over the channel. All children share that other directory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., pytest.RunResult]

_CONFTEST = """
    import pytest

    @pytest.fixture(scope="session")
    def base(tmp_path_factory):
        path = tmp_path_factory.mktemp("base")
        (path / "early").write_text("of the session")
        (path / "changes").write_text("before")
        return path
"""

_TESTS = """
    def test_one(tmp_path, base):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "one.txt").write_text("1")
        (base / "changes").write_text("after it")

    def test_two(tmp_path, base):
        (tmp_path / "two.txt").write_text("2")
        assert 0
"""


def files_below(directory: Path) -> dict[str, bytes]:
    """The files, but not what the links that pytest makes lead to."""
    paths = (path for path in directory.rglob("*") if path.is_file())
    below = {str(path.relative_to(directory)): path.read_bytes() for path in sorted(paths)}
    return {name: text for name, text in below.items() if "current" not in name}


def test_files_are_those_of_a_plain_run(pytester: pytest.Pytester, forked: Run) -> None:
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile(_TESTS)
    home = pytester.path / "temporary"
    (home / "child-7").mkdir(parents=True)
    result = forked(f"--basetemp={home}", fork="--spore-fork=1")
    result.assert_outcomes(passed=1, failed=1)
    assert files_below(home) == {
        "fixture-point/base0/early": b"of the session",
        "fixture-point/base0/changes": b"before",
        "child-0/base0/changes": b"after it",
        "child-0/test_one0/sub/one.txt": b"1",
        "child-0/test_two0/two.txt": b"2",
    }
    assert sorted(path.name for path in home.iterdir()) == ["child-0", "fixture-point"]
    assert not [path for path in home.rglob("*") if path.is_symlink()]
    result.stdout.fnmatch_lines(["files:   5 of 2 machines in temporary"])


@pytest.mark.parametrize("dist", ["load", "each"])
def test_each_machine_has_a_directory(pytester: pytest.Pytester, forked: Run, dist: str) -> None:
    pytester.makeconftest(_CONFTEST)
    pytester.makepyfile(_TESTS)
    home = pytester.path / "temporary"
    forked(f"--basetemp={home}", f"--spore-dist={dist}", fork="--spore-fork=2")
    assert {path.name for path in home.iterdir()} == {"fixture-point", "child-0", "child-1"}
    below = files_below(home)
    assert {name.partition("/")[2] for name in below} >= {
        "test_one0/sub/one.txt",
        "test_two0/two.txt",
    }


@pytest.mark.parametrize("name", ["'../evil'", "-1", "True", "10**9", "None", "[]"])
def test_nonsense_costs_the_test_that_sent_it(
    pytester: pytest.Pytester, forked: Run, name: str
) -> None:
    pytester.makepyfile(f"""
        import base64
        def test_before(): pass
        def test_hostile(request):
            plugin = request.config.pluginmanager.getplugin("spore-guest")
            data = base64.b64encode(b"x").decode()
            plugin.send("file", place="basetemp", parcel="0" * 32, path="evil", data=data)
            plugin.send("parcel", place="basetemp", parcel="0" * 32, name={name}, left_out=0)
        def test_after(): pass
    """)
    home = pytester.path / "temporary"
    result = forked(f"--basetemp={home}", fork="--spore-fork=1")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*the machine sent nonsense: temporary files are of no machine"])
    assert not list(pytester.path.rglob("evil"))
