"""The story of a license, told by running it: ./install.sh --demo execs this in the demo's environment.

Each step prints one sentence, then commands that anyone could type and their true output. An authority and an agent run
as real processes on loopback, in a folder of their own; what a step promises is checked, and a broken promise ends the
story with exit status 70. Nothing stays behind but the environment (with --keep: until you stop it).
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

BIN: Final = Path(sys.executable).parent
READY_S: Final = 20.0
FAILED: Final = 70
RESELLER: Final = "Örnek Hosting"
# What a step says, in both languages; {name} is filled in.
WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "authority": (
        "Lisans otoritesi: bir kök (3 anahtardan 2'si), bir bayi ve bir lisans. Sunucu yalnızca bu makineden erişilebilir.",
        "The authority: a root (2 of 3 keys), a reseller, a license. It serves on loopback only.",
    ),
    "daemon": (
        "Ajan başlıyor. Henüz lisans yok; ne yapılacağını kendisi gösteriyor.",
        "The agent starts. There is no license yet, and it says what to do.",
    ),
    "install": (
        "Lisans çevrimdışı doğrulanıyor: lisans otoritesine hiçbir istek gitmedi.",
        "The license is verified offline: the authority has seen no request.",
    ),
    "silent": ("Lisans otoritesinin gördüğü istekler: yok.", "Requests that the authority has seen: none."),
    "activate": (
        "Etkinleştirme: gönderilecekler önce gösteriliyor, sonra tam olarak onlar gönderiliyor.",
        "Activation: first it shows what will be sent, then sends exactly that.",
    ),
    "carried": (
        "Bu makinede izlenmeme yürürlükte ({place}): etkinleştirme isteği dosyaya yazılıyor ve elden iletiliyor.",
        "Do-not-track is set on this machine ({place}): the activation is written to a file and delivered by hand.",
    ),
    "refresh": (
        "Durum listesi alınıyor. İstek, ağdan geçtiği hâliyle: her müşteri için aynı baytlar.",
        "The status list is fetched. The request as it went over the wire: the same bytes for every customer.",
    ),
    "panel": (
        "Panel, neye izin verildiğini sokete soruyor.",
        "The panel asks the socket what it may do.",
    ),
    "suspend": (
        "Bayi lisansı askıya alıyor: önce uyarı, ne zaman yürürlüğe gireceği ve kimin aranacağı; izinler aynı.",
        "The reseller suspends: a warning first, when it takes effect, whom to call; permits are unchanged.",
    ),
    "resume": ("Bayi vazgeçiyor: sonraki yenilemede her şey düzelir.", "Resumed: all is well at the next refresh."),
    "api_key": (
        "Bayi tarafı: fatura sistemi için bir API anahtarı. Yalnızca bu bayinin lisanslarına erişir.",
        "The reseller's side: an API key for his billing system. It reaches his own licenses only.",
    ),
    "order": (
        "Bir sipariş. Yanıt kaybolur da aynı sipariş yine gönderilirse, aynı lisans döner; ikincisi satılmaz.",
        "An order. If the reply is lost and the order is sent again, it is the same license; no second one is sold.",
    ),
    "unpaid": (
        "Ödenmedi: lisans, sipariş numarasıyla askıya alınıyor.",
        "Not paid: the license is suspended by the order's number.",
    ),
    "audit": (
        "Denetim: kim, neyi, ne zaman, neden; ve yetkiden fazla satılıp satılmadığı, yalnızca imzalı belgelerden.",
        "The audit: who, what, when, why; and whether more was sold than permitted, from signed documents alone.",
    ),
    "edit": (
        "Lisans dosyasında tek bir karakter değiştiriliyor: reddedilir, eldeki lisans kalır.",
        "One character of the bundle is edited: it is refused with a reason, and the good one stays.",
    ),
    "stopped": (
        "Lisans otoritesi durduruluyor: ulaşılamamak bir nedendir, durum değildir.",
        "The authority is stopped: unreachable is a reason, never a state.",
    ),
    "preview": (
        "Rıza verilmeden önce bir rapor: içeriği gösterilir; hiçbir şey gönderilmez ve saklanmaz.",
        "A report before consent: its contents are shown; nothing is sent and nothing is kept.",
    ),
    "why": ("Gönderilmemesinin bütün nedenleri:", "All reasons why it is not sent:"),
    "allow": (
        "Sistem yöneticisi rıza veriyor. Rapor şimdi hazırlanıyor, gösteriliyor ve gösterilen baytlar gönderiliyor.",
        "The administrator allows it. Now the report is made, shown and sent: exactly the bytes that were shown.",
    ),
    "received": (
        "Lisans otoritesinin aldığı, sahibinin görebileceği hâliyle; imzalı alındı belgesi bu sunucuda saklanıyor.",
        "What the authority received, as its owner may see it; its signed receipt is kept here.",
    ),
    "deny": (
        "Geri alma: soru yok, ağ yok. Bekletilenler silinir, gönderilmiş olanlar için silme başvurusu hazırlanır.",
        "Withdrawal: no question, no network. Held reports are deleted; a request to erase what was sent is ready.",
    ),
    "dnt": (
        "İzlenmeme: nedeni ve yeriyle engellenir; herkes için aynı olan istekler sürer.",
        "Do-not-track: blocked, with the reason and the place; requests that are the same for everyone continue.",
    ),
    "offline": ("Çevrimdışı kip: hiçbir istek yok.", "Offline mode: no requests at all."),
    "silence": (
        "Kanıt: kurulu kod, boş bir ağda, çekirdeğin kendi sayacıyla (burada bir gün; süre verilmezse bir ay).",
        "The proof: the installed code, in an empty network, by the kernel's own counter (one day here, else a month).",
    ),
    "end": (
        "Gösteri bitti: {count} komut, {seconds} saniye. Geride yalnızca .env/demo kaldı.",
        "Done: {count} commands, {seconds} seconds. Only .env/demo is left.",
    ),
    "keep": (
        "Lisans otoritesi ve ajan çalışmayı sürdürüyor. Kullanmak için:",
        "The authority and the agent keep running. To use them:",
    ),
    "stop": ("Durdurmak ve silmek için:", "To stop them and remove everything:"),
}


class Broken(Exception):
    """A step did not come to what it promised."""


class Story:
    """One telling: a folder, two processes, and a transcript on stdout."""

    def __init__(self, folder: Path, lang: str) -> None:
        self.folder = folder
        self.lang = lang
        self.count = 0
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.log = folder / "requests.log"
        self.variables = {
            "HOME": folder,
            "XDG_CONFIG_HOME": folder / "config",
            "XDG_STATE_HOME": folder / "state",
            "XDG_RUNTIME_DIR": folder / "run",
            "OPANEL_AUTHORITY_DIR": folder / "authority",
        }
        self.environment = {
            **{name: os.environ[name] for name in ("LANG", "TERM", "DO_NOT_TRACK") if name in os.environ},
            **{name: str(path) for name, path in self.variables.items()},
            "PATH": f"{BIN}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        }

    def narrate(self, word: str, **values: object) -> None:
        turkish, english = WORDS[word]
        print("\n" + (turkish if self.lang == "tr" else english).format(**values), flush=True)

    def run(self, command: str, *, status: int = 0) -> str:
        """Type a command: show it, show what it prints, hold it to its exit status. Returns its stdout."""
        self.count += 1
        print(f"\n  $ {command}", flush=True)
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        for line in (done.stderr + done.stdout).splitlines():
            print(f"    {line}", flush=True)
        if done.returncode != status:
            raise Broken(f"{command}: exit {done.returncode} instead of {status}")
        return done.stdout

    def quietly(self, command: str) -> str:
        """A command whose output the story reads but does not show."""
        done = subprocess.run(
            shlex.split(command),
            executable=shutil.which(shlex.split(command)[0], path=self.environment["PATH"]),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def start(self, name: str, command: str) -> None:
        self.count += 1
        print(f"\n  $ {command} &", flush=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                shlex.split(command),
                executable=shutil.which(shlex.split(command)[0], path=self.environment["PATH"]),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is the story's to handle
            )

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        if process.poll() is None:
            process.kill()
            process.wait()

    def until(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait for a process to be reachable; one that ended instead shows what it said."""
        ends_at = time.monotonic() + READY_S
        while not ready():
            ended = self.processes[name].poll() is not None
            if ended or time.monotonic() > ends_at:
                raise Broken(f"{name} did not come up:\n{(self.folder / f'{name}.log').read_text()}")
            time.sleep(0.02)

    def license(self) -> dict[str, Any]:
        """What the panel would be told now, read apart from the transcript to hold a step to its promise."""
        result: dict[str, Any] = json.loads(self.quietly("opanel-agent status --json"))["result"]
        return result

    def expect(self, *, state: str, reason: str | None = None) -> None:
        license_ = self.license()["license"]
        if license_["state"] != state or (reason is not None and reason not in license_["reasons"]):
            raise Broken(f"the state is {license_['state']} {license_['reasons']} instead of {state} {reason or ''}")

    def requests(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run_story(story: Story) -> None:
    port = free_port()
    authority(story, port)
    agent(story)
    install(story)
    activate(story)
    refresh(story)
    panel(story)
    suspend(story)
    resell(story, port)
    edit(story)
    unreachable(story)
    report(story, port)
    deny(story)
    opt_out(story)
    silence(story)


def authority(story: Story, port: int) -> None:
    story.narrate("authority")
    story.run(f"opanel-authority init authority --url http://127.0.0.1:{port} --region tr --name 'Demo'")
    story.run(
        f"opanel-authority delegate '{RESELLER}' --email destek@hosting.example --phone '+90 212 000 00 00'"
        " --features backup,mail,dns --limit accounts=1000 -o reseller"
    )
    story.run(
        f"opanel-authority issue --as '{RESELLER}' --features backup,mail --limit accounts=100 --days 365"
        " --min-p 0 -o license.jws"
    )
    serve(story, port)


def serve(story: Story, port: int) -> None:
    story.start("authority", f"opanel-authority serve --listen 127.0.0.1:{port} --log {story.log}")
    story.until("authority", partial(listens, port))


def agent(story: Story) -> None:
    settings = story.folder / "config" / "opanel-agent" / "agent.toml"
    settings.parent.mkdir(parents=True, mode=0o700)
    (story.folder / "run").mkdir(mode=0o700)
    settings.write_text(
        f'schema = 1\nlanguage = "{story.lang}"\ntrust_root = "{story.folder / "authority" / "root.jws"}"\n'
    )
    (settings.parent / "consent.toml").write_text(CONSENT)
    story.narrate("daemon")
    story.run(f"cat {settings}")
    story.start("agent", "opanel-agent daemon")
    story.until("agent", (story.folder / "run" / "opanel-agent" / "answer.json").exists)
    story.run("opanel-agent status")
    story.expect(state="unlicensed")


def install(story: Story) -> None:
    story.narrate("install")
    before = len(story.requests())
    story.run("opanel-agent license install license.jws")
    story.expect(state="active", reason="activation_due")
    if len(story.requests()) != before or before != 0:
        raise Broken(f"the authority has seen {story.requests()}")
    story.narrate("silent")
    story.run(f"cat {story.log} 2>/dev/null || true")


def activate(story: Story) -> None:
    signals = story.license()["consent"]["do_not_track"]
    if signals:
        story.narrate("carried", place=signals[0]["place"])
        story.run("opanel-agent license activate -o request.jws")
        story.run("opanel-authority answer request.jws -o activation.jws")
        story.run("opanel-agent license install activation.jws")
    else:
        story.narrate("activate")
        story.run("opanel-agent license activate")
    story.expect(state="active", reason=None)
    if "activation_due" in story.license()["license"]["reasons"]:
        raise Broken("the activation did not take")


def refresh(story: Story) -> None:
    story.narrate("refresh")
    story.run("opanel-agent license refresh")
    story.run(f"tail -n 2 {story.log}")
    story.expect(state="active")


def panel(story: Story) -> None:
    story.narrate("panel")
    if shutil.which("curl"):
        ask = "curl -sS --unix-socket run/opanel-agent/agent.sock http://opanel/v1/license"
    else:  # the same request with what Python brings along
        (story.folder / "ask.py").write_text(ASK)
        ask = "python3 ask.py run/opanel-agent/agent.sock"
    answer = json.loads(story.run(f"{ask} | python3 -m json.tool --no-ensure-ascii"))
    if answer["permits"] != {"run": True, "change": True, "create": True, "paid_features": True}:
        raise Broken(f"the panel may only {answer['permits']}")


def suspend(story: Story) -> None:
    jti = license_id(story)
    story.narrate("suspend")
    permits = story.license()["license"]["permits"]
    story.run(f"opanel-authority suspend {jti}")
    story.run("opanel-agent license refresh")
    story.run("opanel-agent status")
    story.expect(state="grace", reason="suspended")
    if story.license()["license"]["permits"] != permits:
        raise Broken("the permits changed")
    story.narrate("resume")
    story.run(f"opanel-authority resume {jti}")
    story.run("opanel-agent license refresh")
    story.expect(state="active")


def resell(story: Story, port: int) -> None:
    """What a reseller's billing system does, over HTTP, and what the vendor sees of it."""
    story.narrate("api_key")
    made = story.run(f"opanel-authority api-key billing --as '{RESELLER}'")
    story.environment["KEY"] = next(line for line in made.splitlines() if line.startswith("api key")).split()[-1]
    story.narrate("order")
    order = '{"order_id":"4711","tier":"pro","days":30,"renews":false}'
    sold = [post(story, port, "/licenses", order, shown="id") for _ in range(2)]
    if sold[0]["id"] != sold[1]["id"]:
        raise Broken(f"one order is {sold[0]['id']} and {sold[1]['id']}")
    story.narrate("unpaid")
    stopped = post(story, port, "/licenses/4711/suspend", '{"reason":"unpaid"}', shown="state")
    if stopped["state"] != "suspended":
        raise Broken(f"the license of order 4711 is {stopped['state']}")
    story.narrate("audit")
    story.run("opanel-authority log 4711")
    story.run(f"opanel-authority audit --as '{RESELLER}'")
    audited = json.loads(story.quietly(f"opanel-authority audit --as '{RESELLER}' --json"))["result"]
    if audited["examined"] != 2 or audited["violations"]:
        raise Broken(f"the audit found {audited}")


def post(story: Story, port: int, path: str, body: str, *, shown: str) -> dict[str, Any]:
    """A request of the management API: the command, one member of its reply, and the whole reply to hold it to."""
    url = f"http://127.0.0.1:{port}/api/v1{path}"
    if shutil.which("curl"):
        headers = "-H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json'"
        ask = f"curl -sS --noproxy '*' {headers} -d '{body}' {url}"
    else:  # the same request with what Python brings along
        (story.folder / "post.py").write_text(POST)
        ask = f"python3 post.py {url} '{body}'"
    story.run(f'{ask} > reply.json; python3 -c \'import json; print(json.load(open("reply.json"))["{shown}"])\'')
    reply: dict[str, Any] = json.loads((story.folder / "reply.json").read_text())
    return reply


def edit(story: Story) -> None:
    story.narrate("edit")
    text = (story.folder / "license.jws").read_text()
    place = len(text) // 2
    (story.folder / "edited.jws").write_text(text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :])
    story.run("cmp license.jws edited.jws", status=1)
    story.run("opanel-agent license install edited.jws", status=65)
    story.expect(state="active")


