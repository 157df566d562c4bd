"""Calling a user's own class or function that the configuration names with `_target_`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from img2gps.core.errors import BadInput


def make_own(key: str, node: Mapping[str, Any], *args: Any) -> Any:
    """Return what `_target_` returns for the arguments in the node, after `args`.

    Raises:
        BadInput: the name cannot be found, or the call fails.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(dict(node), *args)
    except InstantiationException as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise BadInput(
            f"{key}._target_: cannot be made ({reason}); check its name and arguments"
        ) from error


def own_function(key: str, node: Mapping[str, Any], *given: str) -> Callable[..., Any]:
    """Return a function, or an instance of a class that can be called, with its arguments bound.

    `given` names what it will be called with, in this order.

    Raises:
        BadInput: the name cannot be found, or cannot be called with these arguments.
    """
    from hydra.utils import get_object

    try:
        found = get_object(str(node["_target_"]))
    except Exception as error:  # importing a user's module may raise anything
        reason = " ".join(str(error).split())
        raise BadInput(f"{key}._target_: cannot be found ({reason}); check its name") from error
    named = {name: value for name, value in node.items() if not name.startswith("_")}
    made: Callable[..., Any]
    if isinstance(found, type):
        made = make_own(key, node)
        # The call of a torch module takes anything, and its `forward` what it says.
        _check_call(key, node, getattr(made, "forward", made), given, {})
        return made
    _check_call(key, node, found, given, named)
    made = make_own(key, {**node, "_partial_": True})
    return made


def _check_call(
    key: str,
    node: Mapping[str, Any],
    called: Callable[..., Any],
    given: Sequence[str],
    named: Mapping[str, Any],
) -> None:
    """Refuse what does not take these arguments, before training begins."""
    if not callable(called):
        raise BadInput(f"{key}._target_={node['_target_']}: cannot be called; name a function")
    try:
        signature = inspect.signature(called)
    except ValueError:  # of a function in C: its first call says what is wrong
        return
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        also = f" and the keys of the group ({', '.join(named)})" if named else ""
        raise BadInput(
            f"{key}._target_={node['_target_']}: cannot be called with ({', '.join(given)}){also}: "
            f"{error}; give it these parameters, or name it in a file "
            f"FOLDER/{key}/NAME.yaml of its own"
        ) from error
