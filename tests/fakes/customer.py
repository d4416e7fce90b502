"""A customer's server and its vendor: the simulated agent, whose whole network is a real authority, on one clock."""

from collections.abc import Callable
from typing import Any, Final

from fakes.agent import ROOT_FILE, Simulated
from fakes.network import ok
from fakes.vendor import URL, Vendor
from opanel_agent.core.documents import request as requests
from opanel_agent.core.request import Reply, Sealed
from opanel_agent.system.data import load_catalog
from opanel_authority import advise, answer, publish, reports

HOUR: Final = 3600
DAY: Final = 24 * HOUR
STATUS_LIST: Final = "application/statuslist+jwt"
JOSE: Final = "application/jose"


class Customer:
    """`agent` is the server. Its time is the vendor's whenever it asks something."""

    def __init__(self, vendor: Vendor, *, seed: int = 1) -> None:
        self.vendor = vendor
        self.agent = Simulated(seed=seed)
        self.agent.files.put(ROOT_FILE, (vendor.authority.directory / "root.jws").read_bytes())
        connect(self.agent, vendor)

    def install(self, text: str) -> None:
        assert self.agent.install(text.encode())["ok"]

    def days(self, count: int) -> dict[str, Any]:
        """So many days, with a check on each as the schedule has it, and a pass after its quiet; the license at the end."""
        for _ in range(count):
            for passing_s in (DAY - 2 * HOUR, 2 * HOUR):
                self.agent.clock.advance(passing_s)
                self.agent.run("tick")
        return self.agent.license()

    def check(self) -> dict[str, Any]:
        """A check that must bring both documents; the license after it."""
        self.vendor.now = self.agent.clock.wall_s
        frame = self.agent.run("refresh")
        assert [each["ok"] for each in frame["result"]["asked"]] == [True, True], frame
        told: dict[str, Any] = frame["answer"]["license"]
        return told


def activated(made: Vendor) -> Customer:
    """One with a license, activated and checked, of whom all is well."""
    customer = Customer(made)
    customer.install(made.issue().text)
    assert customer.agent.run("activate")["ok"]
    assert customer.check()["reasons"] == ["ok"]
    return customer


def connect(agent: Simulated, vendor: Vendor) -> None:
    """What the authority answers to this agent, as `serve` would."""

    def file(media: str, made: Callable[[], bytes]) -> Callable[[Sealed], Reply]:
        def answer_(_: Sealed) -> Reply:
            vendor.now = agent.clock.wall_s
            return ok(made(), media)

        return answer_

    def signed(sealed: Sealed) -> Reply:
        vendor.now = agent.clock.wall_s
        claims = requests.verify(sealed.body)
        return ok(answer.signed(vendor.authority, sealed.body, claims, now=vendor.now).body, JOSE)

    made = vendor.authority
    for path, media, text in (
        ("/v1/status.jwt", STATUS_LIST, lambda: publish.current_status_list(made, now=vendor.now)),
        ("/v1/roots.jws", JOSE, lambda: publish.roots_text(made)),
        ("/v1/advisories.jws", JOSE, lambda: advise.published(made, now=vendor.now)),
    ):
        agent.network.on("GET", URL + path, file(media, text))

    def right(sealed: Sealed) -> Reply:
        vendor.now = agent.clock.wall_s
        signed_ = dict(sealed.headers)["Content-Type"] == JOSE
        use = reports.license_right if signed_ else reports.right
        made_ = use(vendor.authority, load_catalog(), sealed.body, now=vendor.now)
        return ok(made_.body, made_.content_type, status=made_.status)

    agent.network.on("POST", URL + "/v1/rights", right)
    for path in ("/v1/activations", "/v1/releases", "/v1/renewals"):
        agent.network.on("POST", URL + path, signed)
