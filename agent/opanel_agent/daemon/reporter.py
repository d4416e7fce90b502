"""Reports to the journal: each change once, in the settings' language, beside the state of the license.

A change of the license's state is reported at once. What may come and go with every evaluation (its reasons, a job that
fails) is reported at once too, and then at most once in an hour: the value current at the end of the hour is reported,
so the last entry is always current. What a job found is not reported again while it was reported within a day or goes
on being found. Memory of it ends with the process.

The sentences are here and not in the catalogs, which would cost more memory than all of the daemon's own code.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from opanel_agent.core.units import DAY_S, HOUR_S

LogEvent = Callable[..., None]
_LINES_MAX: Final = 64
SENTENCES: Final[Mapping[str, tuple[str, str]]] = {  # English, Turkish
    "started": ("The license agent is running.", "Lisans ajanı çalışıyor."),
    "stopped": (
        "The license agent has stopped; sites keep running.",
        "Lisans ajanı durdu; siteler çalışmayı sürdürür.",
    ),
    "license": ("The license is now {state}: {reasons}.", "Lisansın durumu artık {state}: {reasons}."),
    "job_failed": (
        "The license could not be evaluated ({error}); the last answer stands for now. What to do: opanel-agent status.",
        "Lisans değerlendirilemedi ({error}); son yanıt şimdilik geçerli. Yapılacak iş için: opanel-agent status.",
    ),
    "no_answer": (
        "No answer: the license cannot be evaluated ({error}), and the last answer expired. See opanel-agent doctor.",
        "Yanıt yok: lisans değerlendirilemiyor ({error}) ve son yanıtın süresi doldu. Bakın: opanel-agent doctor.",
    ),
    "job_recovered": ("The license is evaluated again.", "Lisans yeniden değerlendirilebiliyor."),
    "socket_healed": (
        "The agent's socket had been deleted; it was created again.",
        "Ajanın soketi silinmişti; yeniden oluşturuldu.",
    ),
    "socket_not_healed": (
        "The agent's socket cannot be reached and could not be created again ({error}).",
        "Ajanın soketine ulaşılamıyor ve soket yeniden oluşturulamadı ({error}).",
    ),
    "answer_not_written": (
        "The answer could not be written to its file ({error}); it is available on the socket.",
        "Yanıt, dosyasına yazılamadı ({error}); soketten alınabiliyor.",
    ),
}


class Reported(NamedTuple):
    """Holds what was reported last, and when."""

    what: str
    at_s: float


class Reporter:
    """Reports events, each with the license's state. `language`: of `SENTENCES`, until evaluate names another."""

    def __init__(self, log_event: LogEvent, language: str) -> None:
        self._log_event = log_event
        self._turkish = language == "tr"
        self._state = "unknown"
        self._license = Reported("", -math.inf)
        self._trouble = Reported("", -math.inf)
        self._unwritten_s = -math.inf
        self._silent_s = -math.inf
        self._unhealed_s = -math.inf
        self._lines: dict[str, float] = {}  # when each was found last

    def set_language(self, language: str | None) -> None:
        """Takes the settings' language; None leaves it."""
        self._turkish = self._turkish if language is None else language == "tr"

    def event(self, event: str, *, level: str = "info", **fields: object) -> None:
        """Reports an event of the daemon's own, now."""
        message = SENTENCES[event][self._turkish].format_map({"state": self._state, **fields})
        self._log_event(event, level=level, message=message, state=self._state, **fields)

    def license(self, state: str, reasons: str, now_s: float) -> None:
        """Reports the license's state and its reasons where they changed."""
        what = f"{state}: {reasons}"
        if what == self._license.what or (state == self._state and now_s - self._license.at_s < HOUR_S):
            return
        was, self._state = self._state, state
        self._license = Reported(what, now_s)
        self.event("license", level="info" if state == "active" else "warning", was=was, reasons=reasons)

    def trouble(self, error: str, now_s: float) -> None:
        """Reports what evaluation failed with; "" when it did not."""
        if error == self._trouble.what or now_s - self._trouble.at_s < HOUR_S:
            return
        self._trouble = Reported(error, now_s)
        if error:
            self.event("job_failed", level="error", error=error)
        else:
            self.event("job_recovered")

    def no_answer(self, error: str, now_s: float) -> None:
        """Reports that no answer can be given, once a day while it lasts."""
        if now_s - self._silent_s >= DAY_S:
            self._silent_s = now_s
            self.event("no_answer", level="error", error=error)

    def answer_not_written(self, error: str, now_s: float) -> None:
        """Reports that the answer's file could not be written, once a day while it lasts."""
        if now_s - self._unwritten_s >= DAY_S:
            self.event("answer_not_written", level="warning", error=error)
        self._unwritten_s = now_s

    def socket_not_healed(self, error: str, now_s: float) -> None:
        """Reports that the socket's path leads nowhere and could not be mended, once an hour."""
        if now_s - self._unhealed_s >= HOUR_S:
            self._unhealed_s = now_s
            self.event("socket_not_healed", level="error", error=error)

    def job_event(self, event: str, level: str, message: str, fields: Mapping[str, object], now_s: float) -> None:
        """Reports an event of a job's."""
        what = f"{event} {fields}"
        known = what in self._lines and now_s - self._lines[what] < DAY_S
        self._lines.pop(what, None)
        self._lines[what] = now_s
        if len(self._lines) > _LINES_MAX:
            del self._lines[next(iter(self._lines))]
        if not known:
            self._log_event(event, level=level, message=message, state=self._state, **fields)
