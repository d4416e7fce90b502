"""Settings are read whole or refused whole, and a refusal names the line."""

import re
from pathlib import Path

import pytest

from fixtures.simulated.memory_files import MemoryFiles
from opanel_agent.core.codes import Fault, Reason
from opanel_agent.core.errors import Misconfigured, Storage
from opanel_agent.system.storage.paths import Paths
from opanel_agent.system.storage.settings import Settings, load, parse

DEFAULTS = Path(__file__).parents[4] / "config" / "agent.toml"
PATHS = Paths(
    system=True, owner=0, config_dir=Path("/etc/opanel-agent"), state_dir=Path("/var"), runtime_dir=Path("/run")
)
WHOLE = """
schema = 1
language = "en"
region = "tr"
mirrors = ["https://a.example/opanel", "http://127.0.0.1:8470"]
proxy = "http://user:secret@proxy.example:3128"
no_proxy = [".internal.example", "10.0.0.0/8"]
ca_file = "/etc/ca.pem"
trust_root = "/etc/opanel-agent/root.jws"
panel_version_file = "/usr/local/opanel/VERSION"
advisories = false

[license]
check = false
renew = false
"""


def refusal(data: bytes) -> tuple[str, int, str]:
    with pytest.raises(Misconfigured) as caught:
        parse(data)
    assert caught.value.code is Reason.SETTINGS_REFUSED
    return caught.value.detail, int(caught.value.values["line"]), str(caught.value.values.get("name", ""))


def test_every_key_is_read() -> None:
    assert parse(WHOLE.encode()) == Settings(
        language="en",
        region="tr",
        mirrors=("https://a.example/opanel", "http://127.0.0.1:8470"),
        proxy="http://user:secret@proxy.example:3128",
        no_proxy=(".internal.example", "10.0.0.0/8"),
        ca_file=Path("/etc/ca.pem"),
        trust_root=Path("/etc/opanel-agent/root.jws"),
        panel_version_file=Path("/usr/local/opanel/VERSION"),
        advisories=False,
        license_check=False,
        license_renew=False,
    )


def test_the_least_file_means_the_defaults() -> None:
    assert parse(b"schema = 1\n") == Settings()
    assert parse(b"schema = 1\n[license]\n") == Settings()


def test_the_file_that_ships_means_the_defaults() -> None:
    assert parse(DEFAULTS.read_bytes()) == Settings()


def test_every_example_of_the_file_that_ships_is_good_and_names_every_key() -> None:
    shown = re.sub(r"(?m)^# (\w+ = )", r"\1", DEFAULTS.read_text())
    assert {line.split(" = ")[0] for line in shown.split("\n") if re.match(r"\w+ = ", line)} == {
        line.split(" = ")[0] for line in WHOLE.split("\n") if " = " in line
    }
    settings = parse(shown.encode())
    assert (settings.advisories, settings.license_check, settings.license_renew) == (True, True, True)
    assert None not in (settings.language, settings.region, settings.proxy, settings.ca_file, settings.trust_root)


@pytest.mark.parametrize("line", [number for number, line in enumerate(WHOLE.split("\n"), start=1) if " = " in line])
def test_a_key_without_its_value_is_named_with_its_line(line: int) -> None:
    lines = WHOLE.split("\n")
    lines[line - 1] = lines[line - 1].partition(" =")[0] + " ="
    assert refusal("\n".join(lines).encode()) == ("toml_syntax", line, "")


