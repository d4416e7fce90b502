<?php

// One worker of a panel that asks with curl, as Guzzle does: with a handle that keeps its connection, or a new one each time.

declare(strict_types=1);

require __DIR__ . '/measure.php';

[, $target, , , , $mode] = $argv;
$kept = null;

measure($argv, static function () use ($target, $mode, &$kept): string {
    $handle = $kept ?? curl_init();
    $proxied = strncmp($target, 'http:', 5) === 0;
    curl_setopt_array($handle, [
        CURLOPT_URL => $proxied ? $target : 'http://agent/v1/license',
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_TIMEOUT_MS => 5000,
    ] + ($proxied ? [] : [CURLOPT_UNIX_SOCKET_PATH => $target]));
    $body = curl_exec($handle);
    $kept = $mode === 'kept' ? $handle : null;
    if (curl_errno($handle) !== 0) {
        return 'curl ' . curl_errno($handle);
    }
    $status = (string) curl_getinfo($handle, CURLINFO_RESPONSE_CODE);
    return $status === '200' && json_decode($body) === null ? 'cut short' : $status;
});
