"""Of the engine's test double: kept machines. Nothing is kept; tests see what would be."""

from __future__ import annotations

import json
import os

_KEPT = os.environ.get("SPORE_DOUBLE_KEPT", "")  # the file that tells


def engine_parts(engine):
    return {"engine": engine}


def known_digest(path):
    return path


def kept_digest(_):
    return "0" * 64


def kept_limit():
    return 1 << 30


def find_kept(_):
    return None


def keep(_, label, parts, notes):
    """Keeps nothing; what would be kept is in a file, for tests."""
    info = {"digest": "0" * 64, "label": label, "parts": dict(parts), "bytes": len(notes)}
    if _KEPT:
        with open(_KEPT, "w", encoding="utf-8") as file:
            json.dump(info, file)
    return info


def kept_machines():
    if not os.path.exists(_KEPT):
        return []
    with open(_KEPT, encoding="utf-8") as file:
        return [json.load(file)]


def remove_kept(_):
    return False