@pytest.mark.parametrize(
    ("text", "detail", "line", "name"),
    [
        ("", "toml_schema", 1, "schema"),
        ("schema = 2", "toml_schema", 1, "schema"),
        ("\nschema = true", "toml_type", 2, "schema"),
        ("schema = 1.0", "toml_type", 1, "schema"),
        ("schema = 1\nmirors = []", "toml_unknown", 2, "mirors"),
        ("schema = 1\n[licence]\ncheck = true", "toml_unknown", 2, "licence"),
        ("schema = 1\n[license]\nchek = true", "toml_unknown", 3, "license.chek"),
        ("schema = 1\nlicense = {check = true, x = 1}", "toml_unknown", 2, "license.x"),
        ("schema = 1\nlicense.renew = 1", "toml_type", 2, "license.renew"),
        ('schema = 1\nlicense = "yes"', "toml_type", 2, "license"),
        ('schema = 1\n[license]\ncheck = "true"', "toml_type", 3, "license.check"),
        ("schema = 1\n[license]\nrenew = 1", "toml_type", 3, "license.renew"),
        ("schema = 1\nadvisories = 0", "toml_type", 2, "advisories"),
        ('schema = 1\n\n"language" = "de"', "toml_value", 3, "language"),
        ("schema = 1\nlanguage = 1", "toml_type", 2, "language"),
        ('schema = 1\nregion = "TR"', "toml_value", 2, "region"),
        ('schema = 1\nregion = ""', "toml_value", 2, "region"),
        ('schema = 1\nmirrors = "https://a.example"', "toml_type", 2, "mirrors"),
        ("schema = 1\nmirrors = [1]", "toml_type", 2, "mirrors"),
        ('schema = 1\nmirrors = ["http://a.example"]', "toml_value", 2, "mirrors"),
        ('schema = 1\nmirrors = ["https://a.example", "https://a.example"]', "toml_value", 2, "mirrors"),
        ('schema = 1\nmirrors = ["https://a.example/?id=7"]', "toml_value", 2, "mirrors"),
        ('schema = 1\nproxy = "proxy.example:3128"', "proxy_scheme", 2, "proxy"),
        ('schema = 1\nproxy = "socks5://proxy.example"', "proxy_scheme", 2, "proxy"),
        ('schema = 1\nproxy = "htp://proxy.example"', "proxy_scheme", 2, "proxy"),
        ('schema = 1\nproxy = "http:/proxy.example"', "proxy_scheme", 2, "proxy"),
        ('schema = 1\nproxy = "//proxy.example"', "proxy_scheme", 2, "proxy"),
        ('schema = 1\nproxy = ""', "proxy_scheme", 2, "proxy"),
        ('schema = 1\nproxy = "http://"', "proxy_address", 2, "proxy"),
        ('schema = 1\nproxy = "http://a:99999"', "proxy_address", 2, "proxy"),
        ('schema = 1\nproxy = "http://a:0"', "proxy_address", 2, "proxy"),
        ('schema = 1\nproxy = "http://[::1"', "proxy_address", 2, "proxy"),
        ('schema = 1\nproxy = "http://a/path"', "proxy_address", 2, "proxy"),
        ('schema = 1\nproxy = "http://a b"', "proxy_address", 2, "proxy"),
        ('schema = 1\nproxy = "http://u:p#w@a:1"', "proxy_address", 2, "proxy"),
        ('schema = 1\nproxy = "http://u:ä@a:1"', "proxy_address", 2, "proxy"),
        ("schema = 1\nproxy = 3128", "toml_type", 2, "proxy"),
        ('schema = 1\nno_proxy = "a.example"', "toml_type", 2, "no_proxy"),
        ('schema = 1\nno_proxy = ["*"]', "toml_value", 2, "no_proxy"),
        ('schema = 1\nno_proxy = ["https://a.example"]', "toml_value", 2, "no_proxy"),
        ('schema = 1\nca_file = "ca.pem"', "toml_value", 2, "ca_file"),
        ('schema = 1\ntrust_root = ""', "toml_value", 2, "trust_root"),
        ('schema = 1\npanel_version_file = "/a\\u0000b"', "toml_value", 2, "panel_version_file"),
        ("schema = 1\nschema = 1", "toml_syntax", 2, ""),
        ("schema = 1\nproxy", "toml_syntax", 2, ""),
        ("schema = 1\nx = " + "[" * 5000, "toml_syntax", 2, ""),
    ],
)
def test_every_fault_is_refused_with_its_line(text: str, detail: str, line: int, name: str) -> None:
    assert refusal(text.encode()) == (detail, line, name)


def test_too_many_mirrors_are_refused() -> None:
    mirrors = ",".join(f'"https://m{number}.example"' for number in range(17))
    assert refusal(f"schema = 1\nmirrors = [{mirrors}]".encode())[0] == "toml_value"


def test_another_encoding_is_refused_with_its_line() -> None:
    assert refusal("schema = 1\n# T\xfcrk\xe7e\n".encode("latin-1")) == ("toml_utf8", 2, "")
    assert refusal("\ufeffschema = 1\n".encode())[0] == "toml_syntax"


# from the disk


def test_no_file_means_the_defaults() -> None:
    assert load(MemoryFiles(), PATHS) == Settings()


def test_the_file_is_read_anew_each_time() -> None:
    files = MemoryFiles()
    files.put(PATHS.settings, WHOLE.encode())
    assert load(files, PATHS).language == "en"
    files.put(PATHS.settings, b"schema = 1\n")
    assert load(files, PATHS).language is None


def test_a_fault_names_the_file() -> None:
    files = MemoryFiles()
    files.put(PATHS.settings, b"schema = 1\nx = 1\n")
    with pytest.raises(Misconfigured) as caught:
        load(files, PATHS)
    assert caught.value.values == {"file": "/etc/opanel-agent/agent.toml", "line": 2, "name": "x"}


@pytest.mark.parametrize(
    ("lay", "detail"),
    [
        ({"owner": 1000}, "file_owner"),
        ({"mode": 0o666}, "file_writable"),
        ({"kind": "link"}, "file_type"),
        ({"data": b"#" * 70_000}, "file_size"),
    ],
)
def test_a_file_that_is_not_the_owners_alone_is_refused(lay: dict[str, object], detail: str) -> None:
    files = MemoryFiles()
    files.put(PATHS.settings, **{"data": WHOLE.encode(), **lay})  # type: ignore[arg-type]
    with pytest.raises(Misconfigured) as caught:
        load(files, PATHS)
    assert (caught.value.code, caught.value.detail) == (Reason.SETTINGS_REFUSED, detail)


def test_an_unreadable_file_is_refused() -> None:
    def fault(name: str, path: Path) -> None:
        raise Storage(Fault.NO_PERMISSION, "read_failed", file=str(path), errno="EACCES")

    with pytest.raises(Misconfigured) as caught:
        load(MemoryFiles(fault=fault), PATHS)
    assert (caught.value.code, caught.value.detail) == (Reason.SETTINGS_REFUSED, "read_failed")


def test_a_proxy_s_scheme_may_be_written_in_capitals() -> None:
    assert parse(b'schema = 1\nproxy = "HTTP://proxy.example:3128"').proxy == "HTTP://proxy.example:3128"
