<?php
/**
 * What this server's OPanel license permits: asked of opanel-agent, and what to go by while it is silent.
 *
 *     require 'opanel_license.php';
 *     $license = opanel_license('/var/lib/panel/license.last');
 *     if (!$license['permits']['create']) {
 *         refuse(opanel_hint($license, 'tr'));
 *     }
 *
 * PHP 8.1 or newer, nothing else. The user that runs it is in the group opanel; the file lies where only he can write.
 * docs/panel-integration.md says what each member means and why the ladder of silence is as it is.
 */
declare(strict_types=1);

const OPANEL_SOCKET = '/run/opanel-agent/agent.sock';
const OPANEL_MAX_BYTES = 256 * 1024;
const OPANEL_PERMITS = ['run', 'change', 'create', 'paid_features'];
const OPANEL_HOUR = 3600;
const OPANEL_DAY = 86400;
const OPANEL_START = [
    'code' => 'start_agent',
    'tr' => 'Lisans ajanı yanıt vermiyor. Sunucuda root olarak şunu çalıştırın: systemctl start opanel-agent',
    'en' => 'The license agent does not answer. Run this on the server, as root: systemctl start opanel-agent',
];

/**
 * The license as GET /v1/license tells it, and beside it `source` ("agent", "file": its last answer, "none") and `kept`:
 * whether $file holds what a later silence needs. Takes at most $timeout_s; never throws. $now is for tests.
 */
function opanel_license(
    string $file,
    ?int $now = null,
    string $socket = OPANEL_SOCKET,
    float $timeout_s = 0.5
): array {
    $now ??= time();
    [$heard, $seen, $last] = opanel_recall($file);
    $body = opanel_ask($socket, $timeout_s);
    $license = $body === null ? null : opanel_understand($body);
    if ($license !== null) {
        // Not at every page: when something changed, and once an hour.
        $known = $body === $last && $seen <= $now && $now < $seen + OPANEL_HOUR;
        return [...$license, 'source' => 'agent', 'kept' => $known || opanel_keep($file, $now, $now, $body)];
    }
    if ($last === null) {
        return [...opanel_silent(null, $now), 'source' => 'none', 'kept' => false];
    }
    $license = opanel_understand($last);
    // A clock that was set back makes nothing younger: it goes on from the latest time that was seen, and counts at least
    // what has passed since the answer was heard, also where it was wrong then.
    $clock = max($now, $seen);
    $time = max($clock, $license['as_of'] + $clock - $heard);
    $kept = $clock < $seen + OPANEL_HOUR || opanel_keep($file, $heard, $clock, $last);
    return [...opanel_silent($license, $time), 'source' => 'file', 'kept' => $kept];
}

/** The one thing to do, for a person; null where there is nothing. */
function opanel_hint(array $license, string $language): ?string
{
    $action = $license['next_action'];
    return $action['code'] === 'none' ? null : $action[$language === 'tr' ? 'tr' : 'en'];
}

/** What to go by while the agent is silent: the last answer, then grace for 14 days, then expired; never more than it. */
function opanel_silent(?array $last, int $time): array
{
    $nothing = ['features' => [], 'limits' => [], 'tier' => null, 'reseller' => null, 'as_of' => null,
        'good_until' => null, 'last_success' => null, 'warnings' => [], 'since' => null, 'until' => null];
    $expired = ['schema' => 1, 'state' => 'expired', 'reasons' => ['agent_silent'], 'next_action' => OPANEL_START,
        'permits' => ['run' => true, 'change' => true, 'create' => false, 'paid_features' => false]];
    if ($last === null) {
        return [...$nothing, ...$expired];
    }
    $told = [...$last, 'next_action' => OPANEL_START];
    $told['reasons'] = ['agent_silent', ...array_values(array_diff($last['reasons'], ['ok']))];
    $told['permits']['run'] = true;
    $grace_ends = $last['good_until'] + 14 * OPANEL_DAY;
    $permits = $last['permits'];
    if ($time < $last['good_until'] || !($permits['create'] || $permits['paid_features'])) {
        return $told;
    }
    if ($time < $grace_ends) {
        return [...$told, 'state' => 'grace', 'since' => $last['good_until'], 'until' => $grace_ends];
    }
    $told['permits'] = [...$expired['permits'], 'change' => $permits['change']];
    return [...$told, 'state' => 'expired', 'since' => $grace_ends, 'until' => null];
}

