<?php

/** Loads what the page consists of. */

declare(strict_types=1);

require_once __DIR__ . '/../opanel_license.php';
require_once __DIR__ . '/Config.php';
require_once __DIR__ . '/Helper.php';
require_once __DIR__ . '/Html.php';
require_once __DIR__ . '/Notice.php';
require_once __DIR__ . '/Texts.php';
require_once __DIR__ . '/Parts.php';
require_once __DIR__ . '/LicenseSection.php';
require_once __DIR__ . '/PrivacySections.php';
require_once __DIR__ . '/View.php';
require_once __DIR__ . '/Page.php';
