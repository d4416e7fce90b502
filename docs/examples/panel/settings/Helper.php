<?php

declare(strict_types=1);

namespace OPanel\Settings;

/** Calls helper/opanel-privacy, which runs one of a few fixed commands of opanel-agent as root. */
final class Helper
{
    private const MAX_BYTES = 4194304;
    private const TIMEOUT_S = 60;

    /** @param list<string>|null $command null: it is not installed */
    public function __construct(private readonly ?array $command)
    {
    }

    public function installed(): bool
    {
        return $this->command !== null && function_exists('proc_open');
    }

    /**
     * Returns the `result` that the command printed, and null; or null, and its own words about why there is none,
     * which are "" where it printed none.
     *
     * @return array{0: array<string, mixed>|null, 1: string}
     */
    public function run(string ...$words): array
    {
        $printed = $this->installed() ? $this->printed($words) : '';
        $envelope = json_decode($printed, true, 32);
        if (!is_array($envelope)) {
            return [null, ''];
        }
        $error = $envelope['errors'][0] ?? null;
        if (is_array($error)) {
            return [null, trim(self::text($error, 'title') . '. ' . self::text($error, 'hint'), '. ')];
        }
        $result = $envelope['result'] ?? null;
        return is_array($result) ? [$result, ''] : [null, ''];
    }

    /** @param array<string, mixed> $from */
    private static function text(array $from, string $name): string
    {
        return is_string($from[$name] ?? null) ? $from[$name] : '';
    }

    /**
     * Returns what the command wrote within a minute. No shell is involved: a list is executed as it is.
     *
     * @param list<string> $words
     */
    private function printed(array $words): string
    {
        $files = [['file', '/dev/null', 'r'], ['pipe', 'w'], ['file', '/dev/null', 'w']];
        $process = @proc_open([...(array) $this->command, ...$words], $files, $pipes, '/');
        if (!is_resource($process)) {
            return '';
        }
        $printed = self::read($pipes[1], microtime(true) + self::TIMEOUT_S);
        if ($printed === null) {
            proc_terminate($process);
        }
        fclose($pipes[1]);
        proc_close($process);
        return $printed ?? '';
    }

    /**
     * Returns all up to its end; null where that does not come in time or it is too much.
     *
     * @param resource $stream
     */
    private static function read($stream, float $end): ?string
    {
        stream_set_blocking($stream, false);
        $got = '';
        while (!feof($stream)) {
            $left = $end - microtime(true);
            if ($left <= 0 || strlen($got) > self::MAX_BYTES) {
                return null;
            }
            $ready = [$stream];
            $none = null;
            @stream_select($ready, $none, $none, (int) $left, 500000);
            $got .= (string) fread($stream, 65536);
        }
        return $got;
    }
}
