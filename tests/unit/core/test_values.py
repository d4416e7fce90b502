"""`core.values` makes what `dataclasses` makes, without importing it: each rule against the standard library's own class."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import pytest

from opanel_agent.core.values import Record, field, frozen, mutable, replace, rules


@frozen
class Order:
    """A thing that is ordered."""

    name: Annotated[str, "a mark"]
    count: int = 1
    notes: Mapping[str, int] = field(default_factory=dict, hash=False)
    line: int = field(default=0, compare=False, repr=False)

    def doubled(self) -> int:
        return 2 * self.count


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    name: Annotated[str, "a mark"]
    count: int = 1
    notes: Mapping[str, int] = dataclasses.field(default_factory=dict, hash=False)
    line: int = dataclasses.field(default=0, compare=False, repr=False)


@mutable
class Basket:
    items: list[str] = field(default_factory=list)
    total: int = 0


def test_a_value_is_made_from_keywords_and_defaults() -> None:
    made = Order(name="a")
    assert (made.name, made.count, made.notes, made.line) == ("a", 1, {}, 0)
    assert Order(name="a", count=3).doubled() == 6
    assert Order.__doc__ == "A thing that is ordered."
    assert Order.__qualname__ == "Order"
    assert Order.__module__ == __name__


def test_a_default_is_made_anew_for_each_value() -> None:
    one, other = Basket(), Basket()
    one.items.append("x")
    assert other.items == []


@pytest.mark.parametrize("arguments", [{}, {"count": 1}, {"name": "a", "colour": 1}])
def test_a_missing_or_unknown_argument_is_a_type_error(arguments: dict[str, object]) -> None:
    for kind in (Order, Model):
        with pytest.raises(TypeError, match=r"name|colour"):
            kind(**arguments)  # type: ignore[arg-type]


def test_a_positional_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        Order("a")  # type: ignore[call-arg]


def test_a_frozen_value_is_never_changed() -> None:
    made = Order(name="a")
    with pytest.raises(AttributeError, match="count"):
        made.count = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="count"):
        del made.count
    with pytest.raises(AttributeError, match="other"):
        made.other = 2  # type: ignore[attr-defined]
    assert made == Order(name="a")


def test_a_mutable_value_has_its_fields_and_no_others() -> None:
    made = Basket(total=1)
    made.total += 1
    assert made == Basket(total=2)
    with pytest.raises(AttributeError):
        made.other = 2  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="unhashable"):
        hash(made)


def test_values_are_compared_hashed_and_shown_as_a_dataclass_is() -> None:
    assert Order(name="a", line=1) == Order(name="a", line=2)
    assert Order(name="a") != Order(name="b")
    other: object = Model(name="a")
    assert Order(name="a") != other
    assert hash(Order(name="a", line=1, notes={"x": 1})) == hash(Model(name="a", line=2))
    assert repr(Order(name="a", count=2)).removeprefix("Order") == repr(Model(name="a", count=2)).removeprefix("Model")


@pytest.mark.parametrize("change", [replace, dataclasses.replace])
def test_a_copy_has_the_fields_that_were_changed(change: Callable[..., Order]) -> None:
    made = Order(name="a", notes={"x": 1}, line=7)
    assert change(made, count=2) == Order(name="a", count=2, notes={"x": 1})
    assert change(made, count=2).line == 7
    with pytest.raises(TypeError, match="colour"):
        change(made, colour=2)


def test_the_standard_library_takes_them_for_dataclasses() -> None:
    for kind in (Order, Basket):
        assert dataclasses.is_dataclass(kind)
        assert [each.name for each in dataclasses.fields(kind)] == [rule.name for rule in rules(kind)]
    assert dataclasses.asdict(Order(name="a")) == dataclasses.asdict(Model(name="a"))
    mine, standard = dataclasses.fields(Order), dataclasses.fields(Model)
    for each in ("name", "default", "default_factory", "compare", "hash", "repr", "kw_only"):
        if each != "hash":
            assert [getattr(one, each) for one in mine] == [getattr(one, each) for one in standard]


def test_a_subclass_has_the_fields_of_its_base_and_no_others() -> None:
    class Rush(Order):
        def doubled(self) -> int:
            return 4 * self.count

    made = Rush(name="a", count=2)
    assert made.doubled() == 8
    assert made == Rush(name="a", count=2)
    assert made != Order(name="a", count=2)
    assert replace(made, count=3) == Rush(name="a", count=3)


def test_any_other_class_has_no_fields_here() -> None:
    with pytest.raises(KeyError):
        rules(Model)


def test_a_record_codec_meets_the_class_by_its_type() -> None:
    def name(record: Record) -> str:
        return rules(type(record))[0].name

    assert name(Order(name="a")) == "name"


def test_a_short_process_imports_no_dataclasses() -> None:
    """What `core.values` is for: `dataclasses`, with `inspect`, is a tenth of a pass. But for what cryptography imports."""
    program = (
        "import sys, cryptography.hazmat.primitives.asymmetric.ed25519; theirs = set(sys.modules);"
        "import opanel_agent.evaluate.main; print(sorted({'dataclasses', 'inspect'} & set(sys.modules) - theirs))"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=True, text=True)
    assert ran.stdout == "[]\n"
