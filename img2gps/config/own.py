"""Calling a user's own class or function that the configuration names with `_target_`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def own_function(key: str, node: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a function, or an instance of a class that can be called, with its arguments bound.

    Raises:
        BadInput: the name cannot be found, or the class does not take the arguments.
    """
    from hydra.utils import get_object

    try:
        is_class = isinstance(get_object(str(node["_target_"])), type)
    except Exception as error:  # importing a user's module may raise anything
        reason = " ".join(str(error).split())
        raise BadInput(f"{key}._target_: cannot be found ({reason}); check its name") from error
    made: Callable[..., Any] = make_own(key, node if is_class else {**node, "_partial_": True})
    return made
