"""Whether a part still does what its class came with: a user may replace any method, at any time."""

from __future__ import annotations

from itertools import repeat
from operator import is_
from typing import Any

# Of each class the names of its methods and properties, and what they were.
_KEPT: dict[type[Any], dict[str, Any]] = {}


def keep(*kinds: type[Any]) -> None:
    """Remember the methods and properties that classes have now, those they inherit too."""
    for kind in kinds:
        found = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("__")}
        kept = {name: value for name, value in found.items() if callable(value) or isinstance(value, property)}
        _KEPT.setdefault(kind, kept)


def untouched(part: Any, kinds: Any) -> bool:
    """Tell whether a part is of one of the kinds itself, all of them kept, with no method replaced anywhere."""
    kind = type(part)
    if kind not in kinds:
        return False
    kept = _KEPT[kind]
    # Without a loop in Python: asked of all parts before each chunk of a training.
    now = map(getattr, repeat(kind), kept, repeat(None))
    return kept.keys().isdisjoint(part.__dict__) and all(map(is_, now, kept.values()))


def replaced(part: Any, *names: str) -> bool:
    """Tell whether a part does one of these otherwise than the class that was kept: itself, or by its own class."""
    kind = type(part)
    kept = next(_KEPT[base] for base in kind.__mro__ if base in _KEPT)
    return any(name in part.__dict__ or getattr(kind, name, None) is not kept[name] for name in names)