def unreachable(story: Story) -> None:
    story.narrate("stopped")
    print(f"\n  $ kill {story.processes['authority'].pid}", flush=True)
    story.stop("authority")
    story.run("opanel-agent license refresh", status=69)
    story.run("opanel-agent status")
    story.expect(state="active", reason="unreachable_tcp")


def report(story: Story, port: int) -> None:
    serve(story, port)
    before = len(story.requests())
    story.narrate("preview")
    story.run("opanel-agent data preview usage_statistics")
    story.narrate("why")
    story.run("opanel-agent consent why usage_statistics", status=1)
    if len(story.requests()) != before:
        raise Broken(f"the authority has seen {story.requests()[before:]}")
    if story.license()["consent"]["do_not_track"]:
        return  # this machine asks not to be tracked: nothing more may leave, not even for a story
    story.narrate("allow")
    story.run("opanel-agent consent allow usage_statistics")
    story.run("opanel-agent data preview usage_statistics")
    held = json.loads(story.quietly("opanel-agent data held --json"))["result"]["held"]
    if [each["purpose"] for each in held] != ["usage_statistics"] or len(story.requests()) != before:
        raise Broken(f"held are {held}, and the authority has seen {story.requests()[before:]}")
    story.run(f"opanel-agent data held send {held[0]['id']}")
    story.run("opanel-agent data sent")
    sent = json.loads(story.quietly("opanel-agent data sent --json"))["result"]["sent"]
    ids = [each["id"] for each in sent if each["purpose"] == "usage_statistics" and each["stage"] == "answered"]
    if len(ids) != 1:
        raise Broken(f"what left is {sent}")
    story.run(f"opanel-agent data sent {ids[0]}")
    story.narrate("received")
    story.run("opanel-authority received")
    story.run("opanel-agent consent receipt")


