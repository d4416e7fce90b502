<?php

declare(strict_types=1);

namespace OPanel\Settings;

use OPanel\Agent\LicenseClient;

/** What the panel tells the page. */
final class Config
{
    /**
     * @param string $origin what a browser names as the panel's origin, such as https://panel.example:8443
     * @param string $language of the panel's user, "tr" or "en"
     * @param bool $administrator whether the panel knows that an administrator of this server is logged in; a customer
     *     of a hosted site is none
     * @param string $lastAnswer a file that only the panel's user can write: LicenseClient's memory
     * @param list<string>|null $helper the command of helper/opanel-privacy; null where it is not installed: the page
     *     then shows the commands for root
     */
    public function __construct(
        public readonly string $origin,
        public readonly string $language,
        public readonly bool $administrator,
        public readonly string $lastAnswer = '/var/lib/panel/license.last',
        public readonly string $socket = LicenseClient::SOCKET,
        public readonly ?array $helper = ['sudo', '-n', '/usr/local/sbin/opanel-privacy'],
        public readonly float $timeoutS = LicenseClient::TIMEOUT_S
    ) {
    }
}
