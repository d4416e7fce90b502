<?php

// What the PHP clients share: they ask in a loop and write [{outcome: number}, [seconds]] to a file.

declare(strict_types=1);

/** Asks until the time is over. $arguments: program, target, the file that lets all begin, seconds, file to write. */
function measure(array $arguments, callable $ask): void
{
    [, , $begin, $seconds, $out] = $arguments;
    $outcomes = [];
    $latencies = [];
    touch("$out.ready");
    do {
        usleep(2000);
        clearstatcache();
    } while (!file_exists($begin));
    $end = microtime(true) + (float) $seconds;
    while (($begun = microtime(true)) < $end) {
        $outcome = $ask();
        $latencies[] = microtime(true) - $begun;
        $outcomes[$outcome] = ($outcomes[$outcome] ?? 0) + 1;
    }
    file_put_contents($out, json_encode([(object) $outcomes, $latencies]));
}

/** Returns the status of a whole response with a body, or what is wrong with it. */
function answer_status(string $got): string
{
    [$head, $body] = explode("\r\n\r\n", $got, 2) + ['', ''];
    if (!preg_match('~^HTTP/1\.[01] (\d{3}) ~', $head, $status)) {
        return $got === '' ? 'no answer' : 'no HTTP';
    }
    return $status[1] === '200' && json_decode($body) === null ? 'cut short' : $status[1];
}
