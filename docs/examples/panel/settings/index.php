<?php

/**
 * The page "License and privacy" of the panel's settings, as a panel serves it: this file is the panel's to change, the
 * others are not. PHP 8.1 or newer; no extension beyond PHP's own. docs/panel-integration.md says how to embed it.
 */

declare(strict_types=1);

use OPanel\Settings\Config;
use OPanel\Settings\Page;

require_once __DIR__ . '/load.php';

session_start([
    'cookie_httponly' => true,
    'cookie_samesite' => 'Strict',
    'cookie_secure' => true,
    'use_strict_mode' => true,
]);

(new Page(new Config(
    origin: 'https://panel.example:8443',
    language: ($_SESSION['panel_language'] ?? '') === 'tr' ? 'tr' : 'en',
    administrator: ($_SESSION['panel_administrator'] ?? false) === true,
)))->respond();
