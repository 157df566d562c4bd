"""Constraints between knobs, such as `batch_size * lr <= 0.1`, evaluated without running code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from img2gps.core.errors import BadInput

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_OPERATORS = (*_BINARY, *_COMPARED, ast.USub, ast.Not, ast.And, ast.Or, ast.Load)
_EXPRESSIONS = (
    ast.Constant,
    ast.Name,
    ast.Attribute,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
)
_REMEDY = "compare knobs and numbers with + - * / < <= > >= == != and or not"


def check_requirements(lines: Sequence[str], knobs: Sequence[str]) -> None:
    """Check constraints before anything runs.

    Raises:
        BadInput: a constraint cannot be read, or names a knob that is not varied.
    """
    for line in lines:
        tree = _tree(line)
        _check_kinds(tree, line)
        for knob in _names(tree):
            if knob not in knobs:
                raise BadInput(
                    f"hydra.sweeper.require: {line}: {knob} is not varied by this study; name one "
                    f"of {', '.join(knobs)}"
                )


def meets(params: Mapping[str, Any], lines: Sequence[str]) -> bool:
    """Whether a cell meets all constraints; one on a knob that the cell lacks does not apply.

    >>> meets({"lr": 0.01, "batch_size": 16}, ["batch_size * lr <= 0.1"])
    False
    """
    trees = [(line, _tree(line)) for line in lines]
    return all(
        bool(_value(tree, params, line)) for line, tree in trees if {*_names(tree)} <= {*params}
    )


def _tree(line: str) -> ast.expr:
    try:
        return ast.parse(str(line).strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        offset = getattr(error, "offset", None)
        place = f" at character {offset}" if offset else " to its end"
        raise BadInput(
            f"hydra.sweeper.require: {line}: cannot be read{place}; {_REMEDY}"
        ) from error


def _check_kinds(tree: ast.expr, line: str) -> None:
    """Check that there is nothing but arithmetic and comparisons."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.expr):
            continue
        operators = (n for n in ast.iter_child_nodes(node) if not isinstance(n, ast.expr))
        known = isinstance(node, _EXPRESSIONS) and all(isinstance(n, _OPERATORS) for n in operators)
        if not known:
            raise BadInput(
                f"hydra.sweeper.require: {line}: {ast.unparse(node)}, at character "
                f"{node.col_offset + 1}, is not known; {_REMEDY}"
            )


def _names(node: ast.AST) -> Iterator[str]:
    """Return the knobs that are named; `scheduler.gamma` is one."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield ast.unparse(node)
        return
    for child in ast.iter_child_nodes(node):
        yield from _names(child)


def _value(node: ast.expr, params: Mapping[str, Any], line: str) -> Any:
    match node:
        case ast.Constant(value=int() | float() | str() as value):
            return value
        case ast.Name() | ast.Attribute():
            return params[ast.unparse(node)]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            found = _value(left, params, line), _value(right, params, line)
            return _applied(_BINARY[type(op)], *found, line)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _applied(operator.sub, 0, _value(operand, params, line), line)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, params, line)
        case ast.BoolOp(op=op, values=values):
            together = all if isinstance(op, ast.And) else any
            return together(_value(value, params, line) for value in values)
        case ast.Compare(left=left, ops=ops, comparators=rest) if {*map(type, ops)} <= {*_COMPARED}:
            sides = [_value(side, params, line) for side in (left, *rest)]
            pairs = zip(ops, sides[:-1], sides[1:], strict=True)
            return all(_applied(_COMPARED[type(op)], a, b, line) for op, a, b in pairs)
    raise BadInput(f"hydra.sweeper.require: {line}: {ast.unparse(node)} is not known; {_REMEDY}")


def _applied(what: Callable[[Any, Any], Any], one: Any, other: Any, line: str) -> Any:
    try:
        return what(one, other)
    except (TypeError, ArithmeticError) as error:
        raise BadInput(
            f"hydra.sweeper.require: {line}: cannot be computed ({error}); compare numbers with "
            "numbers, and divide by nothing that can be 0"
        ) from error