def deny(story: Story) -> None:
    story.narrate("deny")
    story.run("opanel-agent consent deny usage_statistics")
    story.run("opanel-agent consent history")


def opt_out(story: Story) -> None:
    story.narrate("dnt")
    story.run("opanel-agent dnt on")
    story.run("opanel-agent consent why usage_statistics", status=1)
    story.run("opanel-agent license refresh")
    story.narrate("offline")
    before = len(story.requests())
    story.run("opanel-agent offline on")
    story.run("opanel-agent license refresh", status=77)
    if len(story.requests()) != before:
        raise Broken(f"the authority has seen {story.requests()[before:]}")


def silence(story: Story) -> None:
    """Where the kernel lets nobody make a network of his own, the command says so, and that is a true end too."""
    story.narrate("silence")
    story.run("opanel-agent prove-silence --days 1", status=0 if may_unshare() else 69)


def may_unshare() -> bool:
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and subprocess.run([unshare, "-rnm", "true"], check=False, capture_output=True).returncode == 0
    )


CONSENT: Final = """schema = 1
notice = "2026-12-03"            # the notice that these answers were given to

[purposes.usage_statistics]
allow = false
hold = "0h"                      # here only, so that the story need not wait three days

[purposes.crash_reports]
allow = false
"""
ASK: Final = """import http.client, socket, sys

class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])

asked = Unix("opanel")
asked.request("GET", "/v1/license")
print(asked.getresponse().read().decode())
"""

