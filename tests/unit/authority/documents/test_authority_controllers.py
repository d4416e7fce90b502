"""`init`, `delegate`, `reseller` and `rotate` name who answers for personal data, and keep what was named."""

import json
from pathlib import Path
from typing import Any

import pytest

from opanel_agent.core.documents.controller import Controller, Mechanism
from opanel_authority import authority as home
from opanel_authority.cli.main import main
from opanel_authority.documents import delegate

NAMED = ["--controller-name", "Örnek A.Ş.", "--controller-address", "Ankara", "--controller-email", "kvkk@v.example"]
ORNEK = Controller(name="Örnek A.Ş.", address="Ankara", email="kvkk@v.example")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "a"


def init(there: Path, *more: str) -> int:
    return main(["init", str(there), "--url", "https://a.example", "--region", "tr", *more])


def newest(there: Path, name: str = "R") -> Any:
    authority = home.open_home(there)
    with authority.store.reading() as books:
        row = books.delegation(name=name)
    assert row is not None
    return delegate.last(authority, row.text)


def test_a_root_names_what_init_was_told_and_its_successor_what_did_not_change(there: Path) -> None:
    options = [*NAMED, "--transfer", "eu=standard_contract", "--ip-retention-days", "30"]
    assert init(there, *options) == 0
    root = home.open_home(there).root
    assert (root.controller, root.transfers, root.ip_retention_days) == (
        ORNEK,
        {"eu": Mechanism.STANDARD_CONTRACT},
        30,
    )
    assert main(["rotate", "advisory", "--dir", str(there), "--transfer", "us=undertaking"]) == 0
    root = home.open_home(there).root
    assert (root.seq, root.controller, root.ip_retention_days) == (2, ORNEK, 30)
    assert root.transfers == {"eu": Mechanism.STANDARD_CONTRACT, "us": Mechanism.UNDERTAKING}


def test_a_root_of_before_may_name_somebody_later(there: Path) -> None:
    assert init(there) == 0
    assert home.open_home(there).root.controller is None
    assert main(["rotate", "status", "--dir", str(there), *NAMED, "--controller-kep", "o@kep.example"]) == 0
    assert home.open_home(there).root.controller == Controller(
        name="Örnek A.Ş.", address="Ankara", email="kvkk@v.example", kep="o@kep.example"
    )


def test_a_delegation_names_the_reseller_and_keeps_him(there: Path, tmp_path: Path) -> None:
    assert init(there) == 0
    here = ["--dir", str(there)]
    made = ["delegate", "R", "--email", "r@r.example", "-o", str(tmp_path / "r"), *here]
    assert main([*made, *NAMED]) == 0
    assert newest(there).controller == ORNEK
    assert main(["reseller", "R", "--slots", "20000", *here]) == 0
    assert newest(there).controller == ORNEK
    assert main(["reseller", "R", "--rekey", *here]) == 0
    assert newest(there).controller == ORNEK
    other = [word.replace("Ankara", "İzmir") for word in NAMED]
    assert main(["reseller", "R", *other, *here]) == 0
    assert newest(there).controller.address == "İzmir"


def test_half_a_controller_is_refused(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(there, "--controller-name", "Örnek", "--json") == 64
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert error["title"] == "cannot name a controller without address"
    assert not there.exists()


@pytest.mark.parametrize("text", ["eu", "eu=", "eu=hope", "=hope"])
def test_a_mechanism_that_nobody_knows_is_refused(there: Path, text: str) -> None:
    assert init(there, "--transfer", text) == 64
    assert not there.exists()


def test_what_no_agent_would_accept_makes_no_authority(there: Path) -> None:
    assert init(there, *[word.replace("kvkk@v.example", "nobody") for word in NAMED]) == 65
    assert not (there / "root.jws").exists()
