"""What lies outside of the project and of site-packages is in the machine too, unasked."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from spore._pytest import environment

Plans = dict[str, dict[str, list[str]]]
Install = Callable[[str, Path], None]


def _plans(config: pytest.Config) -> Plans:
    return {plan.name: dict(plan.arguments) for plan in environment.plan_images(config)}


def _make(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a project to be edited, as far as its metadata tell."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(name: str, project: Path) -> None:
        origin = {"url": project.as_uri(), "dir_info": {"editable": True}}
        _make(site / f"{name}-1.dist-info/METADATA", f"Name: {name}\nVersion: 1\n")
        _make(site / f"{name}-1.dist-info/direct_url.json", json.dumps(origin))

    return install


def _add_finder(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    module = types.ModuleType("__editable___thing_1_finder")
    vars(module).update(values)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_editable_installs_are_sources_and_no_part_of_the_environment(
    pytester: pytest.Pytester, tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = tmp_path / "with space"
    _make(thing / "src/thing.py")
    install("thing", thing)
    monkeypatch.syspath_prepend(thing / "src")  # what its .pth file does
    plans = _plans(pytester.parseconfig())
    assert set(plans["project"]["paths"]) == {str(pytester.path), str(thing)}
    assert {str(thing), f"{thing}/*"} <= set(plans["environment"]["excludes"])
    assert not [path for path in plans["extra paths"]["paths"] if path.startswith(str(thing))]


def test_what_import_hooks_map_is_taken_along(
    pytester: pytest.Pytester, tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = _make(tmp_path / "thing/pyproject.toml").parent
    inside = _make(project / "package/__init__.py").parent
    outside = _make(tmp_path / "shared/outer/__init__.py").parent
    module = _make(tmp_path / "single/module.py")
    suffix = ".cpython-311-x86_64-linux-gnu.so"
    monkeypatch.setattr("importlib.machinery.all_suffixes", lambda: [".py", suffix])
    extension = _make(tmp_path / f"single/fast{suffix}")
    namespace = _make(tmp_path / "company/part/code.py").parent.parent
    _add_finder(
        monkeypatch,
        MAPPING={
            "package": str(inside),
            "outer": str(outside),
            "module": str(module.with_suffix("")),
            "fast": str(tmp_path / "single/fast"),
            "gone": str(tmp_path / "gone"),
        },
        NAMESPACES={"company": [str(namespace)]},
    )
    install("thing", project)
    expected = {pytester.path, project, outside, module, extension, namespace}
    assert set(_plans(pytester.parseconfig())["project"]["paths"]) == set(map(str, expected))


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "{",
        "[]",
        "null",
        '{"url": "file:///usr"}',
        '{"url": 7, "dir_info": {"editable": true}}',
        '{"url": "file:///usr", "dir_info": []}',
        '{"url": "https://host/usr", "dir_info": {"editable": true}}',
    ],
)
def test_other_installs_are_left_alone(
    pytester: pytest.Pytester, tmp_path: Path, install: Install, origin: str
) -> None:
    install("thing", tmp_path)
    (tmp_path / "site/thing-1.dist-info/direct_url.json").write_text(origin)
    assert _plans(pytester.parseconfig())["project"]["paths"] == [str(pytester.path)]


def test_the_environment_in_an_edited_project_stays_in_its_image(
    pytester: pytest.Pytester, tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    mono = tmp_path / "mono"
    own = _make(mono / ".venv/bin/python").parent.parent
    library = _make(mono / "library/code.py").parent
    install("mono", mono)
    config = pytester.parseconfig()
    monkeypatch.setattr(sys, "prefix", str(own))
    plans = _plans(config)
    excludes = plans["environment"]["excludes"]
    assert {str(library), f"{library}/*"} <= set(excludes)
    assert not {str(mono), str(own), f"{own}/*"} & set(excludes)
    assert f"{own}/*" in plans["project"]["excludes"]
    assert str(mono) in plans["project"]["paths"]


def test_an_editable_install_in_what_the_project_leaves_out_is_an_extra_path(
    pytester: pytest.Pytester, install: Install
) -> None:
    clone = _make(pytester.path / ".cache/clone/code.py").parent
    install("clone", clone)
    assert str(clone) in _plans(pytester.parseconfig())["extra paths"]["paths"]


def test_libraries_of_the_search_path(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = _make(tmp_path / "lib/libfoo.so.1")
    link = tmp_path / "lib/libfoo.so"
    link.symlink_to(library.name)
    _make(tmp_path / "lib/README")
    entries = [
        "/usr/lib",
        "/usr/lib/x86_64-linux-gnu",
        "relative",
        "",
        "/no/such",
        "/etc/passwd",
        library.parent,
    ]
    monkeypatch.setenv("LD_LIBRARY_PATH", ":".join(map(str, entries)))
    with_libraries = pytester.parseconfig()
    without = pytester.parseconfig("-o", "spore_env=LD_LIBRARY_PATH=")
    monkeypatch.setattr(sys, "path", [])
    assert _plans(with_libraries)["extra paths"]["paths"] == [str(link), str(library)]
    assert "extra paths" not in _plans(without)


def test_an_ini_file_elsewhere(pytester: pytest.Pytester, tmp_path: Path) -> None:
    ini = _make(tmp_path / "settings/my.ini", "[pytest]\n")
    config = pytester.parseconfig("-c", str(ini), "--rootdir", str(pytester.path))
    assert set(_plans(config)["project"]["paths"]) == {str(pytester.path), str(ini)}


def test_a_file_of_arguments(pytester: pytest.Pytester, tmp_path: Path) -> None:
    listed = _make(tmp_path / "listed/tests", "tests\n")
    config = pytester.parseconfig(f"@{listed}")
    assert str(listed) in _plans(config)["project"]["paths"]


def test_a_conftest_above_the_root_brings_what_it_can_import(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest("import helper")
    pytester.makepyfile(helper="")
    root = _make(pytester.path / "inner/pytest.ini", "[pytest]\n").parent
    monkeypatch.chdir(root)
    config = pytester.parseconfig("--rootdir=.", "--confcutdir=..")
    assert _plans(config)["project"]["paths"] == [str(pytester.path)]
    config = pytester.parseconfig("--rootdir=.", "--confcutdir=..", "--import-mode=importlib")
    monkeypatch.setattr(sys, "path", [])
    assert set(_plans(config)["project"]["paths"]) == {
        str(root),
        str(pytester.path / "conftest.py"),
    }


def test_named_tests_bring_what_they_can_import_by_their_place(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    loose = _make(tmp_path / "loose/test_it.py")
    beside = _make(tmp_path / "loose/helper.py")
    _make(tmp_path / "loose/data/large")
    package = _make(tmp_path / "package/__init__.py").parent
    _make(package / "sub/__init__.py")
    deep = _make(package / "sub/test_deep.py")
    root = f"--rootdir={pytester.path}"
    config = pytester.parseconfig(root, str(loose), f"{deep}::test_a")
    expected = {pytester.path, loose, beside, package}
    assert set(_plans(config)["project"]["paths"]) == set(map(str, expected))


def test_a_root_inside_of_a_package_brings_the_package(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = _make(pytester.path / "package/__init__.py").parent
    root = _make(package / "tests/__init__.py").parent
    _make(root / "pytest.ini", "[pytest]\n")
    monkeypatch.chdir(root)
    assert _plans(pytester.parseconfig())["project"]["paths"] == [str(package)]


def test_links_to_the_root_are_taken_along(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nspore_exclude = big\n")
    link = tmp_path / "link"
    link.symlink_to(pytester.path)
    monkeypatch.chdir("/")
    plans = _plans(pytester.parseconfig(f"--rootdir={link}", f"-c={link}/tox.ini", str(link)))
    assert set(plans["project"]["paths"]) == {str(pytester.path), str(link)}
    assert {f"{pytester.path}/big", f"{link}/big"} <= set(plans["project"]["excludes"])


def test_the_whole_host_is_never_taken(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    config = pytester.parseconfig(f"--rootdir={pytester.path}", str(pytester.path))
    monkeypatch.setattr(sys, "path", ["/"])
    plans = _plans(config)
    assert plans["project"]["paths"] == [str(pytester.path)]
    assert "extra paths" not in plans
