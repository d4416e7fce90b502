"""Says what an intent is carried out by: its limits, and the type of the functions that do it."""

from collections.abc import Callable
from typing import Final

from opanel_agent.core.codec.json_value import Json
from opanel_agent.core.codec.reader import Members
from opanel_agent.evaluate.context import PassContext

MAX_INTENT_BYTES: Final = 128 * 1024

Result = dict[str, Json]
Command = Callable[[PassContext, Members], Result]
