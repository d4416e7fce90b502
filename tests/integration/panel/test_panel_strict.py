"""The two examples for panels inside of panels that are strict, or that have little, and as linters and compilers see them.

Nothing in a panel's own settings turns a failure of the agent into an exception, or an answer into a failure.
"""

import json
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from fixtures.daemon import wire_server
from fixtures.data.json_schema import named
from fixtures.web.panel import (
    ANSWER,
    EXAMPLES,
    NODE_LIBRARY,
    PHP_LIBRARY,
    PHP_OPTIONS,
    ROOT,
    answers,
    in_turn,
    installed,
    is_silent,
    resets,
)

pytestmark = pytest.mark.slow  # each test starts PHP or Node


def run(command: tuple[str | Path, ...], *arguments: str | Path) -> str:
    """What a short program prints; it may write nothing else."""
    done = subprocess.run([*installed(command), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def php(code: str, *options: str) -> tuple[str | Path, ...]:
    return ("php", *PHP_OPTIONS, *options, "-r", code)


def node(code: str) -> tuple[str | Path, ...]:
    return ("node", "--input-type=module", "--eval", code)


ONCE: Final = """
require $argv[1];
$license = opanel_license($argv[2], null, $argv[3], 0.3);
echo $license['source'], ' ', $license['failure'] ?? 'none', ' ', (int) $license['kept'];
"""
THROWS: Final = """
set_error_handler(function (int $level, string $text) { throw new ErrorException($text); });
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="panel-") as path:
        yield Path(path)


def once(folder: Path, code: str, *options: str, file: Path | None = None) -> str:
    return run(php(code, *options), PHP_LIBRARY, file or folder / "license.last", folder / "agent.sock")


def test_a_handler_that_makes_warnings_exceptions_gets_none(folder: Path) -> None:
    assert once(folder, THROWS + ONCE) == "none stopped 0"
    assert once(folder, THROWS + ONCE, file=Path("/nonexistent/license.last")) == "none stopped 0"
    with in_turn(folder / "agent.sock", resets, answers, answers, answers, is_silent):
        assert once(folder, THROWS + ONCE) == "agent none 1"
        assert once(folder, THROWS + ONCE, file=Path("/nonexistent/license.last")) == "agent none 0"
        assert once(folder, THROWS + ONCE, "-d", f"open_basedir={EXAMPLES}") == "agent none 0"
        assert once(folder, THROWS + ONCE) == "file hung 1"


def test_the_handler_of_the_panel_is_in_force_again_afterwards(folder: Path) -> None:
    code = THROWS + ONCE + "try { echo $undefined; } catch (ErrorException $error) { echo ' as before'; }"
    assert once(folder, code) == "none stopped 0 as before"


def test_an_exception_of_a_signal_handler_passes_through(folder: Path) -> None:
    """A queue worker ends a job that takes too long in this way."""
    if "pcntl" not in run(("php", "-m")).split():
        pytest.skip("this PHP has no pcntl")
    code = """
    pcntl_async_signals(true);
    pcntl_signal(SIGALRM, function () { throw new RuntimeException('the job takes too long'); });
    pcntl_alarm(1);
    require $argv[1];
    try { opanel_license($argv[2], null, $argv[3], 5.0); } catch (RuntimeException $error) { echo $error->getMessage(); }
    """
    with in_turn(folder / "agent.sock", is_silent):
        assert once(folder, code) == "the job takes too long"


def test_signals_that_interrupt_it_cost_no_answer(folder: Path) -> None:
    if "pcntl" not in run(("php", "-m")).split():
        pytest.skip("this PHP has no pcntl")
    code = """
    require $argv[1];
    pcntl_async_signals(true);
    pcntl_signal(SIGUSR1, function () {}, false);
    $parent = getmypid();
    $child = pcntl_fork();
    while ($child === 0) { usleep(300); posix_kill($parent, SIGUSR1); }
    $sources = [];
    for ($number = 0; $number < 20; $number++) {
        $license = opanel_license($argv[2], null, $argv[3], 2.0);
        $sources[$license['failure'] ?? 'none'] = ($sources[$license['failure'] ?? 'none'] ?? 0) + 1;
    }
    posix_kill($child, SIGKILL);
    pcntl_waitpid($child, $status);
    echo json_encode($sources);
    """

    def slowly(connection: socket.socket) -> None:
        wire_server.read_request(connection)
        time.sleep(0.02)
        connection.sendall(ANSWER)

    with in_turn(folder / "agent.sock", slowly):
        assert once(folder, code) == '{"none":20}'


# Every function of the library that reaches outside of PHP, or that administrators are known to disable.
DISABLED: Final = (
    "stream_socket_client",
    "fsockopen",
    "stream_select",
    "stream_set_blocking",
    "fwrite",
    "fread",
    "feof",
    "fclose",
    "fopen",
    "fflush",
    "fsync",
    "umask",
    "file_get_contents",
    "file_put_contents",
    "is_file",
    "filemtime",
    "clearstatcache",
    "touch",
    "unlink",
    "rename",
    "usleep",
    "uniqid",
    "posix_geteuid",
    "posix_getpwuid",
    "set_error_handler",
)


def code_without(function: str) -> str:
    return (THROWS if function != "set_error_handler" else "") + ONCE


def test_no_disabled_function_makes_it_throw(folder: Path) -> None:
    called = set(re.findall(r"(?<![>:\w])([a-z_]+)\(", PHP_LIBRARY.read_text(encoding="utf-8")))
    assert set(DISABLED) <= called
    with in_turn(folder / "agent.sock", answers):
        for function in DISABLED:
            result = once(folder, code_without(function), "-d", f"disable_functions={function}")
            assert re.fullmatch(r"(agent none|(file|none) disabled) [01]", result), (function, result)
    for function in DISABLED:
        result = once(folder, code_without(function), "-d", f"disable_functions={function}")
        assert re.fullmatch(r"(file|none) (stopped|disabled) [01]", result), (function, result)


def test_what_is_often_disabled_is_done_without(folder: Path) -> None:
    often = "exec,system,proc_open,curl_exec,curl_multi_exec,posix_getpwuid,umask,usleep,sleep,set_time_limit"
    with in_turn(folder / "agent.sock", answers):
        for function in ("stream_socket_client", "fsockopen,pfsockopen", "stream_select", "fsync"):
            assert once(folder, ONCE, "-d", f"disable_functions={often},{function}") == "agent none 1", function
        both = "disable_functions=stream_socket_client,fsockopen"
        assert once(folder, ONCE, "-d", both) == "file disabled 1"
        hint = once(folder, "require $argv[1]; echo opanel_hint(opanel_license($argv[2]), 'en');", "-d", both)
    assert hint.startswith("PHP is not allowed to ask the license agent: remove stream_socket_client ")


def test_it_may_be_loaded_twice_and_from_two_places(folder: Path) -> None:
    copy = shutil.copy(PHP_LIBRARY, folder / "another.php")
    code = f"require $argv[1]; require $argv[1]; require '{copy}';" + ONCE
    assert once(folder, code) == "none stopped 0"


def test_it_leaves_nothing_but_three_functions_in_the_global_namespace(folder: Path) -> None:
    code = """
    $before = get_declared_classes();
    require $argv[1];
    $classes = array_values(array_diff(get_declared_classes(), $before));
    echo json_encode([get_defined_functions()['user'], get_defined_constants(true)['user'] ?? [], $classes]);
    """
    functions, constants, classes = json.loads(once(folder, code))
    assert (functions, constants, classes) == (
        ["opanel_license", "opanel_hint", "opanel_withdraw"],
        [],
        ["OPanel\\Agent\\LicenseClient"],
    )


def test_it_may_be_preloaded(folder: Path) -> None:
    preload = folder / "preload.php"
    preload.write_text(f"<?php require '{PHP_LIBRARY}';", encoding="utf-8")
    options = ("-d", "opcache.enable_cli=1", "-d", f"opcache.preload={preload}", "-d", "opcache.preload_user=nobody")
    modules = run(("php", "-m"))
    if "Zend OPcache" not in modules:
        pytest.skip("this PHP has no OPcache")
    folder.chmod(0o755)
    assert once(folder, ONCE, *options) == "none stopped 0"


def test_it_is_written_as_psr_12_asks() -> None:
    run(("phpcs", "--standard=PSR12", "--warning-severity=0"), PHP_LIBRARY)


def test_a_process_without_a_descriptor_left_blames_the_panel(folder: Path) -> None:
    limited = ("sh", "-c", 'ulimit -n 60; exec "$@"', "sh")
    full_php = """
    require $argv[1];
    opanel_license($argv[2]); // PHP has opened the library by now
    for ($held = []; $file = @fopen('/dev/null', 'r');) {
        $held[] = $file;
    }
    """
    full_node = """
    import { openSync } from 'node:fs';
    const { opanelLicense } = await import(process.argv[1]);
    try { for (;;) openSync('/dev/null'); } catch {}
    const { source, failure, kept } = await opanelLicense(process.argv[2], { socket: process.argv[3], timeoutMs: 300 });
    console.log(source, failure, Number(kept));
    """
    with in_turn(folder / "agent.sock", answers):
        for command, library in (
            (php(full_php + ONCE.replace("require", "#")), PHP_LIBRARY),
            (node(full_node), NODE_LIBRARY),
        ):
            printed = run((*limited, *installed(command)), library, folder / "license.last", folder / "agent.sock")
            assert printed.strip() == "none unreachable 0"
        assert [path.name for path in folder.iterdir()] == ["agent.sock"]


# Node.js


def test_calls_at_the_same_time_share_one_request(folder: Path) -> None:
    code = """
    const { opanelLicense } = await import(process.argv[1]);
    const all = () => Promise.all(Array.from({ length: 500 }, () =>
      opanelLicense(process.argv[2], { socket: process.argv[3] })));
    const first = await all();
    first[0].permits.create = false;
    const licenses = [...first.slice(1), ...(await all())];
    console.log(licenses.filter((license) => license.source === 'agent' && license.permits.create).length);
    """
    with in_turn(folder / "agent.sock", answers) as server:
        printed = run(node(code), NODE_LIBRARY, folder / "license.last", folder / "agent.sock")
    assert (printed.strip(), server.accepted) == ("999", 2)


def test_a_process_that_was_blocked_takes_no_answer_for_missing(folder: Path) -> None:
    """Whatever else runs in the panel's only thread: an answer that waits to be read has come in time."""
    code = """
    const { opanelLicense } = await import(process.argv[1]);
    const license = opanelLicense(process.argv[2], { socket: process.argv[3], timeoutMs: 200 });
    const block = () => { const end = performance.now() + 500; while (performance.now() < end); };
    for (let turn = 0; turn < 3; turn++) setTimeout(block, 1 + turn);
    console.log((await license).source);
    """
    with in_turn(folder / "agent.sock", answers):
        assert run(node(code), NODE_LIBRARY, folder / "license.last", folder / "agent.sock") == "agent\n"


def test_a_worker_that_did_not_run_for_a_while_takes_no_answer_for_missing(folder: Path) -> None:
    """As on a machine that gives it no processor: the answer has come meanwhile, and waits to be read."""
    command: list[str | Path] = [*installed(php(ONCE)), PHP_LIBRARY, folder / "license.last", folder / "agent.sock"]
    stopped = threading.Event()

    def once_it_is_stopped(connection: socket.socket) -> None:
        wire_server.read_request(connection)
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        connection.sendall(ANSWER)
        process.send_signal(signal.SIGCONT)
        stopped.set()

    with in_turn(folder / "agent.sock", once_it_is_stopped):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.communicate(timeout=30)[0] == "agent none 1"
    assert stopped.is_set()


def test_a_client_that_is_kept_has_its_whole_time_for_each_call(folder: Path) -> None:
    """As in a worker that makes it once and serves pages for days: what it asked before is in no later request."""
    code = """
    require $argv[1];
    $client = new OPanel\\Agent\\LicenseClient($argv[2], $argv[3], 0.3);
    foreach (['withdraw', 'license', 'answer', 'license'] as $name) {
        usleep(400000);
        $said = $client->$name('crash_reports');
        echo $said['source'] ?? json_encode($said), ' ';
    }
    """
    code = code.replace(
        "$client->$name('crash_reports')", "$name === 'withdraw' ? $client->$name('x') : $client->$name()"
    )
    with in_turn(folder / "agent.sock", answers):
        assert once(folder, code) == 'false agent [null,"invalid_answer"] agent '


SLOW_DISK: Final = """
class SlowDisk {
    public $context;
    public function url_stat(string $path, int $flags) { usleep(400000); return false; }
    public function stream_open(string $path, string $mode, int $options, ?string &$opened): bool { return false; }
}
stream_wrapper_register('slow', 'SlowDisk');
"""
SLOW_PROCESSOR: Final = """
namespace OPanel\\Agent;
function fwrite($stream, string $data) { usleep(400000); return \\fwrite($stream, $data); }
"""


@pytest.mark.parametrize(
    ("before", "file"),
    [(SLOW_DISK, "slow://license.last"), (SLOW_PROCESSOR, "license.last")],
    ids=["disk", "processor"],
)
def test_what_keeps_the_panel_from_asking_is_no_silence_of_the_agent(folder: Path, before: str, file: str) -> None:
    """A disk that is busy, a processor that is somebody else's: longer than the time-out, before a byte was sent."""
    with in_turn(folder / "agent.sock", answers):
        printed = run(php(before + ONCE), PHP_LIBRARY, file if "://" in file else folder / file, folder / "agent.sock")
    assert printed.startswith("agent none ")


def test_worker_threads_ask_for_themselves(folder: Path) -> None:
    code = """
    import { Worker } from 'node:worker_threads';
    const body = `
      const { parentPort, workerData: [library, file, socket] } = require('node:worker_threads');
      import(library).then(({ opanelLicense }) => opanelLicense(file, { socket }))
        .then(({ source }) => parentPort.postMessage(source));`;
    const ask = () => new Promise((resolve, reject) => {
      new Worker(body, { eval: true, execArgv: [], workerData: process.argv.slice(1) })
        .on('message', resolve).on('error', reject);
    });
    console.log(JSON.stringify(await Promise.all([ask(), ask(), ask()])));
    """
    with in_turn(folder / "agent.sock", answers):
        printed = run(node(code), NODE_LIBRARY, folder / "license.last", folder / "agent.sock")
    assert json.loads(printed) == ["agent"] * 3


USE: Final = """
import { opanelHint, opanelLicense, type Failure, type License } from './opanel-license.mjs';
const license: License = await opanelLicense('/var/lib/panel/license.last', { timeoutMs: 100 });
const failure: Failure | null = license.failure;
const hint: string | null = opanelHint(license, 'tr');
console.log(license.permits.create, license.reseller?.name, license.license?.expires, failure, hint);
"""


def members(interface: str) -> set[str]:
    """The members that an interface of the declarations names."""
    text = (EXAMPLES / "opanel-license.d.mts").read_text("utf-8")
    body = re.search(rf"^export interface {interface} {{\n(.*?)^}}$", text, re.MULTILINE | re.DOTALL)
    assert body is not None, interface
    return set(re.findall(r"^  (\w+)\??:", body[1], re.MULTILINE))


def test_the_types_name_every_member_that_the_agent_answers() -> None:
    whole = named("license")
    of = whole["properties"]
    for interface, schema in (
        ("Answer", whole),
        ("Terms", of["license"]),
        ("Reseller", of["reseller"]),
        ("Controller", of["reseller"]["properties"]["controller"]),
        ("Action", of["next_action"]),
        ("Warning", of["warnings"]["items"]),
    ):
        assert members(interface) == {*schema["required"]}, interface


def test_the_types_are_strict_and_the_library_keeps_them(folder: Path) -> None:
    """With the TypeScript that .ci/run installs; --strict and --checkJs, as a panel that has them both checks it."""
    modules = ROOT / ".env" / "typescript" / "node_modules"
    compiler = modules / ".bin" / "tsc"
    if not compiler.exists():
        pytest.skip("TypeScript is not installed in .env/typescript (.ci/run does): the types were not checked")
    (folder / "node_modules").symlink_to(modules)
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (folder / "use.ts").write_text(USE, encoding="utf-8")
    for path in EXAMPLES.glob("opanel-license.*"):
        shutil.copy(path, folder)
    strict = ("--noEmit", "--strict", "--allowJs", "--checkJs", "--module", "nodenext", "--target", "es2022")
    command: list[str | Path] = [compiler, *strict, "--types", "node", folder / NODE_LIBRARY.name, folder / "use.ts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "")
