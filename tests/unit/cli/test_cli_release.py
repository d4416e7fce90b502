"""`verify-install`: each kind of difference is found, named with a cure, and nothing else is one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures import signing
from fixtures.command_line import Terminal
from fixtures.installed.released_code import UNIT, ReleasedCode, installed, packaged, self_contained, typed, unpacked
from opanel_agent.core.errors import Misconfigured, Storage, Untrusted

Made = tuple[ReleasedCode, Path]


def made(tmp_path: Path, lay: Callable[[Path], ReleasedCode]) -> Made:
    root, folder = tmp_path / "root", tmp_path / "user"
    root.mkdir()
    folder.mkdir()
    return lay(root), folder


@pytest.fixture(params=[packaged, installed, self_contained, unpacked])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    return made(tmp_path, request.param)


@pytest.fixture
def package(tmp_path: Path) -> Made:
    return made(tmp_path, packaged)


@pytest.fixture
def installer(tmp_path: Path) -> Made:
    return made(tmp_path, installed)


def test_what_was_published_is_found_to_be_that(either: Made) -> None:
    code, folder = either
    code.compile(code.source)
    assert code.found(folder) == []


@pytest.mark.parametrize(
    ("lay", "has", "again"),
    [
        (packaged, {}, "apt install --reinstall opanel-agent."),
        (self_contained, {"opt/opanel-agent/package": "deb\n"}, "apt install --reinstall opanel-agent-self-contained."),
        (self_contained, {"usr/bin/dnf": "", "usr/bin/yum": ""}, "dnf reinstall opanel-agent."),
        (self_contained, {"usr/bin/yum": ""}, "yum reinstall opanel-agent."),
        (self_contained, {"usr/bin/zypper": ""}, "zypper install --force opanel-agent."),
        (self_contained, {}, "dnf reinstall opanel-agent."),
        (installed, {}, "./install.sh."),
        (unpacked, {}, "./install.sh."),
    ],
)
def test_the_cure_is_the_command_of_whoever_laid_it(
    tmp_path: Path, lay: Callable[[Path], ReleasedCode], has: dict[str, str], again: str
) -> None:
    """Of no other manager: what this system does not have is no cure."""
    code, folder = made(tmp_path, lay)
    for name, text in has.items():
        code.write(code.root / name, text)
    code.source.unlink()
    for lang, before in (("en", "Install the release again: "), ("tr", "Sürümü yeniden kurun: ")):
        assert f"{before}{again}" in " ".join(typed(code, folder, lang=lang).out.split())
    code.manifest.unlink()
    with pytest.raises(Misconfigured, match="release_absent") as raised:
        code.check(folder)
    assert f"{raised.value.values['again']}." == again


def test_an_altered_a_missing_and_an_added_file(either: Made) -> None:
    code, folder = either
    code.write(code.source, code.source.read_bytes() + b"#")
    (code.modules / "opanel_agent/data/current").unlink()
    code.write(code.modules / "opanel_agent/data/trust/root.jws", "x")
    assert code.found(folder) == [
        ("opanel_agent/data/current", "missing"),
        ("opanel_agent/data/trust/root.jws", "extra"),
        ("opanel_agent/gate.py", "altered"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "sitecustomize.py",
        "usercustomize/__init__.py",
        "extra.pth",
        "opanel_agent/gate.cpython-311-x86_64-linux-gnu.so",
        "opanel_agent/gate.pyc",
        "opanel_agent/__pycache__/gate.so",
        "h11.py",
        "tiny-1.0.dist-info/evil.py",
    ],
)
def test_whatever_python_could_take_in_place_of_the_release(either: Made, name: str) -> None:
    code, folder = either
    code.write(code.modules / name, "x")
    assert code.found(folder) == [(name, "extra")]


def test_a_link_in_the_place_of_a_file_and_of_a_folder(either: Made) -> None:
    code, folder = either
    aside = code.write(folder / "gate.py", code.source.read_bytes())
    code.source.unlink()
    code.source.symlink_to(aside)
    (code.modules / "more").symlink_to(folder)
    assert code.found(folder) == [("more", "extra"), ("opanel_agent/gate.py", "altered")]


def test_a_compiled_file_that_says_something_else_than_its_source(either: Made) -> None:
    """Python would run it, since date and size are the source's."""
    code, folder = either
    compiled = code.compile(code.source, "def may(word):\n    return True\n")
    place = compiled.relative_to(code.modules).as_posix()
    assert code.found(folder) == [(place, "compiled")]
    code.write(compiled, compiled.read_bytes()[:20])
    assert code.found(folder) == [(place, "compiled")]
    code.write(compiled, b"\x00" * 40)  # another Python's: it is compiled anew
    assert code.found(folder) == []


