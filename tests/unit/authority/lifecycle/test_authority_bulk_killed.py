"""A file of orders whose command is killed in its middle, here and over HTTP: run again, each order is one license."""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.authority.authority_server import Served, environment, serving
from fixtures.authority.vendor import RESELLER
from opanel_agent.core.license import license_key
from opanel_authority.cli.remote import client
from opanel_authority.lifecycle import api_keys, listing
from opanel_authority.lifecycle.listing import Filter

ORDERS = 120
PATIENCE_S = 120


def here(served: Served) -> tuple[list[str], dict[str, str]]:
    return ["bulk", "--as", RESELLER, "--dir", str(served.vendor.authority.directory)], {}


def over_http(served: Served) -> tuple[list[str], dict[str, str]]:
    made = api_keys.make(
        served.vendor.authority,
        name="desk",
        reseller=RESELLER,
        scopes=api_keys.SCOPES,
        now=int(time.time()),
        actor="test",
    )
    there = {client.SERVER_VARIABLE: f"http://127.0.0.1:{served.port}", client.KEY_VARIABLE: made.secret}
    return ["remote", "bulk"], there


def lines(result: Path) -> list[str]:
    return result.read_text("utf-8").splitlines() if result.exists() else []


@pytest.mark.slow
@pytest.mark.parametrize("way", [here, over_http], ids=["here", "over HTTP"])
def test_a_file_of_orders_goes_on_where_it_was_killed(
    way: Callable[[Served], tuple[list[str], dict[str, str]]], tmp_path: Path
) -> None:
    with serving(tmp_path) as served:
        words, variables = way(served)
        orders, result = tmp_path / "orders.csv", tmp_path / "sold.csv"
        orders.write_text("order_id\n" + "".join(f"k{number}\n" for number in range(ORDERS)), "utf-8")
        command = [sys.executable, "-m", "opanel_authority", *words, str(orders), "-o", str(result), "--json"]
        named = environment() | variables
        with subprocess.Popen(command, env=named, stdout=subprocess.DEVNULL) as running:
            ends = time.monotonic() + PATIENCE_S
            while len(lines(result)) < 10 and time.monotonic() < ends:
                time.sleep(0.005)
            running.kill()
        before = len(lines(result)) - 1
        assert 9 <= before < ORDERS, "killed in its middle"
        # the power went off in a line: its order was sold all the same
        os.truncate(result, result.stat().st_size - 20)
        ran = subprocess.run(command, env=named, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
        counts = json.loads(ran.stdout)["result"]
        with served.vendor.authority.store.reading() as books:
            sold = {str(row["order_id"]): row for row in listing.everything(books, Filter(), now=int(time.time()))}
    assert counts["there_before"] + counts["issued"] == ORDERS
    assert counts["there_before"] == before - 1
    assert len(sold) == ORDERS
    rows = [*csv.DictReader(lines(result))]
    assert len(rows) == ORDERS
    sold_rows = {row["order_id"]: row for row in rows}
    for order, row in sold_rows.items():
        assert license_key.digest(row["license_key"])[:8] == sold[order]["key_digits"]
    assert sold_rows.keys() == sold.keys()
    assert {order: row["id"] for order, row in sold_rows.items()} == {order: row["id"] for order, row in sold.items()}
