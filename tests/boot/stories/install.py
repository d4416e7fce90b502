"""Installed on a new server, in Turkish; nothing leaves it by that, nor by a day of `offline`."""

from boot.file_tree import changed, read
from boot.guest import TOOLS, UNITS
from boot.scenario import PYTHON, STANDS, Scenario
from boot.stories import published

# What is typed at each prompt of setup: no to everything, in both of the ways that a no may be typed.
TURKISH_NO = {"-- Enter: devamı --": "", r"Açık rıza veriyor musunuz\? e = evet, Enter = hayır >": "h"}
ENGLISH_YES = {"-- Enter: read on --": "", r"Do you consent\? y = yes, Enter = no >": "y"}


def installs(scene: Scenario) -> None:
    checks, guest = scene.checks, scene.guest
    scene.settle()
    status, seen = guest.converse(install("current", "--lang", "tr"), TURKISH_NO)
    asked = seen.count("Açık rıza veriyor musunuz?")
    checks.true(
        "it installs, and both questions are answered on a terminal, in Turkish",
        found=(status, asked) == (0, 2),
        reason=seen,
    )
    checks.true("it says that it contacts nobody", found="Bağlanılacak sunucu: yok." in seen, reason=seen)
    # Soon: the agent reads the answers anew that were just written, and is `reloading` meanwhile.
    checks.soon("each unit runs", lambda: all(guest.unit(unit, "ActiveState") == "active" for unit in UNITS))
    checks.soon("it answers on its socket", guest.answers)
    checks.same("it finds every wall of its cage standing", STANDS, scene.isolation())
    checks.same(
        "its state is its own",
        "opanel-agent opanel-agent 700",
        guest.must("stat", "-c", "%U %G %a", "/var/lib/opanel-agent"),
    )
    owner = guest.must("stat", "-c", "%U %G %a", "/run/opanel-agent/agent.sock")
    checks.same("its socket belongs to the group opanel", "opanel-agent opanel 660", owner)
    answers = guest.agent("consent", "show", "--json").json["purposes"]
    allowed = [name for name, answer in answers.items() if answer.get("allow")]
    checks.same("every consent is denied", [], allowed)
    published.is_verified(scene, "current", lacking=(published.ROOT,))
    before = read(guest.root)
    again = guest.run(*install("current", "--lang", "tr"))
    checks.succeeds("installed again, it succeeds", again)
    checks.same("and nothing is changed by that", [], changed(before, read(guest.root)))


def install(build: str, *options: str) -> tuple[str, ...]:
    tree = f"{TOOLS}/{build}"
    return ("sh", f"{tree}/install.sh", "--wheels", f"{tree}/wheels", *options)


def says_nothing_offline(scene: Scenario) -> None:
    """With a license, so that there is a check to make, and a day in which it comes due."""
    checks, guest = scene.checks, scene.guest
    scene.outside.issue("first.jws")
    scene.put("/root/first.jws", (scene.outside.folder / "first.jws").read_text("ascii"))
    checks.succeeds("a license is installed from a file", guest.agent("license", "install", "/root/first.jws"))
    checks.same("it holds without a connection", "active", guest.state()[0])
    guest.agent("offline", "on")
    scene.fake_clock()
    passes = scene.pass_time(27)  # the first check may be planned for any moment of the first day
    checks.true(f"in a day of offline it looked {passes} times", found=passes > 1, reason="it slept")
    doors = [guest.accepted("fetch"), guest.accepted("courier")]
    checks.same("systemd started neither fetch nor courier", [0, 0], doors)
    count = scene.link.count()
    checks.same("the kernel counted no packet: installed, started, and a day of offline", 0, count.packets)
    checks.same("nor did the server try to send one", (0, 0, 0), (count.connections, count.datagrams, count.ip6))
    control(scene)
    guest.agent("offline", "off")


def control(scene: Scenario) -> None:
    """That the counters see what leaves: an address and a name, asked for by somebody else."""
    before = scene.link.count()
    scene.guest.run(PYTHON, "-I", f"{TOOLS}/probe.py", "leave")
    seen = scene.link.count().since(before)
    found = seen.packets > 0 and seen.connections > 0 and seen.datagrams > 0
    scene.checks.true(
        "the same counters see a connection and a question to a name service", found=found, reason=str(seen)
    )
