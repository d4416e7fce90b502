"""Maps the intent of each command to the function that carries it out, and to the values of the pass that it takes.

Apart from `evaluate.main`, which has the routines (`start`, `tick`): a pass that nobody asked for imports none of this.
"""

from collections.abc import Mapping
from typing import Final

from opanel_agent.core.codec.base64url import unbase64url
from opanel_agent.core.codec.reader import Members
from opanel_agent.core.commands import WITHDRAW
from opanel_agent.evaluate import reset
from opanel_agent.evaluate.consent import changes, records, withdrawals
from opanel_agent.evaluate.context import PassContext
from opanel_agent.evaluate.intent import MAX_INTENT_BYTES, Command, Result
from opanel_agent.evaluate.license import check, install
from opanel_agent.evaluate.license import commands as license_commands
from opanel_agent.evaluate.requests.commanded import options_of


def _refresh(context: PassContext) -> Result:
    """Asks at once, as a person always may: a server's Retry-After holds only for what asks by itself."""
    checked, advised = check.check(context), check.check_advisories(context, commanded=True)
    return {**checked, "advisories": advised[-1] if advised else None}


def _document(context: PassContext, intent: Members) -> Result:
    data = unbase64url(intent.text("document", max_length=MAX_INTENT_BYTES))
    return {"typ": install.document(context, data)}


def _remove(context: PassContext) -> Result:
    install.remove(context)
    return {"removed": True}


def _withdraw(context: PassContext, intent: Members) -> Result:
    """Withdraws for the panel: durably first, then what follows from it, in this pass."""
    subject = withdrawals.by_panel(context, intent)
    changes.observe(context)
    return {"withdrawn": subject.value, "at": context.now}


def _license_command(wanted: license_commands.LicenseRequest) -> Command:
    def command(context: PassContext, intent: Members) -> Result:
        key = intent.text("key", max_length=64) if intent.has("key") else None
        return license_commands.run(context, wanted, options_of(intent), key)

    return command


HANDLERS: Final[Mapping[str, Command]] = {
    "refresh": lambda context, _: _refresh(context),
    "bundle": _document,
    "activate": _license_command(license_commands.ACTIVATION),
    "release": _license_command(license_commands.RELEASE),
    "exchange": _license_command(license_commands.EXCHANGE),
    "remove": lambda context, _: _remove(context),
    "narrowed": lambda _, __: {},  # the pass itself is what was asked for
    WITHDRAW.intent: _withdraw,
    "reset": reset.run,
    "preview": records.preview,
    "held": records.held,
    "sent": lambda context, intent: records.sent(context.outbox, intent),
    "rights": records.use_right,
    "purge": lambda context, _: records.purge(context.outbox, context.rights, context.now),
    "history": lambda context, _: records.history(context.ledger),
    "receipts": lambda context, intent: records.receipts(
        context.ports.files,
        context.ports.paths,
        context.inputs.first_root,
        context.rights,
        intent.text("id", max_length=64) if intent.has("id") else None,
    ),
    "review": lambda context, _: changes.review(context),
    "noticed": lambda context, intent: records.notice_shown(context.ledger, context.inputs.notice, context.now, intent),
    "export": lambda context, intent: records.export_part(
        context.ports.files, context.ports.paths, context.inputs.first_root, intent
    ),
}
