"""Makes a package directory importable, and its pytest plugin active, in this interpreter's
environment, without building it a second time.

    .venv/bin/python python/dev_install.py build/python

writes a .pth file and the metadata that pytest finds plugins by. `pip uninstall spore` removes it.
"""

from __future__ import annotations

import argparse
import sysconfig
from pathlib import Path

_NAME = "spore"
_ENTRY_POINTS = "[pytest11]\nspore = spore.pytest_plugin\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, help="the directory that holds the package spore")
    parser.add_argument("--version", default="0.1.0")
    arguments = parser.parse_args()
    directory = arguments.directory.resolve()
    if not (directory / _NAME / "__init__.py").is_file():
        parser.error(f"there is no package {_NAME} in {directory}: build it first")

    site_packages = Path(sysconfig.get_path("purelib"))
    information = site_packages / f"{_NAME}-{arguments.version}.dist-info"
    information.mkdir(exist_ok=True)
    files = {
        site_packages / f"{_NAME}-dev.pth": f"{directory}\n",
        information / "METADATA": (
            f"Metadata-Version: 2.1\nName: {_NAME}\nVersion: {arguments.version}\n"
        ),
        information / "entry_points.txt": _ENTRY_POINTS,
        information / "INSTALLER": "dev_install\n",
    }
    record = information / "RECORD"
    names = [str(path.relative_to(site_packages)) for path in [*files, record]]
    files[record] = "".join(f"{name},,\n" for name in names)
    for path, text in files.items():
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    main()
