"""One changed function put into a module that is already loaded: nothing is imported again.

Every function object whose code came from the module's file gets the code that the changed source compiles to. That
covers decorated functions, pydantic's validators and methods alike: all of them hold the same function object.
"""

from __future__ import annotations

import gc
from pathlib import Path
from types import CodeType, FunctionType

from .mutate import Mutant, tree_of


class NotInPlace(Exception):
    """The change cannot be made in what is loaded: another number of functions, or other variables around one."""


class Loaded:
    """The functions of the modules in `paths`, by their code, as they are loaded now."""

    def __init__(self, paths: list[Path]) -> None:
        wanted = {str(path.resolve()) for path in paths}
        self._functions: dict[CodeType, list[FunctionType]] = {}
        for thing in gc.get_objects():
            if isinstance(thing, FunctionType) and thing.__code__.co_filename in wanted:
                self._functions.setdefault(thing.__code__, []).append(thing)

    def change(self, mutant: Mutant) -> None:
        """Raises NotInPlace, and then nothing was changed."""
        file = str(mutant.path.resolve())
        # Why not inherited: this file's `from __future__` would be, and a module's without it compile to other code.
        before = _codes(compile(mutant.path.read_text("utf-8"), file, "exec", dont_inherit=True))
        after = _codes(compile(tree_of(mutant), file, "exec", dont_inherit=True))
        if [code.co_qualname for code in before] != [code.co_qualname for code in after]:
            raise NotInPlace(str(mutant))
        todo = [
            (function, new)
            for old, new in zip(before, after, strict=True)
            if old != new
            for function in self._functions.get(old, [])
        ]
        if not todo or any(function.__code__.co_freevars != new.co_freevars for function, new in todo):
            raise NotInPlace(str(mutant))
        for function, new in todo:
            function.__code__ = new


def _codes(code: CodeType) -> list[CodeType]:
    """All that is compiled inside, in the order of the source; not the module's own."""
    found = []
    for part in code.co_consts:
        if isinstance(part, CodeType):
            found += [part, *_codes(part)]
    return found
