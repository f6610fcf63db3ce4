"""Classes and functions of the user's own, named by ``_target_`` in the config: found and checked before a call."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from unet_train.errors import UserError
from unet_train.nearest import nearest


def locate(name: str, where: str) -> Callable[..., Any]:
    """The class or function a `_target_` names.

    Raises
    ------
    UserError
        If it cannot be imported.
    """
    module_name, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, ValueError) as error:
        raise UserError(f"{where}._target_={name}: cannot be imported ({error})") from error
    except AttributeError:
        module = importlib.import_module(module_name)
        hint = nearest(f"{module_name}.{attribute}", [f"{module_name}.{known}" for known in dir(module)])
        raise UserError(f"{where}._target_={name}: {module_name} has no {attribute}{hint}") from None


def call_target(
    name: str,
    where: str,
    arguments: dict[str, Any],
    offered: dict[str, Any] | None = None,
    inside: str | None = None,
) -> Any:
    """Call what a `_target_` names with `arguments`, checked against its signature first.

    Parameters
    ----------
    name, where
        Dotted name, and the section of the config it stands in.
    arguments
        What the user set.
    offered
        Passed where the signature takes them and the user has not set them.
    inside
        Where the arguments stand, if not in the section itself.

    Raises
    ------
    UserError
        For an argument it does not take (with the nearest it takes) or one that is missing.
    """
    function = check_call(name, where, arguments, offered or {}, inside)
    parameters = inspect.signature(function).parameters
    return function(**{k: v for k, v in (offered or {}).items() if k in parameters} | arguments)


def check_call(
    name: str, where: str, arguments: dict[str, Any], offered: Iterable[str], inside: str | None = None
) -> Callable[..., Any]:
    """What `call_target` checks before it calls: the function or class, whose signature takes the arguments.

    Raises
    ------
    UserError
    """
    function = locate(name, where)
    parameters = inspect.signature(function).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for argument in arguments:
        if argument not in parameters and not anything:
            hint = nearest(argument, parameters)
            raise UserError(f"{inside or where}.{argument}: {name} takes no such argument{hint}")
    given = dict.fromkeys(k for k in offered if k in parameters) | arguments
    try:
        inspect.signature(function).bind(**given)
    except TypeError as error:
        raise UserError(f"{where}: {name}: {error}") from None
    return function
