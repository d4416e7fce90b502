"""The load benchmark's own count: a client that failed a request says so, and none is lost."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bench.load_clients import CLIENTS, OF_PROXIES, PROXIES, Client, Place, measured, outcome_of, proxy, static_nginx
from bench.processor_groups import USUAL, processor_groups
from fixtures.daemon.fake_daemon import fake_daemon, license_, problem

pytestmark = [pytest.mark.slow, pytest.mark.once]  # the bench is judged, not the product
NOBODY: Final = 65534
ANSWER: Final = json.dumps(license_()).encode()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        made = Place(folder=Path(folder), uid=None if os.geteuid() else NOBODY)
        made.fill()
        yield made


def present(client: Client, place: Place) -> Client:
    if missing := client.missing(place) or PROXIES["nginx"].missing():
        pytest.skip(f"{missing} is not installed: {client.name} was not tried")
    return client


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_client_counts_what_was_answered_and_what_was_refused(place: Place, client: Client) -> None:
    present(client, place)
    with static_nginx(place, ANSWER) as path:
        good = measured(client, place, str(path), 2, 0.3)
    path = place.folder / "agent.sock"
    with fake_daemon(path) as daemon:
        path.chmod(0o666)
        daemon.says_raw("/v1/license", problem(503, "busy"))
        bad = measured(client, place, str(path), 2, 0.3)
    gone = measured(client, place, str(path), 2, 0.3)
    assert (good.failed, set(good.kinds)) == (0, {"200"})
    for outcome in (bad, gone):
        assert outcome.failed == outcome.requests > 0
    assert bad.kinds.keys() != gone.kinds.keys()


@pytest.mark.parametrize("name", PROXIES)
def test_what_a_proxy_answers_is_counted_as_such(place: Place, name: str) -> None:
    client = present(OF_PROXIES, place)
    if missing := PROXIES[name].missing():
        pytest.skip(f"{missing} is not installed: {name} was not tried")
    with static_nginx(place, ANSWER) as path, proxy(name, place, path) as url:
        good = measured(client, place, url, 2, 0.3)
    with proxy(name, place, path) as url:
        bad = measured(client, place, url, 2, 0.3)
    assert (good.failed, set(good.kinds)) == (0, {"200"})
    assert bad.failed == bad.requests > 0


def test_a_worker_that_wrote_nothing_is_a_failure(place: Place) -> None:
    written = place.folder / "one"
    written.write_text('[{"200": 2, "503": 1}, [0.001, 0.002, 0.003]]')
    outcome = outcome_of([written, place.folder / "none"], 2.0)
    assert (outcome.requests, outcome.failed, outcome.per_s) == (4, 2, 2.0)
    assert outcome.kinds["a worker that ended early"] == 1
    assert (outcome.p50_ms, outcome.p99_ms) == (2.0, 3.0)


@pytest.mark.root
def test_a_group_of_the_processor_takes_a_process_and_gives_it_back() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as waiting:
        place = Path(f"/proc/{waiting.pid}/cgroup")
        before = place.read_text()
        with processor_groups({"one": USUAL, "another": USUAL}) as groups:
            if groups is None:
                pytest.skip("this kernel or its container permits no control groups of the processor")
            groups.put("one", waiting.pid)
            groups.yields("one", idle=True)
            assert f"/{groups.folder.name}/one\n" in place.read_text()
        assert place.read_text() == before
        assert not groups.folder.exists()
        waiting.communicate(b"\n")
