"""Makes classes of values: frozen or mutable, with slots and keyword arguments only.

`@frozen` stands for `dataclasses.dataclass(frozen=True, slots=True,
kw_only=True)`, `@mutable` for the same without `frozen`. The standard library
writes the source of six methods for each class and compiles it, and imports
`inspect` to do so. A pass of evaluate lives for a moment: 90 classes took 40 %
of the user CPU of one with nothing due (Python 3.11, 2026-11-29). Here all
classes share the same functions, which read the class's fields.

    @frozen
    class Plan:
        license: str
        next_s: int
        asked_at: int | None = None
        lifts: Mapping[str, int] = field(default_factory=dict)

A type checker sees a dataclass (PEP 681). `dataclasses.fields`, `replace` and
`asdict`, and `copy.replace`, take such a value as they take a dataclass's. Left
out: further fields in a subclass, positional arguments, `__post_init__`, an
order and `pickle`, which nothing of ours uses.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, Protocol, TypeVar, cast, dataclass_transform, overload

if TYPE_CHECKING:
    import dataclasses

__all__ = ["FieldRule", "Record", "field", "frozen", "is_value_class", "mutable", "replace", "rules"]


class Record(Protocol):
    """An instance of a class of values, or of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, "dataclasses.Field[object]"]]


T = TypeVar("T")


class _Required:
    """The default of a field that has none."""


_REQUIRED: Final = _Required()


class FieldRule(NamedTuple):
    """One field: its name, what stands in for an argument that is not given, and where its value counts.

    A field that is not `compare` counts in no comparison and no hash, one that
    is not `hash` in no hash; one that is not `repr` is not shown.
    """

    name: str = ""  # in a class body it is not known yet
    default: object = _REQUIRED
    factory: Callable[[], object] | None = None
    compare: bool = True
    hash: bool = True
    repr: bool = True

    @property
    def has_default(self) -> bool:
        """Whether the argument may be left out."""
        return self.factory is not None or self.default is not _REQUIRED

    def initial(self, cls: type) -> object:
        """Returns what stands in for the argument. Raises TypeError where nothing does."""
        if self.factory is not None:
            return self.factory()
        if self.default is _REQUIRED:
            raise TypeError(f"{cls.__qualname__}() needs {self.name}")
        return self.default


class _Rules(dict[type, tuple[FieldRule, ...]]):
    """The fields of each class of values; a subclass has those of the class that it is made from."""

    def __missing__(self, kind: type) -> tuple[FieldRule, ...]:
        for base in kind.__mro__:
            if base in self:
                return self[base]
        raise KeyError(kind)


_RULES: Final = _Rules()


@overload
def field(*, default: T, compare: bool = True, hash: bool = True, repr: bool = True) -> T: ...


@overload
def field(*, default_factory: Callable[[], T], compare: bool = True, hash: bool = True, repr: bool = True) -> T: ...


def field(
    *,
    default: object = _REQUIRED,
    default_factory: Callable[[], object] | None = None,
    compare: bool = True,
    hash: bool = True,  # noqa: A002 - named as in `dataclasses.field`
    repr: bool = True,  # noqa: A002 - as above
) -> object:
    """Returns what stands in a class body as a field's default where more than the default is to be said."""
    return FieldRule("", default, default_factory, compare, hash, repr)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Returns the class with its annotations as fields that nobody can assign to, compared and hashed by their values."""
    return _make(cls, {"__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse})


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def mutable(cls: type[T]) -> type[T]:
    """Returns the class with its annotations as fields, compared by their values and without a hash."""
    return _make(cls, {"__hash__": None})


def rules(kind: type[Record]) -> tuple[FieldRule, ...]:
    """Returns the fields of a class of values, in the order of its body. Raises KeyError for any other class."""
    return _RULES[kind]


def is_value_class(kind: type) -> bool:
    """Returns whether `frozen` or `mutable` made the class."""
    return kind in _RULES


def _make(cls: type[T], methods: Mapping[str, object]) -> type[T]:
    """Returns the class made once more: slots can be given to none that is there."""
    body = dict(cls.__dict__)
    found = tuple(_rule(name, body.pop(name, _REQUIRED)) for name in cls.__annotations__)
    del body["__dict__"], body["__weakref__"]
    shared = {"__init__": _init, "__repr__": _repr, "__eq__": _eq, "__replace__": _replace}
    body |= {"__slots__": tuple(rule.name for rule in found), "__match_args__": (), _STANDARD: _StandardFields()}
    made = cast("type[T]", type(cls.__name__, cls.__bases__, {**body, **shared, **methods}))
    _RULES[made] = found
    return made


def _rule(name: str, default: object) -> FieldRule:
    return default._replace(name=name) if isinstance(default, FieldRule) else FieldRule(name, default)


def _init(self: object, /, **given: object) -> None:
    cls = type(self)
    for rule in _RULES[cls]:
        value = given.pop(rule.name) if rule.name in given else rule.initial(cls)
        object.__setattr__(self, rule.name, value)
    if given:
        raise TypeError(f"{cls.__qualname__}() has no {', '.join(given)}")


def _repr(self: object) -> str:
    cls = type(self)
    shown = ", ".join(f"{rule.name}={getattr(self, rule.name)!r}" for rule in _RULES[cls] if rule.repr)
    return f"{cls.__qualname__}({shown})"


def _eq(self: object, other: object) -> object:
    """Compares by class and fields; `NotImplemented` asks the other side, as Python's own comparisons do."""
    if type(other) is not type(self):
        return NotImplemented
    compared = [rule.name for rule in _RULES[type(self)] if rule.compare]
    return [getattr(self, name) for name in compared] == [getattr(other, name) for name in compared]


def _hash(self: object) -> int:
    return hash(tuple(getattr(self, rule.name) for rule in _RULES[type(self)] if rule.compare and rule.hash))


def _replace(self: object, /, **changes: object) -> object:
    """Returns a copy with these fields changed. Raises TypeError for a field that the class has not."""
    cls = type(self)
    return cls(**({rule.name: getattr(self, rule.name) for rule in _RULES[cls]} | changes))


if TYPE_CHECKING:
    from dataclasses import replace  # whose arguments a type checker knows
else:
    replace = _replace


def _refuse(self: object, name: str, _value: object = None) -> None:
    raise AttributeError(f"cannot change {name} of a frozen {type(self).__qualname__}")


_STANDARD: Final = "__dataclass_fields__"


class _StandardFields:
    """The fields as the functions of `dataclasses` look for them, made when the first one does."""

    def __get__(self, _instance: object, owner: type) -> "dict[str, dataclasses.Field[object]]":
        import dataclasses  # with `inspect` it is a tenth of a pass, and whoever asks for these has imported it

        def standard(rule: FieldRule) -> object:
            make = partial(dataclasses.field, compare=rule.compare, hash=rule.hash and rule.compare, repr=rule.repr)
            if rule.factory is not None:
                return make(default_factory=rule.factory)
            return make(default=rule.default) if rule.has_default else make()

        members = [(rule.name, object, standard(rule)) for rule in _RULES[owner]]
        twin = cast("type[Record]", dataclasses.make_dataclass(owner.__name__, members, kw_only=True))
        setattr(owner, _STANDARD, twin.__dataclass_fields__)
        return twin.__dataclass_fields__
