"""Plain values with one thing wrong, and how they become files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocols.encoding import canonical

Files = dict[str, bytes]


def changed(document: Any, *at: Any, to: Any) -> Any:
    """A copy of plain values with one of them changed."""
    if not at:
        return to
    copy: Any = list(document) if isinstance(document, list) else dict(document)
    copy[at[0]] = changed(copy.get(at[0]) if isinstance(copy, dict) else copy[at[0]], *at[1:], to=to)
    return copy


def without(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def as_json(files: Mapping[str, Any]) -> Files:
    return {f"{name}.json": value if isinstance(value, bytes) else canonical(value) for name, value in files.items()}