/** An answer as it is documented; null for anything else. Unknown members stay. */
function opanel_understand(string $body): ?array
{
    $told = json_decode($body, true, 16);
    $well = is_array($told) && ($told['schema'] ?? null) === 1 && is_string($told['state'] ?? null)
        && is_array($told['permits'] ?? null) && is_array($told['limits'] ?? null)
        && is_int($told['as_of'] ?? null) && is_int($told['good_until'] ?? null)
        && $told['as_of'] >= 0 && $told['good_until'] <= $told['as_of'] + 7 * OPANEL_DAY;
    foreach ($well ? ['reasons', 'features'] : [] as $name) {
        $texts = $told[$name] ?? null;
        $well = $well && is_array($texts) && array_is_list($texts) && $texts === array_filter($texts, 'is_string');
    }
    foreach ($well ? OPANEL_PERMITS : [] as $name) {
        $well = $well && is_bool($told['permits'][$name] ?? null);
    }
    foreach ($well ? ['code', 'tr', 'en'] : [] as $name) {
        $well = $well && is_array($told['next_action'] ?? null) && is_string($told['next_action'][$name] ?? null);
    }
    return $well ? $told : null;
}

/** The body that the agent answers with, asked again while it says that too many ask; null when none comes in time. */
function opanel_ask(string $socket, float $timeout_s): ?string
{
    $end = hrtime(true) + (int) ($timeout_s * 1e9);
    while (true) {
        [$status, $body] = opanel_get($socket, $end);
        $busy = $status === 503 && (json_decode((string) $body, true, 16)['code'] ?? null) === 'busy';
        if (!$busy || hrtime(true) + 50_000_000 > $end) {
            return $status === 200 ? $body : null;
        }
        usleep(random_int(10_000, 40_000));
    }
}

/** One request: status and body; [0, null] for no answer, or none that is whole, in time and within bounds. */
function opanel_get(string $socket, int $end): array
{
    $stream = @stream_socket_client("unix://$socket", $code, $why, max(0.001, ($end - hrtime(true)) / 1e9));
    if ($stream === false) {
        return [0, null];
    }
    stream_set_blocking($stream, false);
    @fwrite($stream, "GET /v1/license HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n");
    $got = '';
    // The deadline is of the whole, not of a read: a byte now and then does not prolong it.
    while (strlen($got) <= OPANEL_MAX_BYTES && ($left = intdiv($end - hrtime(true), 1000)) > 0) {
        $ready = [$stream];
        $none = null;
        if (!@stream_select($ready, $none, $none, intdiv($left, 1_000_000), $left % 1_000_000)) {
            break;
        }
        $got .= $more = (string) @fread($stream, 65536);
        if (preg_match('~\AHTTP/1\.1 (\d{3}) .*?\r\n\r\n~s', $got, $head)
            && preg_match('~^content-length: *(\d{1,6})\r$~mi', $head[0], $length)
            && strlen($got) >= strlen($head[0]) + (int) $length[1]) {
            fclose($stream);
            return [(int) $head[1], substr($got, strlen($head[0]), (int) $length[1])];
        }
        if ($more === '' && feof($stream)) {
            break;
        }
    }
    fclose($stream);
    return [0, null];
}

/** From the file, when its answer was heard, the latest time seen since, and the answer; null where it is not whole. */
function opanel_recall(string $file): array
{
    $kept = is_file($file) ? @file_get_contents($file, false, null, 0, OPANEL_MAX_BYTES + 32) : false;
    [$times, $body] = explode("\n", (string) $kept, 2) + ['', ''];
    if (!preg_match('~\A(\d{1,12}) (\d{1,12})\z~', $times, $found) || opanel_understand($body) === null) {
        return [0, 0, null];
    }
    return [(int) $found[1], (int) $found[2], $body];
}

/** Replaces the file as a whole: whoever reads it finds the old or the new one, also after a crash. */
function opanel_keep(string $file, int $heard, int $seen, string $body): bool
{
    $new = $file . '.' . bin2hex(random_bytes(8));
    $before = umask(0077);
    $stream = @fopen($new, 'x');
    umask($before);
    if ($stream === false) {
        return false;
    }
    $text = "$heard $seen\n$body";
    $written = @fwrite($stream, $text) === strlen($text) && fflush($stream) && fsync($stream);
    fclose($stream);
    if ($written && @rename($new, $file)) {
        return true;
    }
    @unlink($new);
    return false;
}