def test_a_compiled_file_that_python_takes_for_outdated_is_never_run(either: Made) -> None:
    code, folder = either
    code.compile(code.source, "def may(word):\n    return True\n")
    os.utime(code.source, (1, 1))
    assert code.found(folder) == []


def test_a_compiled_file_without_a_look_at_the_source_s_date(either: Made) -> None:
    """Of PEP 552: hashed, and not checked. It runs whatever the source says."""
    code, folder = either
    compiled = code.compile(code.source, "def may(word):\n    return True\n")
    data = compiled.read_bytes()
    code.write(compiled, data[:4] + b"\x01\x00\x00\x00" + b"\x00" * 8 + data[16:])
    os.utime(code.source, (1, 1))
    assert [kind for _, kind in code.found(folder)] == ["compiled"]


def test_another_folder_of_modules(either: Made) -> None:
    code, folder = either
    code.path = (*code.path, str(folder))
    assert code.found(folder) == [(str(folder), "foreign")]


def test_units_and_what_an_administrator_adds_to_them(either: Made) -> None:
    code, folder = either
    (unit,) = code.root.rglob(UNIT)
    drop_in = code.write(code.root / "etc/systemd/system" / f"{UNIT}.d/proxy.conf", "[Service]\n")
    runtime = code.write(code.root / "run/systemd/system" / UNIT, "[Unit]\n")
    found = code.check(folder)
    assert found.differences == ()
    assert found.overrides == (code.named(drop_in), code.named(runtime))
    assert f"{code.named(drop_in)} changes a unit" in " ".join(typed(code, folder).out.split())
    code.write(unit, "[Unit]\n#")
    assert code.found(folder) == [(code.named(unit), "altered")]


def test_the_interpreter_s_link_of_a_package(package: Made) -> None:
    code, folder = package
    link = code.root / "usr/lib/opanel-agent/env/bin/python"
    link.unlink()
    link.symlink_to("/home/python3")
    assert code.found(folder) == [("/usr/lib/opanel-agent/env/bin/python", "altered")]


def test_libraries_are_what_the_pinned_wheels_hold(installer: Made) -> None:
    code, folder = installer
    assert code.check(folder).not_covered == ("interpreter", "verifier")
    code.write(code.modules / "tiny/__init__.py", "VALUE = 3\n")
    (code.modules / "tinier.py").unlink()
    assert code.found(folder) == [("tinier.py", "missing"), ("tiny/__init__.py", "altered")]


def test_a_wheel_that_the_lock_does_not_pin_vouches_for_nothing(installer: Made) -> None:
    code, folder = installer
    (wheel,) = (code.root / "opt/opanel-agent/wheels").iterdir()
    code.write(wheel, wheel.read_bytes() + b"#")
    assert code.found(folder) == [("tinier.py", "extra"), ("tiny/__init__.py", "extra")]


def test_an_altered_lock_pins_nothing(installer: Made) -> None:
    code, folder = installer
    lock = code.root / "opt/opanel-agent/packaging/agent.lock"
    code.write(lock, lock.read_bytes() + b"#")
    assert code.found(folder) == [
        ("tinier.py", "extra"),
        ("tiny/__init__.py", "extra"),
        ("/opt/opanel-agent/packaging/agent.lock", "altered"),
    ]


def test_a_package_s_libraries_are_the_distribution_s_and_not_covered(package: Made) -> None:
    code, folder = package
    assert code.check(folder).not_covered == ("interpreter", "libraries", "verifier")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bin/python3.13", "altered"),
        ("bin/python", "altered"),
        ("lib/python3/ssl.py", "altered"),
        ("lib/python3/lib-dynload/_ssl.so", "altered"),
        ("lib/python3/__pycache__/ssl.cpython-313.pyc", "altered"),
        ("lib/python3/ssl.py", "missing"),
        ("bin/python3.13", "missing"),
        ("lib/python3/sitecustomize.py", "extra"),
        ("lib/python3/lib-dynload/_hashlib.so", "extra"),
        ("lib/libcrypto.so.3", "extra"),
        ("bin/pyvenv.cfg", "extra"),
    ],
)
@pytest.mark.parametrize("lay", [self_contained, unpacked])
def test_a_python_of_its_own_is_compared_to_its_last_file(
    tmp_path: Path, lay: Callable[[Path], ReleasedCode], name: str, kind: str
) -> None:
    code, folder = made(tmp_path, lay)
    path = code.env / name
    if path.is_symlink():
        path.unlink()
        path.symlink_to("/usr/bin/python3")
    elif kind == "missing":
        path.unlink()
    else:
        code.write(path, b"\x7fELF, another")
    assert code.found(folder) == [(code.named(path), kind)]


