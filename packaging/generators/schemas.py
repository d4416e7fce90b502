"""Makes the JSON Schemas (draft 2020-12) of every answer of the local socket and of a command's `--json`.

The members of a POST's result are those of its route in the table of commands, the codes those of the code's enumerations.
Both may grow within schema 1, so no object refuses what it does not know, and codes are named as examples, not as a closed
list. A test holds real answers against these files, as closed as they could be. What each member means is in docs/json.md.
"""

import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opanel_agent.core.commands import Route

FOLDER: Final = "packaging/share/doc/opanel-agent/schema"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, object]

TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer"}
YES_NO: Final[Schema] = {"type": "boolean"}
TIME: Final[Schema] = {"type": "integer", "minimum": 0, "description": "seconds since 1970"}
ANY: Final[Schema] = {}


def or_null(schema: Schema) -> Schema:
    """Returns a schema that admits null, too."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def other(name: str) -> Schema:
    """Returns what another file says."""
    return {"$ref": f"{name}.json"}


def codes(known: Iterable[object]) -> Schema:
    """Returns a text of which `known` are the values of this version."""
    return {"type": "string", "examples": [str(each) for each in known]}


def array(items: Schema, **limits: int) -> Schema:
    """Returns an array of these."""
    return {"type": "array", "items": items, **limits}


def record(members: dict[str, Schema], *, optional: dict[str, Schema] | None = None) -> Schema:
    """Returns an object that has all of `members`, and may have the optional ones."""
    return {"type": "object", "required": [*members], "properties": {**members, **(optional or {})}}


def by_name(values: Schema) -> Schema:
    """Returns an object of any names."""
    return {"type": "object", "additionalProperties": values}


def license_() -> Schema:
    """GET /v1/license."""
    from opanel_agent.core.codes import Reason
    from opanel_agent.core.license.states import Action, State

    permits = dict.fromkeys(("run", "change", "create", "paid_features"), YES_NO)
    terms: dict[str, Schema] = {"id": TEXT, "product": TEXT, "tier": TEXT, "issued": TIME, "expires": TIME}
    controller = record({"name": TEXT, "address": TEXT, "email": TEXT, "kep": or_null(TEXT), "url": or_null(TEXT)})
    contact = {name: or_null(TEXT) for name in ("email", "phone", "url")}
    period: dict[str, Schema] = {"state": codes(State), "reason": codes(Reason), "start": TIME}
    return record(
        {
            "schema": {"const": 1},
            "state": codes(State),
            "reasons": array(codes(Reason), minItems=1),
            "since": TIME,
            "until": or_null(TIME),
            "permits": record(permits),
            "features": array(TEXT),
            "limits": by_name(WHOLE),
            "tier": or_null(TEXT),
            "license": or_null(record(terms | {"renews_from": TIME, "offline_until": or_null(TIME)})),
            "reseller": or_null(record({"name": TEXT, **contact, "controller": or_null(controller)})),
            "next_action": record({"code": codes(Action), "tr": TEXT, "en": TEXT}),
            "as_of": TIME,
            "good_until": TIME,
            "last_success": or_null(TIME),
            "warnings": array(record(period | {"end": or_null(TIME), "days_left": or_null(WHOLE)}), maxItems=1),
        },
        optional={"restored": YES_NO},
    )


def consent() -> Schema:
    """GET /v1/consent."""
    from opanel_agent.core.codes import Reason

    place: dict[str, Schema] = {"place": TEXT, "line": or_null(WHOLE)}
    objection = record({"reason": codes(Reason), "what": or_null(TEXT), **place})
    signals = array(record({"what": TEXT, **place}))
    return record(
        {
            "schema": {"const": 1},
            "purposes": by_name(record({"permitted": YES_NO, "reasons": array(objection)})),
            "do_not_track": signals,
            "offline": signals,
        },
        optional={"outdated": YES_NO, "restored": YES_NO},
    )


def answer() -> Schema:
    """GET /v1/answer, and answer.json."""
    from opanel_agent.core.codes import Reason
    from opanel_agent.core.documents.advisory import Severity
    from opanel_agent.core.ledger.requests import Stage
    from opanel_agent.core.license.binding import PARTS

    left: dict[str, Schema] = {"id": TEXT, "purpose": TEXT, "kind": TEXT, "at": TIME, "url": TEXT}
    request = or_null(record(left | {"stage": codes(Stage)}))
    in_both = record({"tr": TEXT, "en": TEXT})
    unread = record({"part": codes(sorted(PARTS)), "file": or_null(TEXT), "errno": or_null(TEXT)})
    undecided = or_null(record({"since": TIME, "grace": TIME, "until": TIME}))
    machine = record({"key": or_null(codes(("ok", "unread", "lost"))), "unread": array(unread), "undecided": undecided})
    advisory: dict[str, Schema] = {"id": TEXT, "seq": WHOLE, "severity": codes(Severity), "title": in_both}
    advisory |= {"body": in_both, "fixed_in": or_null(TEXT), "exp": TIME}
    return record(
        {
            "schema": {"const": 1},
            "license": other("license"),
            "consent": other("consent"),
            "advisories": array(record(advisory)),
            "machine": machine,
            "isolation": record({"level": codes(("none", "partial", "kernel")), "missing": array(TEXT)}),
            "next_run": record({"at": TIME}),
            "root": record({"name": TEXT, "seq": WHOLE, "sha256": TEXT, "exp": TIME}),
            "renewal": record({"next": or_null(TIME), "at": or_null(TIME), "failure": or_null(TEXT)}),
            "last_check": record({"at": or_null(TIME), "failure": or_null(codes(Reason))}),
        },
        optional={
            "last_left": request,
            "may_have_left": request,
            "requests": record({str(stage): or_null(TIME) for stage in Stage}),
            "reports": record({"held": WHOLE, "next": or_null(TIME)}),
            "trouble": other("error"),
            "restored": YES_NO,
        },
    )


def error() -> Schema:
    """An error as the socket and the answer have it."""
    from opanel_agent.core.codes import Fault, Reason

    return record({"kind": TEXT, "code": codes((*Reason, *Fault)), "detail": TEXT, "values": by_name(ANY)})


def reply(route: "Route") -> Schema:
    """The reply to a POST: its result has members of the route's, which depend on what was asked."""
    result: Schema = {"type": "object", "properties": dict.fromkeys((*route.result_members, "consent"), ANY)}
    return record(
        {
            "schema": {"const": 1},
            "ok": or_null(YES_NO),
            "error": or_null(other("error")),
            "result": or_null(result),
            "license": or_null(other("license")),
        }
    )


