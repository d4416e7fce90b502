<?php

// One worker of a panel that asks with Guzzle, which keeps its connection. No retries.

declare(strict_types=1);

use GuzzleHttp\Client;
use GuzzleHttp\Exception\ConnectException;
use GuzzleHttp\Exception\TransferException;

require __DIR__ . '/measure.php';
require 'GuzzleHttp/autoload.php';

[, $target] = $argv;
$proxied = strncmp($target, 'http:', 5) === 0;
$client = new Client([
    'timeout' => 5,
    'http_errors' => false,
    'curl' => $proxied ? [] : [CURLOPT_UNIX_SOCKET_PATH => $target],
]);

measure($argv, static function () use ($client, $target, $proxied): string {
    try {
        $response = $client->get($proxied ? $target : 'http://agent/v1/license');
    } catch (ConnectException $error) {
        return 'curl ' . ($error->getHandlerContext()['errno'] ?? '?');
    } catch (TransferException $error) {
        return get_class($error);
    }
    $status = (string) $response->getStatusCode();
    return $status === '200' && json_decode((string) $response->getBody()) === null ? 'cut short' : $status;
});
