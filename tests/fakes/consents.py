"""What an administrator said, as a test wants it said."""

from opanel_agent.core.consent_file import ConsentReading


class SaidConsents:
    """Implements Consents. `now` may be changed between two readings; `readings` counts them."""

    def __init__(self, now: ConsentReading | None = None) -> None:
        self.now = now or ConsentReading()
        self.readings = 0

    def read(self) -> ConsentReading:
        self.readings += 1
        return self.now
