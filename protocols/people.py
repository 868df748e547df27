"""TEMPORARY"""
from .schema import Frozen, Name
from typing import Literal
class PeopleRules(Frozen):
    column: Name
    key: Literal["id"]
    @property
    def normaliser(self): return "sumroom/id/v1"
