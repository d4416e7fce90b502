<?php

// One worker of a panel that uses the PHP library of docs/examples/panel, as it is.

declare(strict_types=1);

require __DIR__ . '/measure.php';

[, $socket, , , , $library, $file] = $argv;
require $library;

measure($argv, static function () use ($socket, $file): string {
    return opanel_license($file, null, $socket)['failure'] ?? '200';
});