def envelope() -> Schema:
    """What a command prints with --json; its result is docs/json.md's."""
    warning = record({"code": TEXT, "title": TEXT})
    failure = record({"code": TEXT, "title": TEXT, "hint": TEXT})
    members: dict[str, Schema] = {"schema": {"const": 1}, "result": ANY, "warnings": array(warning)}
    return record(members | {"errors": array(failure)})


def schemas() -> Iterator[tuple[str, str, Schema]]:
    """Each schema's file name, its title, and the schema."""
    from opanel_agent.core.commands import ROUTES

    yield "license", "GET /v1/license", license_()
    yield "consent", "GET /v1/consent", consent()
    yield "answer", "GET /v1/answer", answer()
    yield "error", "an error, as of `trouble` and of a POST", error()
    yield "command", "opanel-agent … --json", envelope()
    for path, methods in ROUTES.items():
        if "POST" in methods:
            yield f"post-{path.rpartition('/')[2]}", f"POST {path}", reply(methods["POST"])


def outputs() -> Iterator[tuple[str, bytes]]:
    """Each file's path in the repository, and its bytes."""
    for name, title, schema in schemas():
        whole = {"$schema": DIALECT, "title": title, **schema}
        yield f"{FOLDER}/{name}.json", (json.dumps(whole, ensure_ascii=False, indent=1) + "\n").encode()
