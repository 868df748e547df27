"""TEMPORARY"""

from typing import Literal

from .schema import Frozen, Name


class PeopleRules(Frozen):
    column: Name
    key: Literal["id"]

    @property
    def normaliser(self):
        return "sumroom/id/v1"
