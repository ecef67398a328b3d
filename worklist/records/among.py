"""A condition on any number of texts at once, as one parameter of the statement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Boolean, Dialect, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeEngine


class Texts(TypeDecorator[Sequence[str]]):
    """Any number of texts as one parameter: an array on PostgreSQL, JSON on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """An array where the database has one."""
        return dialect.type_descriptor(ARRAY(Text()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:  # noqa: ANN401 - by dialect
        """The texts as the database takes them."""
        texts = list(value or ())
        return texts if dialect.name == "postgresql" else json.dumps(texts)


class among(FunctionElement[bool]):  # noqa: N801 - as SQL's own operators are written
    """Whether a column holds one of some texts, a parameter of type Texts.

    Drivers and databases know such a statement again, however many texts there are, where each of a long list of
    parameters would be parsed and planned anew.
    """

    inherit_cache = True
    name = "among"
    type = Boolean()

    def self_group(self, against: OperatorType | None = None) -> among:
        """A condition already: SQLAlchemy would have SQLite compare it with 1, and then no index serves it."""
        del against
        return self


@compiles(among, "sqlite")
def _among_json(element: among, compiler: SQLCompiler, **options: object) -> str:
    column, texts = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({texts}))"  # noqa: S608 - a column and a placeholder


@compiles(among, "postgresql")
def _among_array(element: among, compiler: SQLCompiler, **options: object) -> str:
    column, texts = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} = ANY({texts})"
