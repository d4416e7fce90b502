<?php

/**
 * Asks opanel-agent what this server's OPanel license permits, and says what to go by while the agent does not answer.
 *
 *     require_once 'opanel_license.php';
 *     $license = opanel_license('/var/lib/panel/license.last');
 *     if (!$license['permits']['create']) {
 *         refuse(opanel_hint($license, 'tr'));
 *     }
 *
 * PHP 7.4 or newer; no extension is needed. The user that runs it is in the group opanel; the file lies where only that
 * user can write. It may be loaded twice, also from two places. docs/panel-integration.md describes every member.
 */

declare(strict_types=1);

namespace OPanel\Agent {

    if (!class_exists(LicenseClient::class, false)) {
        /**
         * Client of what the agent answers its panel: one deadline, retries while the agent is overloaded, and a last
         * answer of GET /v1/license on disk.
         *
         * Raises nothing of its own: no exception, no warning, also where warnings are made exceptions or functions are
         * disabled. An exception that a signal handler of the panel raises meanwhile passes through.
         */
        final class LicenseClient
        {
            public const SOCKET = '/run/opanel-agent/agent.sock';
            public const TIMEOUT_S = 1.0;
            /** The agent answers a withdrawal once it is kept and what waits is purged. */
            public const WITHDRAWAL_S = 40.0;
            /** The agent reads changed settings and opt-outs first, which takes it three seconds at most. */
            public const ANSWER_S = 5.0;

            private const MAX_BYTES = 262144;
            private const HOUR_S = 3600;
            private const DAY_S = 86400;
            /** While this lasts, nobody waits for an agent that does not answer. */
            private const PAUSE_S = 5;
            /** The deadline while somebody has missed a longer one, and nobody was answered since. */
            private const AGAIN_NS = 100000000;
            private const HEAD = " HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n";
            private const REQUEST = 'GET /v1/license' . self::HEAD . "\r\n";
            private const PERMITS = ['run', 'change', 'create', 'paid_features'];

            // Linux's numbers: neither ext-sockets nor ext-posix, which name them, need be there.
            private const NOT_PERMITTED = [1, 13]; // EPERM, EACCES
            private const NOT_LISTENING = [2, 111]; // ENOENT, ECONNREFUSED
            private const OVERLOADED = [4, 11, 32, 103, 104]; // EINTR, EAGAIN, EPIPE, ECONNABORTED, ECONNRESET

            /** By what failed: the code, and the same for a person. %s is the user that PHP runs as. */
            private const ACTIONS = [
                'stopped' => [
                    'start_agent',
                    'Lisans ajanı çalışmıyor. Sunucuda root olarak şunu çalıştırın: '
                    . 'systemctl start opanel-agent.socket opanel-agent.service; düzelmezse nedenine bakın: '
                    . 'systemctl status opanel-agent.socket opanel-agent.service',
                    'The license agent is not running. Run this on the server, as root: '
                    . 'systemctl start opanel-agent.socket opanel-agent.service; if that does not help, see why: '
                    . 'systemctl status opanel-agent.socket opanel-agent.service',
                ],
                'forbidden' => [
                    'join_group',
                    'Panelin lisans ajanına sorma izni yok. Sunucuda root olarak şunu çalıştırın: '
                    . 'usermod -aG opanel %s; ardından paneli yeniden başlatın. Düzelmezse: opanel-agent doctor',
                    'The panel is not permitted to ask the license agent. Run this on the server, as root: '
                    . 'usermod -aG opanel %s; then restart the panel. If that does not help: opanel-agent doctor',
                ],
                'busy' => [
                    'try_again',
                    'Lisans ajanına şu anda çok fazla istek geliyor. Sayfayı bir dakika sonra yenileyin. '
                    . 'Düzelmezse sunucuda root olarak şunu çalıştırın: systemctl restart opanel-agent.service',
                    'The license agent has too many requests at the moment. Reload the page in a minute. '
                    . 'If that does not help, run this on the server, as root: '
                    . 'systemctl restart opanel-agent.service',
                ],
                'not_ready' => [
                    'try_again',
                    'Lisans ajanı yeni başladı, yanıtı henüz hazır değil. Sayfayı bir dakika sonra yenileyin. '
                    . 'Düzelmezse sunucuda root olarak şunu çalıştırın: opanel-agent doctor',
                    'The license agent has just started and has no answer yet. Reload the page in a minute. '
                    . 'If that does not help, run this on the server, as root: opanel-agent doctor',
                ],
                'hung' => [
                    'restart_agent',
                    'Lisans ajanına bağlanıldı ama yanıt gelmedi. Sunucuda root olarak şunu çalıştırın: '
                    . 'systemctl restart opanel-agent.service; düzelmezse nedenine bakın: '
                    . 'systemctl status opanel-agent.socket opanel-agent.service',
                    'The license agent was connected to and does not answer. Run this on the server, as root: '
                    . 'systemctl restart opanel-agent.service; if that does not help, see why: '
                    . 'systemctl status opanel-agent.socket opanel-agent.service',
                ],
                'invalid_answer' => [
                    'run_doctor',
                    'Lisans ajanından geçerli bir yanıt alınamadı. '
                    . 'Sunucuda root olarak şunu çalıştırın: opanel-agent doctor',
                    'The license agent gave no valid answer. '
                    . 'Run this on the server, as root: opanel-agent doctor',
                ],
                'unreachable' => [
                    'check_panel',
                    'Panel, lisans ajanına bağlanamadı; açık dosya sınırına ulaşmış olabilir. Paneli yeniden '
                    . 'başlatın. Düzelmezse sunucuda root olarak şunu çalıştırın: opanel-agent doctor',
                    'The panel could not connect to the license agent; it may have reached its limit of open files. '
                    . 'Restart the panel. If that does not help, run this on the server, as root: opanel-agent doctor',
                ],
                'disabled' => [
                    'allow_function',
                    "PHP'nin lisans ajanına sormasına izin verilmiyor: php.ini'deki disable_functions satırından "
                    . 'stream_socket_client ile dosya ve akış işlevlerini çıkarın, sonra paneli yeniden başlatın',
                    'PHP is not allowed to ask the license agent: remove stream_socket_client and the functions of '
                    . 'files and streams from disable_functions in php.ini, then restart the panel',
                ],
            ];

            /** @var string */
            private $file;
            /** @var string */
            private $socket;
            /** @var int */
            private $timeoutNs;
            /** @var int of the call under way, as the next two */
            private $waitNs = 0;
            /** @var int monotonic, in nanoseconds */
            private $end = 0;
            /** @var string */
            private $request = '';

            public function __construct(string $file, string $socket = self::SOCKET, float $timeoutS = self::TIMEOUT_S)
            {
                $this->file = $file;
                $this->socket = $socket;
                $this->timeoutNs = (int) (max(0.001, min($timeoutS, 3600.0)) * 1e9);
            }

            /**
             * Returns GET /v1/license's members, and beside them `source` ("agent", "file": the last answer, "none"),
             * `failure` (null, or why the agent gave no answer) and `kept` (whether the file holds what a later failure
             * needs). Takes the time-out at most; an hour at most.
             *
             * @return array<string, mixed>
             */
            public function license(?int $now = null): array
            {
                return self::quietly(function () use ($now): array {
                    return $this->judge($now ?? time());
                });
            }

            /**
             * Withdraws the consent to "usage_statistics" or "crash_reports", or asks for "do_not_track"; returns true
             * only where the agent has said that the withdrawal is kept. Asking again for the same does no harm.
             */
            public function withdraw(string $what): bool
            {
                return self::quietly(function () use ($what): bool {
                    $options = $what === 'do_not_track' ? [$what => true] : ['purpose' => $what];
                    $reply = $this->decoded(self::post('/v1/withdraw', (string) json_encode($options)))[0];
                    return ($reply['ok'] ?? null) === true;
                });
            }

            /**
             * Returns GET /v1/answer's members, and null; or null, and why there is none, as license() names it. What
             * only root may see is absent. A settings page shows `consent` and `advisories` of it.
             *
             * @return array{0: array<string, mixed>|null, 1: string|null}
             */
            public function answer(): array
            {
                return self::quietly(function (): array {
                    [$answer, $failure] = $this->decoded('GET /v1/answer' . self::HEAD . "\r\n");
                    $valid = $answer !== null && is_array($answer['consent']['purposes'] ?? null);
                    return $valid ? [$answer, null] : [null, $failure ?? 'invalid_answer'];
                });
            }

            /**
             * Has the agent check now; returns the requests that it made, each with `url`, `ok` and `head`, and null;
             * or null, and why there are none: "too_soon" within a minute of the last, else as license() names it.
             *
             * @return array{0: list<array<string, mixed>>|null, 1: string|null}
             */
            public function refresh(): array
            {
                return self::quietly(function (): array {
                    [$reply, $failure] = $this->decoded(self::post('/v1/refresh', '{}'));
                    $result = $reply['result'] ?? null;
                    if (!is_array($result) || !is_array($result['asked'] ?? null)) {
                        return [null, $failure ?? 'invalid_answer'];
                    }
                    return [array_values(array_filter([...$result['asked'], $result['advisories'] ?? null])), null];
                });
            }

            private static function post(string $path, string $json): string
            {
                return "POST $path" . self::HEAD . 'Content-Length: ' . strlen($json) . "\r\n\r\n" . $json;
            }

            /** @return array{0: array<string, mixed>|null, 1: string|null} */
            private function decoded(string $request): array
            {
                [$body, $failure] = self::guarded(function () use ($request): array {
                    return $this->ask($request, $this->timeoutNs);
                }) ?? [null, 'disabled'];
                $value = $body === null ? null : json_decode($body, true, 16);
                return [is_array($value) ? $value : null, $failure];
            }

            /**
             * Returns what $do returns. Handlers of the panel may raise exceptions from warnings, also from those that
             * @ silences.
             *
             * @template T
             * @param callable(): T $do
             * @return T
             */
            private static function quietly(callable $do)
            {
                $quiet = function_exists('set_error_handler') && function_exists('restore_error_handler');
                if ($quiet) {
                    set_error_handler(static function (): bool {
                        return true;
                    });
                }
                try {
                    return $do();
                } finally {
                    if ($quiet) {
                        restore_error_handler();
                    }
                }
            }

            /** @return array<string, mixed> */
            private function judge(int $now): array
            {
                [$heard, $seen, $last] = $this->recall();
                [$body, $failure] = $this->askUnlessPaused();
                $license = $body === null ? null : self::parse($body);
                if ($license !== null) {
                    // Not at every page: when something changed, and once an hour.
                    $known = $body === $last && $seen <= $now && $now < $seen + self::HOUR_S;
                    $kept = $known || $this->keep($now, $now, (string) $body);
                    return ['source' => 'agent', 'failure' => null, 'kept' => $kept] + $license;
                }
                $failure = $failure ?? 'invalid_answer';
                $known = $last === null ? null : self::parse($last);
                if ($known === null) {
                    $fallback = self::fallback(null, $now, $failure);
                    return ['source' => 'none', 'failure' => $failure, 'kept' => false] + $fallback;
                }
                // A clock that was set back makes nothing younger: it goes on from the latest time that was seen, and
                // counts at least what has passed since the answer was heard, also where it was wrong then.
                $clock = max($now, $seen);
                $time = max($clock, $known['as_of'] + $clock - $heard);
                $kept = $clock < $seen + self::HOUR_S || $this->keep($heard, $clock, (string) $last);
                return ['source' => 'file', 'failure' => $failure, 'kept' => $kept]
                    + self::fallback($known, $time, $failure);
            }

            /**
             * Returns what to go by without the agent: the last answer, then grace for 14 days, then expired; never
             * more than the last answer permitted.
             *
             * @param array<string, mixed>|null $last
             * @return array<string, mixed>
             */
            private static function fallback(?array $last, int $time, string $failure): array
            {
                [$code, $turkish, $english] = self::ACTIONS[$failure];
                $user = strpos($english, '%s') === false ? '' : self::user();
                $action = ['code' => $code, 'tr' => str_replace('%s', $user ?: 'KULLANICI', $turkish),
                    'en' => str_replace('%s', $user ?: 'USER', $english)];
                $expired = ['run' => true, 'change' => true, 'create' => false, 'paid_features' => false];
                if ($last === null) {
                    return ['schema' => 1, 'state' => 'expired', 'reasons' => ['agent_silent'], 'since' => null,
                        'until' => null, 'permits' => $expired, 'features' => [], 'limits' => [], 'tier' => null,
                        'license' => null, 'reseller' => null, 'next_action' => $action, 'as_of' => null, 'good_until' => null,
                        'last_success' => null, 'warnings' => []];
                }
                $permits = $last['permits'];
                $changed = ['next_action' => $action, 'permits' => ['run' => true] + $permits,
                    'reasons' => array_merge(['agent_silent'], array_values(array_diff($last['reasons'], ['ok'])))];
                $graceEnds = $last['good_until'] + 14 * self::DAY_S;
                if ($time >= $last['good_until'] && ($permits['create'] || $permits['paid_features'])) {
                    $changed += $time < $graceEnds
                        ? ['state' => 'grace', 'since' => $last['good_until'], 'until' => $graceEnds]
                        : ['state' => 'expired', 'since' => $graceEnds, 'until' => null];
                    if ($time >= $graceEnds) {
                        $changed['permits'] = ['change' => $permits['change']] + $expired;
                    }
                }
                return $changed + $last;
            }

            /**
             * Returns an answer as it is documented, unknown members included; null for anything else.
             *
             * @return array<string, mixed>|null
             */
            private static function parse(string $body): ?array
            {
                $answer = json_decode($body, true, 16);
                $valid = is_array($answer) && ($answer['schema'] ?? null) === 1 && is_string($answer['state'] ?? null)
                    && is_array($answer['permits'] ?? null) && is_array($answer['limits'] ?? null)
                    && is_int($answer['as_of'] ?? null) && is_int($answer['good_until'] ?? null)
                    && $answer['as_of'] >= 0 && $answer['good_until'] <= $answer['as_of'] + 7 * self::DAY_S;
                foreach ($valid ? ['reasons', 'features'] : [] as $name) {
                    $texts = $answer[$name] ?? null;
                    $valid = $valid && is_array($texts) && $texts === array_values(array_filter($texts, 'is_string'));
                }
                foreach ($valid ? self::PERMITS : [] as $name) {
                    $valid = $valid && is_bool($answer['permits'][$name] ?? null);
                }
                foreach ($valid ? ['code', 'tr', 'en'] : [] as $name) {
                    $valid = $valid && is_string($answer['next_action'][$name] ?? null);
                }
                return $valid && is_array($answer['next_action']) ? $answer : null;
            }

            /**
             * Returns the body, or null and why there is none.
             *
             * A missed deadline is noted beside the file. Under overload others are answered, and any answer takes the
             * note away; whoever asks while it is there waits for a tenth of a second only. Who then finds no answer
             * either makes it a pause: for five seconds every page of every worker goes by the note at once, and then
             * one of them asks again. So a hung agent costs one time-out, not one a page.
             *
             * @return array{0: string|null, 1: string|null}
             */
            private function askUnlessPaused(): array
            {
                $note = $this->file . '.failure';
                $noted = self::guarded(static function () use ($note): string {
                    return self::noted($note);
                });
                if (isset(self::ACTIONS[$noted])) {
                    return [null, $noted];
                }
                $waitNs = $noted === 'once' ? min($this->timeoutNs, self::AGAIN_NS) : $this->timeoutNs;
                [$body, $failure, $waited] = self::guarded(function () use ($waitNs): array {
                    return $this->ask(self::REQUEST, $waitNs);
                }) ?? [null, 'disabled', false];
                $begun = $this->end - $waitNs;
                self::guarded(static function () use ($note, $failure, $waited, $begun): void {
                    if ($waited && $failure !== 'unreachable') { // which is this process's own trouble
                        self::note($note, (string) $failure, $begun);
                    } elseif (!$waited && @is_file($note)) {
                        @unlink($note);
                    }
                });
                return [$body, $failure];
            }

            /** Returns the failure to go by without asking; "once" where one page missed its deadline; else "". */
            private static function noted(string $note): string
            {
                clearstatcache(true, $note);
                if (!@is_file($note)) {
                    return '';
                }
                $age = time() - (int) @filemtime($note);
                if ($age < 0 || $age >= self::PAUSE_S) {
                    @touch($note); // the others go by it while this one asks
                    return '';
                }
                $text = (string) @file_get_contents($note, false, null, 0, 64);
                return isset(self::ACTIONS[$text]) ? $text : 'once';
            }

            /** Notes a missed deadline; a pause only where another page missed its own before this one began to ask. */
            private static function note(string $note, string $failure, int $begun): void
            {
                $text = @is_file($note) ? (string) @file_get_contents($note, false, null, 0, 64) : '';
                $before = preg_match('~\Aonce (\d{1,18})\z~', $text, $found) ? (int) $found[1] : PHP_INT_MAX;
                $now = hrtime(true);
                if (isset(self::ACTIONS[$text]) || $before < $begun) {
                    @file_put_contents($note, $failure);
                } elseif ($before > $now) { // none, or one from before this machine was started
                    @file_put_contents($note, "once $now");
                }
            }

            /**
             * Returns the body, or null and why there is none, and whether the whole time-out has passed. Asks again
             * while the agent is overloaded or restarts.
             *
             * @return array{0: string|null, 1: string|null, 2: bool}
             */
            private function ask(string $request, int $waitNs): array
            {
                [$this->request, $this->waitNs, $this->end] = [$request, $waitNs, hrtime(true) + $waitNs];
                $refused = 'busy';
                while (true) {
                    [$status, $body, $failure] = $this->get();
                    if ($status === 200) {
                        return [$body, null, false];
                    }
                    if ($status === 429) {
                        return [null, 'too_soon', false];
                    }
                    if ($status === 503) {
                        $failure = $refused = self::refusal($body);
                    } elseif ($failure === 'busy') {
                        $failure = $refused; // and then too little time was left to be told so again
                    } elseif (in_array($failure, ['stopped', 'forbidden', 'invalid_answer', 'disabled'], true)) {
                        return [null, $failure, false];
                    }
                    $pauseUs = 5000 + hrtime(true) % 20000;
                    if (hrtime(true) + $pauseUs * 1000 >= $this->end) {
                        return [null, $failure, true];
                    }
                    self::pause($pauseUs);
                }
            }

            /** Waits for less than that where a signal comes, and not at all where usleep is disabled. */
            private static function pause(int $timeUs): void
            {
                if (function_exists('usleep')) {
                    usleep($timeUs);
                }
            }

            /** Returns what a 503 means, by the code of its problem document. */
            private static function refusal(string $body): string
            {
                $problem = json_decode($body, true, 16);
                $code = is_array($problem) ? $problem['code'] ?? 'busy' : 'busy';
                return $code === 'busy' ? 'busy' : ($code === 'not_yet' ? 'not_ready' : 'invalid_answer');
            }

            /**
             * Returns status, body and "" of one request; or 0, "" and what failed.
             *
             * @return array{0: int, 1: string, 2: string}
             */
            private function get(): array
            {
                $begun = hrtime(true);
                $left = max(0.001, ($this->end - $begun) / 1e9);
                $address = 'unix://' . $this->socket;
                if (function_exists('stream_socket_client')) {
                    $stream = @stream_socket_client($address, $code, $message, $left);
                } elseif (function_exists('fsockopen')) {
                    $stream = @fsockopen($address, -1, $code, $message, $left);
                } else {
                    return [0, '', 'disabled'];
                }
                if (!is_resource($stream)) {
                    return [0, '', self::refused((int) $code)];
                }
                try {
                    stream_set_blocking($stream, false);
                    @fwrite($stream, $this->request);
                    return $this->read($stream, $begun);
                } finally {
                    fclose($stream);
                }
            }

            /**
             * Returns the response; the deadline is of the whole, so a byte now and then does not prolong it.
             *
             * @param resource $stream
             * @return array{0: int, 1: string, 2: string}
             */
            private function read($stream, int $begun): array
            {
                $got = '';
                $now = hrtime(true);
                if ($now >= $this->end) { // this process did not run meanwhile, which says nothing about the agent
                    $this->end = $now + self::AGAIN_NS;
                }
                while (strlen($got) <= self::MAX_BYTES) {
                    $leftUs = max(0, intdiv($this->end - hrtime(true), 1000));
                    $readable = [$stream];
                    $none = null;
                    $ready = function_exists('stream_select')
                        ? @stream_select($readable, $none, $none, intdiv($leftUs, 1000000), $leftUs % 1000000)
                        : false;
                    if ($ready === false) {
                        self::pause(500); // interrupted by a signal, or a descriptor that select cannot watch (1024)
                    }
                    $more = (string) @fread($stream, 65536);
                    $got .= $more;
                    $response = self::response($got);
                    if ($response !== null) {
                        return $response;
                    }
                    if ($more === '' && feof($stream)) {
                        return [0, '', 'busy']; // closed before a whole answer: turned away, or it is being restarted
                    }
                    if ($leftUs === 0) { // only now: what has come while this process did not run is an answer in time
                        return [0, '', $this->late($begun)];
                    }
                }
                return [0, '', 'invalid_answer'];
            }

            /**
             * Returns the response that these bytes are, null while they may become one.
             *
             * @return array{0: int, 1: string, 2: string}|null
             */
            private static function response(string $got): ?array
            {
                $headEnd = strpos($got, "\r\n\r\n");
                if ($headEnd === false) {
                    $prefix = substr($got, 0, 7);
                    return $prefix === substr('HTTP/1.', 0, strlen($prefix)) ? null : [0, '', 'invalid_answer'];
                }
                $head = substr($got, 0, $headEnd + 2);
                $body = (string) substr($got, $headEnd + 4);
                if (
                    !preg_match('~\AHTTP/1\.[01] (\d{3})[ \r]~', $head, $status)
                    || !preg_match('~^content-length:[ \t]*(\d{1,6})[ \t]*\r$~mi', $head, $length)
                    || (int) $length[1] > self::MAX_BYTES
                ) {
                    return [0, '', 'invalid_answer'];
                }
                if (strlen($body) < (int) $length[1]) {
                    return null;
                }
                $known = in_array((int) $status[1], [200, 503], true);
                return [(int) $status[1], (string) substr($body, 0, (int) $length[1]), $known ? '' : 'invalid_answer'];
            }

            /** Returns what a refused connection means, by its errno. */
            private static function refused(int $code): string
            {
                foreach (['stopped' => self::NOT_LISTENING, 'forbidden' => self::NOT_PERMITTED] as $failure => $codes) {
                    if (in_array($code, $codes, true)) {
                        return $failure;
                    }
                }
                return in_array($code, self::OVERLOADED, true) ? 'busy' : 'unreachable';
            }

            /** Returns what a missed deadline means: hung only where the agent had time to answer. */
            private function late(int $begun): string
            {
                return hrtime(true) - $begun > $this->waitNs / 2 ? 'hung' : 'busy';
            }

            /**
             * Returns when the answer in the file was heard, the latest time seen since, and the answer; null where it
             * is not whole.
             *
             * @return array{0: int, 1: int, 2: string|null}
             */
            private function recall(): array
            {
                $kept = self::guarded(function (): string {
                    $file = @is_file($this->file);
                    return $file ? (string) @file_get_contents($this->file, false, null, 0, self::MAX_BYTES + 32) : '';
                });
                [$times, $body] = explode("\n", (string) $kept, 2) + ['', ''];
                if (!preg_match('~\A(\d{1,12}) (\d{1,12})\z~', $times, $found) || self::parse($body) === null) {
                    return [0, 0, null];
                }
                return [(int) $found[1], (int) $found[2], $body];
            }

            /** Replaces the file as a whole: readers find the old or the new one, also after a crash. */
            private function keep(int $heard, int $seen, string $body): bool
            {
                return self::guarded(function () use ($heard, $seen, $body): bool {
                    return $this->replace("$heard $seen\n$body");
                }) ?? false;
            }

            private function replace(string $text): bool
            {
                $new = $this->file . '.' . uniqid('', true);
                $masks = function_exists('umask');
                $before = $masks ? umask(0077) : 0;
                $stream = @fopen($new, 'x');
                if ($masks) {
                    umask($before);
                }
                if ($stream === false) {
                    return false;
                }
                $renamed = false;
                try {
                    $written = @fwrite($stream, $text) === strlen($text) && fflush($stream)
                        && (!function_exists('fsync') || @fsync($stream)); // PHP 8.1
                    $renamed = fclose($stream) && $written && @rename($new, $this->file);
                } finally {
                    if (!$renamed) {
                        @unlink($new);
                    }
                }
                return $renamed;
            }

            /** Returns the name of the user that PHP runs as, "" where that is not to be had. */
            private static function user(): string
            {
                $user = self::guarded(static function (): string {
                    $known = function_exists('posix_geteuid') && function_exists('posix_getpwuid');
                    $entry = $known ? posix_getpwuid(posix_geteuid()) : false;
                    return is_array($entry) ? (string) $entry['name'] : '';
                });
                return preg_match('~\A[A-Za-z0-9_][A-Za-z0-9_.-]*\z~', (string) $user) ? (string) $user : '';
            }

            /**
             * Returns what $do returns, null where PHP itself refuses a call: a disabled function, a NUL in a path.
             *
             * @template T
             * @param callable(): T $do
             * @return T|null
             */
            private static function guarded(callable $do)
            {
                try {
                    return $do();
                } catch (\Error $error) {
                    return null;
                }
            }
        }
    }
}

namespace {

    use OPanel\Agent\LicenseClient;

    if (!function_exists('opanel_license')) {
        /**
         * Returns what this installation may do, see LicenseClient::license(). $now is for tests.
         *
         * @return array<string, mixed>
         */
        function opanel_license(
            string $file,
            ?int $now = null,
            string $socket = LicenseClient::SOCKET,
            float $timeoutS = LicenseClient::TIMEOUT_S
        ): array {
            return (new LicenseClient($file, $socket, $timeoutS))->license($now);
        }

        /**
         * Returns the one thing to do, for a person; null where there is nothing.
         *
         * @param array<string, mixed> $license
         */
        function opanel_hint(array $license, string $language): ?string
        {
            $action = $license['next_action'];
            return $action['code'] === 'none' ? null : $action[$language === 'tr' ? 'tr' : 'en'];
        }

        /** Withdraws a consent, see LicenseClient::withdraw(); returns whether the agent has kept it. */
        function opanel_withdraw(
            string $what,
            string $socket = LicenseClient::SOCKET,
            float $timeoutS = LicenseClient::WITHDRAWAL_S
        ): bool {
            return (new LicenseClient('', $socket, $timeoutS))->withdraw($what);
        }
    }
}
