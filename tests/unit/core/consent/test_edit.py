"""Answering anew changes what was answered and nothing else, and never revives a grant that an older notice was given."""

import pytest
import tomli_w

from opanel_agent.core.codes import Reason
from opanel_agent.core.consent.consent_file import fresh, parse
from opanel_agent.core.consent.edit import Edit, changes, with_answers
from opanel_agent.core.consent.purposes import Purpose
from opanel_agent.core.errors import Misconfigured

USAGE, CRASH = Purpose.USAGE_STATISTICS, Purpose.CRASH_REPORTS
OLD, NEW = "2026-01-01", "2026-12-01"


def file(notice: str = NEW, *, usage: str = "false", crash: str | None = "false") -> bytes:
    asked = "" if crash is None else f"\n[purposes.crash_reports]   # the agent's own\nallow = {crash}\n"
    return (
        f'# ours, from a template\nschema = 1\nnotice = "{notice}"  # read it\n\n'
        f'[purposes.usage_statistics]\nhold = "24h"\nallow = {usage} # asked on Monday\n{asked}'
    ).encode()


def test_one_literal_changes_and_no_other_byte() -> None:
    assert with_answers(file(), {USAGE: True}, NEW) == file(usage="true")
    assert with_answers(file(usage="true", crash="true"), {USAGE: False, CRASH: False}, NEW) == file()


def test_an_answer_that_stands_already_changes_nothing() -> None:
    assert with_answers(file(), {USAGE: False}, NEW) == file()
    assert with_answers(file(usage="true"), {USAGE: True}, NEW) == file(usage="true")


def test_a_grant_is_given_to_the_installed_notice() -> None:
    assert with_answers(file(OLD), {USAGE: True}, NEW) == file(NEW, usage="true")
    assert with_answers(file(OLD, usage="true"), {USAGE: True}, NEW) == file(NEW, usage="true")


def test_a_no_leaves_the_notice_as_it_is() -> None:
    assert with_answers(file(OLD, usage="true", crash="true"), {USAGE: False}, NEW) == file(OLD, crash="true")


def test_no_other_grant_is_carried_over_to_a_newer_notice() -> None:
    with pytest.raises(Misconfigured) as caught:
        with_answers(file(OLD, crash="true"), {USAGE: True}, NEW)
    assert (caught.value.code, caught.value.detail) == (Reason.NOTICE_CHANGED, "consent_older")
    assert caught.value.values == {"purposes": "crash_reports", "notice": NEW}
    assert with_answers(file(OLD, crash="true"), {USAGE: True, CRASH: False}, NEW) == file(NEW, usage="true")


def test_to_deny_what_was_never_answered_hinders_no_other_no() -> None:
    assert with_answers(file(usage="true", crash=None), {USAGE: False, CRASH: False}, NEW) == file(crash=None)


def test_to_allow_what_the_file_does_not_mention_is_for_a_person_to_type() -> None:
    with pytest.raises(Misconfigured) as caught:
        with_answers(file(crash=None), {CRASH: True}, NEW)
    assert caught.value.detail == "consent_edit"
    assert caught.value.values["type"] == "allow = true"


def test_a_notice_that_is_written_in_another_way_is_for_a_person_to_type() -> None:
    with pytest.raises(Misconfigured) as caught:
        with_answers(file(OLD).replace(f'"{OLD}"'.encode(), f'"""{OLD}"""'.encode()), {USAGE: True}, NEW)
    assert caught.value.detail == "consent_notice_edit"
    assert caught.value.values == {"line": 3, "type": f'notice = "{NEW}"'}


def test_a_refused_file_is_not_answered_in() -> None:
    with pytest.raises(Misconfigured) as caught:
        with_answers(file().replace(b"allow = false #", b"allow = 0 #"), {USAGE: False}, NEW)
    assert caught.value.detail == "toml_type"


def test_what_would_change_is_told_key_by_key() -> None:
    before, after = parse(file(OLD, usage="true", crash=None)), parse(file(NEW))
    assert changes(before, after) == (
        Edit(key="notice", before=f'"{OLD}"', after=f'"{NEW}"'),
        Edit(key="purposes.usage_statistics.allow", before="true", after="false"),
        Edit(key="purposes.crash_reports.allow", before=None, after="false"),
        Edit(key="purposes.crash_reports.review", before=None, after="true"),
    )
    assert changes(after, after) == ()


def test_what_a_first_file_says_is_all_new_and_what_is_left_out_is_absent() -> None:
    granted = 'schema = 1\nnotice = "2026-12-01"\n[granted]\nby = "Ayşe"\nrole = "CTO"\non = "2026-12-02"\n'
    asked = parse(tomli_w.dumps(fresh(NEW, {USAGE: True})).encode())
    changed = {each.key: (each.before, each.after) for each in changes(None, asked)}
    assert changed == {
        "notice": (None, f'"{NEW}"'),
        "do_not_track": (None, "false"),
        "purposes.usage_statistics.allow": (None, "true"),
        "purposes.usage_statistics.hold": (None, '"72h"'),
        "purposes.crash_reports.allow": (None, "false"),
        "purposes.crash_reports.review": (None, "true"),
    }
    left_out = {each.key: (each.before, each.after) for each in changes(asked, parse(granted.encode()))}
    assert left_out["purposes.usage_statistics.allow"] == ("true", None)
    assert left_out["granted.by"] == (None, '"Ayşe"')
    assert left_out["granted.role"] == (None, '"CTO"')
    assert left_out["granted.on"] == (None, '"2026-12-02"')
