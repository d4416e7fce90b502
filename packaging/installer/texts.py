"""Says the installer's sentences, which texts.toml has in English and Turkish, on standard error."""

import sys
import tomllib
from pathlib import Path
from typing import Any, Final

TABLE: Final[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("texts.toml").read_text("utf-8"))


class CannotError(Exception):
    """One sentence, one cure, one code: a row of `problems` with the values of its placeholders."""

    def __init__(self, code: str, *values: object) -> None:
        super().__init__(code)
        self.code = code
        self.values = values

    @property
    def status(self) -> int:
        """Exit status, of sysexits.h."""
        status: int = TABLE["problems"][self.code]["status"]
        return status


class Voice:
    """One language, `en` or `tr`."""

    def __init__(self, lang: str) -> None:
        self.lang = lang

    def sentence(self, name: str, *values: object) -> str:
        text: str = TABLE["sentences"][name][self.lang]
        return text.format(*values)

    def show(self, name: str, *values: object) -> None:
        show_line(self.sentence(name, *values))

    def refuse(self, error: CannotError) -> None:
        sentence, cure = TABLE["problems"][error.code][self.lang]
        show_line(sentence.format(*error.values))
        show_line(f"  {cure.format(*error.values)}")
        show_line(f"  {'kod' if self.lang == 'tr' else 'code'}: {error.code}")


def show_line(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
