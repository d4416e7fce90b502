"""The one way by which evaluate hands a sealed request to the courier: recorded, marked, handed over, and the reply kept.

A report and a license command differ in what comes before (consent, or the administrator's word) and in what is done with
the answer; neither is known here. Who calls this has asked the gate on these very bytes.
"""

from opanel_agent.core.ledger import Datum, Kind
from opanel_agent.core.request import Reply, Sealed
from opanel_agent.jobs import sent
from opanel_agent.jobs.desk import Desk


def hand_over(desk: Desk, sealed: Sealed, **data: Datum) -> Reply:
    """What the request came to. `data` goes into the entry that it was attempted.

    Raises Storage where that cannot be recorded: then nothing is sent.
    """
    desk.book.request(Kind.REQUEST_ATTEMPTED, desk.now, sealed, **data)
    sent.attempted(desk, sealed)
    opted_out = bool(desk.signals.offline or desk.signals.do_not_track)
    reply = desk.world.outlet.courier(sealed, signalled=opted_out)
    sent.keep_reply(desk, sealed, reply)
    return reply