@pytest.mark.parametrize("lay", [self_contained, unpacked])
def test_of_a_python_of_its_own_only_the_verifier_is_not_covered(
    tmp_path: Path, lay: Callable[[Path], ReleasedCode]
) -> None:
    code, folder = made(tmp_path, lay)
    assert code.check(folder).not_covered == ("verifier",)
    assert "dpkg" not in typed(code, folder).out


def test_of_the_tar_install_sh_and_the_units_are_compared_too(tmp_path: Path) -> None:
    code, folder = made(tmp_path, unpacked)
    unit, command = code.root / "etc/systemd/system" / UNIT, code.env / "bin/opanel-agent"
    code.write(unit, "[Unit]\n[Service]\nExecStart=/bin/true\n")
    code.write(code.root / "opt/opanel-agent/install.sh", "#!/bin/sh\ntrue\n")
    command.unlink()
    assert code.found(folder) == [
        ("/etc/systemd/system/opanel-agent.service", "altered"),
        (code.named(command), "missing"),
        ("/opt/opanel-agent/install.sh", "altered"),
    ]


def test_the_screen_and_the_json(package: Made) -> None:
    code, folder = package
    good = typed(code, folder)
    assert good.status == 0
    text = " ".join(good.out.split())
    assert "This is opanel-agent 0.1.0 as it was published" in text
    assert "dpkg --verify python3-cryptography" in text
    assert "it is part of the code that it compares" in text
    code.write(code.source, "#")
    bad = typed(code, folder)
    text = " ".join(bad.out.split())
    assert bad.status == 1
    assert "This is NOT opanel-agent 0.1.0 as it was published" in text
    assert f"cannot vouch for {code.named(code.source)}: it was altered since it was published [code_differs]" in text
    assert "apt install --reinstall opanel-agent" in text
    result = typed(code, folder, "--json").json()["result"]
    assert (result["good"], result["root"]) == (False, signing.trusted_root().digest)
    assert [(each["kind"], each["path"], each["code"]) for each in result["differences"]] == [
        ("altered", code.named(code.source), "code_differs")
    ]
    assert "yayımlandığı hâliyle" in typed(code, folder, lang="tr").out


def test_many_differences_are_counted_rather_than_shown(package: Made) -> None:
    code, folder = package
    for number in range(30):
        code.write(code.modules / f"m{number}.py", "")
    assert "and 6 more; --json lists them all" in typed(code, folder).out
    assert len(typed(code, folder, "--json").json()["result"]["differences"]) == 30


def test_who_else_signs_is_not_believed(either: Made) -> None:
    code, folder = either
    code.write(code.manifest, signing.release(by=[signing.signer("somebody")], **code.claims))
    with pytest.raises(Untrusted, match="release_threshold"):
        code.check(folder)
    code.write(code.manifest, b"x" * (4 * 1024 * 1024 + 1))
    with pytest.raises(Untrusted, match="jws_size"):
        code.check(folder)


def test_what_is_no_release_says_so(either: Made, tmp_path: Path) -> None:
    code, folder = either
    code.sign(version="0.1.1")
    with pytest.raises(Misconfigured, match="release_version"):
        code.check(folder)
    code.manifest.unlink()
    with pytest.raises(Misconfigured, match="release_absent"):
        code.check(folder)
    terminal = Terminal(folder=folder)
    terminal.trust()
    checkout = terminal.type("verify-install")
    assert (checkout.status, "this is not a release" in checkout.err) == (78, True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_no_difference(package: Made) -> None:
    code, folder = package
    code.source.chmod(0)
    with pytest.raises(Storage, match="read_failed"):
        code.check(folder)


def test_a_manifest_that_cannot_be_read_is_said(package: Made) -> None:
    code, folder = package
    code.manifest.unlink()
    code.manifest.mkdir()
    with pytest.raises(Storage, match="read_failed"):
        code.check(folder)
