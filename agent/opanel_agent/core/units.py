"""Constants that every layer shares: units of time in seconds, and the two languages.

A span of time is written as a multiple of these (`30 * DAY_S`), never as a bare
number of seconds, so that a reader need not divide. A day is always 86 400 s:
effective time is POSIX time (IEEE Std 1003.1, section 4.16), which has no leap
seconds, and no period here is a calendar's. Imports nothing but typing: the
daemon loads it.
"""

from typing import Final, Literal

SECOND_S: Final = 1
MINUTE_S: Final = 60
HOUR_S: Final = 60 * MINUTE_S
DAY_S: Final = 24 * HOUR_S

Language = Literal["tr", "en"]
# In the order in which they are offered and written: the notice is Turkish
# first (KVKK, Law No. 6698).
LANGUAGES: Final[tuple[Language, ...]] = ("tr", "en")
