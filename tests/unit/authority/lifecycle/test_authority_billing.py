"""The billing example: a WHMCS-like system's hooks in PHP against a real service, as often as such systems call them."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest

from fixtures.authority.authority_server import Served, serving
from fixtures.authority.vendor import DAY, RESELLER
from opanel_authority.lifecycle import api_keys, listing
from opanel_authority.lifecycle.handles import find_license

MODULE: Final = Path(__file__).parents[4] / "authority" / "examples" / "whmcs" / "opanel.php"
PHP: Final = shutil.which("php")
# What WHMCS hands over, of which the module uses these.
HARNESS: Final = """
require $argv[1];
$params = json_decode($argv[3], true);
if (in_array($argv[2], ['opanel_CreateAccount', 'opanel_Renew'])) {
    $params['model'] = new class($params['due'] ?? '') {
        public $serviceProperties;
        public $nextduedate;
        function __construct($due) {
            $this->nextduedate = $due;
            $this->serviceProperties = new class { function save($v) { fwrite(STDERR, json_encode($v)); } };
        }
    };
}
echo json_encode($argv[2]($params));
"""

pytestmark = pytest.mark.skipif(PHP is None, reason="PHP is not installed")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("authority")) as running:
        yield running


@pytest.fixture(scope="module")
def server(served: Served) -> dict[str, Any]:
    """The billing system's settings of the authority."""
    made = api_keys.make(
        served.vendor.authority,
        name="whmcs",
        reseller=RESELLER,
        scopes=api_keys.SCOPES,
        now=int(time.time()),
        actor="test",
    )
    return {
        "serverhostname": "127.0.0.1",
        "serverport": str(served.port),
        "serversecure": False,
        "serveraccesshash": made.secret,
    }


def call(function: str, params: dict[str, Any]) -> tuple[Any, Any]:
    """What the function returned, and what it saved with the service."""
    assert PHP is not None
    ran = subprocess.run(
        [
            PHP,
            "-d",
            "display_errors=stderr",
            "-r",
            HARNESS,
            "--",
            str(MODULE),
            f"opanel_{function}",
            json.dumps(params),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(ran.stdout), json.loads(ran.stderr) if ran.stderr else None


def shown(served: Served, order: str) -> dict[str, Any]:
    with served.vendor.authority.store.reading() as books:
        return listing.detail(books, find_license(books, order), now=int(time.time()))


def test_a_service_through_its_life(served: Served, server: dict[str, Any]) -> None:
    service = {"serviceid": 42, "configoption1": "basic", "configoption2": "2", "configoption3": "30", **server}
    assert call("TestConnection", server)[0] == {"success": True, "error": ""}
    created, saved = call("CreateAccount", {**service, "configoption4": "on"})
    again, saved_again = call("CreateAccount", {**service, "configoption4": "on"})
    assert (created, again) == ("success", "success")
    assert saved == saved_again
    license_ = shown(served, "whmcs-42")
    assert (license_["tier"], license_["seats"], license_["renews"]) == ("basic", 2, True)
    assert shown(served, saved["License key"])["id"] == license_["id"]
    for function, state in (
        ("SuspendAccount", "suspended"),
        ("SuspendAccount", "suspended"),
        ("UnsuspendAccount", "active"),
        ("TerminateAccount", "revoked"),
        ("UnsuspendAccount", "active"),
    ):
        assert call(function, service)[0] == "success"
        assert shown(served, "whmcs-42")["state"] == state
    assert call("ChangePackage", {**service, "configoption1": "pro", "configoption2": "5"})[0] == "success"
    before = shown(served, "whmcs-42")
    assert (before["tier"], before["seats"]) == ("pro", 5)
    assert call("Renew", {**service, "configoption3": "60"})[0] == "success"
    assert shown(served, "whmcs-42")["ends"] > before["ends"]


def test_a_prepaid_term_is_added_to_what_is_left_once_for_each_due_date(served: Served, server: dict[str, Any]) -> None:
    """Such systems run a hook again where they got no reply, and invoices are paid before they are due."""
    service = {
        "serviceid": 50,
        "configoption1": "pro",
        "configoption2": "1",
        "configoption3": "30",
        "configoption4": "",
    }
    assert call("CreateAccount", service | server)[0] == "success"
    ends = [shown(served, "whmcs-50")["ends"]]
    time.sleep(1.1)  # a newer edition is dated later
    for due in ("2026-12-29", "2026-12-29", "2027-01-29"):
        assert call("Renew", service | server | {"due": due})[0] == "success"
        ends.append(shown(served, "whmcs-50")["ends"])
    assert [later - earlier for earlier, later in pairwise(ends)] == [30 * DAY, 0, 30 * DAY]
    assert not shown(served, "whmcs-50")["renews"]


def test_a_service_that_is_created_again_has_its_license_back(served: Served, server: dict[str, Any]) -> None:
    service = {"serviceid": 51, "configoption1": "pro", "configoption2": "1", "configoption3": "30", **server}
    saved = call("CreateAccount", service)[1]
    assert call("TerminateAccount", service)[0] == "success"
    time.sleep(1.1)
    created, again = call("CreateAccount", {**service, "configoption3": "60"})
    assert (created, again) == ("success", saved)
    license_ = shown(served, "whmcs-51")
    assert license_["state"] == "active"
    assert abs(license_["ends"] - time.time() - 60 * DAY) < 600
    assert call("SuspendAccount", service)[0] == "success"
    assert call("CreateAccount", service)[0] == "success"
    assert shown(served, "whmcs-51")["state"] == "suspended", "what is not paid is not resumed by a second order"


def test_another_package_may_renew_itself_or_not(served: Served, server: dict[str, Any]) -> None:
    service = {"serviceid": 52, "configoption1": "pro", "configoption2": "1", "configoption3": "30", **server}
    assert call("CreateAccount", service)[0] == "success"
    assert call("ChangePackage", {**service, "configoption4": ""})[0] == "success"
    assert not shown(served, "whmcs-52")["renews"]
    assert call("ChangePackage", {**service, "configoption4": "on"})[0] == "success"
    assert shown(served, "whmcs-52")["renews"]


def test_what_is_refused_is_a_sentence(server: dict[str, Any]) -> None:
    service = {"serviceid": 43, "configoption1": "platinum", "configoption2": "1", "configoption3": "30", **server}
    refused, saved = call("CreateAccount", service)
    assert refused.startswith("cannot issue this license: its tier is outside the delegation. ")
    assert saved is None
    assert call("SuspendAccount", {**service, "serviceid": 44})[0].startswith("cannot find the license")
    assert call("SuspendAccount", {**service, "serveraccesshash": "opk_wrong"})[0].startswith("cannot tell who asks")
    gone = call("SuspendAccount", {**service, "serverport": "9"})[0]
    assert gone == "cannot reach the license authority. look at host, port and TLS"