POST: Final = """import os, sys, urllib.request

headers = {"Authorization": "Bearer " + os.environ["KEY"], "Content-Type": "application/json"}
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), headers)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(request).read().decode())
"""


def license_id(story: Story) -> str:
    """The `jti` that the reseller's list shows for his license: here read from the bundle's second line."""
    import base64

    payload = (story.folder / "license.jws").read_text().splitlines()[1].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return str(claims["jti"])


def new_folder() -> Path:
    """In the user's own place for temporary files, or in /tmp where a socket's address would be too long there (unix(7))."""
    fits = len(tempfile.gettempdir()) + len("/opanel-demo-12345678/run/opanel-agent/agent.sock") < 108
    return Path(tempfile.mkdtemp(prefix="opanel-demo-", dir=None if fits else "/tmp"))  # noqa: S108 - mkdtemp makes it ours


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def explain_keep(story: Story) -> None:
    story.narrate("keep")
    for name, path in story.variables.items():
        print(f"    export {name}={shlex.quote(str(path))}")
    print(f'    export PATH={shlex.quote(str(BIN))}:"$PATH"')
    print("    opanel-agent status")
    story.narrate("stop")
    pids = " ".join(str(process.pid) for process in story.processes.values())
    print(f"    kill {pids}; rm -r {shlex.quote(str(story.folder))}", flush=True)


@contextlib.contextmanager
def cleaned_up(story: Story, *, keep: bool) -> Iterator[None]:
    """Whatever ends the story, no process and no file outlives it, unless it was told to its end with --keep."""
    completed = False
    try:
        yield
        completed = True
    finally:
        if not (completed and keep):
            for name in list(story.processes):
                story.stop(name)
            shutil.rmtree(story.folder, ignore_errors=True)


def interrupted(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="install.sh --demo")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--lang", choices=("tr", "en"))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupted)
    locale = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    story = Story(new_folder(), arguments.lang or ("tr" if locale.startswith("tr") else "en"))
    begun = time.monotonic()
    try:
        with cleaned_up(story, keep=arguments.keep):
            run_story(story)
            if arguments.keep:
                story.run("opanel-agent offline off")
                story.run("opanel-agent dnt off")
    except Broken as broken:
        print(f"\ncannot go on with the story: {broken}\n  please report it with the lines above", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130
    if arguments.keep:
        explain_keep(story)
    else:
        story.narrate("end", count=story.count, seconds=round(time.monotonic() - begun))
    return 0


if __name__ == "__main__":
    sys.exit(main())
