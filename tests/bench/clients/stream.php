<?php

// One worker of a panel that writes its own HTTP over a stream: a new connection for each request, no retries.

declare(strict_types=1);

require __DIR__ . '/measure.php';

[, $socket] = $argv;

measure($argv, static function () use ($socket): string {
    $stream = @stream_socket_client("unix://$socket", $code, $message, 5.0);
    if ($stream === false) {
        return "connect errno $code";
    }
    stream_set_timeout($stream, 5);
    if (@fwrite($stream, "GET /v1/license HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n") === false) {
        return 'write failed';
    }
    $got = (string) stream_get_contents($stream);
    fclose($stream);
    return answer_status($got);
});
