"""A person at a terminal who types what a test wrote down, and everything that this person saw."""

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class TypedAt:
    """`types` in turn; then the input is over, which reads as empty lines."""

    types: list[str] = field(default_factory=list)
    rows: int = 24
    seen: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)

    def show(self, line: str) -> None:
        self.seen.append(line)

    def ask(self, prompt: str) -> str:
        self.prompts.append(prompt)
        return self.types.pop(0) if self.types else ""

    @property
    def text(self) -> str:
        return "\n".join(self.seen)
