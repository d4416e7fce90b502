<?php

declare(strict_types=1);

namespace OPanel\Settings;

use OPanel\Agent\LicenseClient;

/**
 * Answers one request of the page: shows it, or does what one of its buttons asks and sends the browser back to it.
 *
 * What a button does is one of ACTIONS, never a word of the request. A button counts only with the session's token and
 * from the panel's own origin. The panel has checked who is logged in; the page asks it again for every request.
 */
final class Page
{
    /** By the button's name: what happens. */
    private const ACTIONS = [
        'withdraw-usage_statistics' => ['withdraw', 'usage_statistics'],
        'withdraw-crash_reports' => ['withdraw', 'crash_reports'],
        'withdraw-do_not_track' => ['withdraw', 'do_not_track'],
        'allow-usage_statistics' => ['allow', 'usage_statistics'],
        'allow-crash_reports' => ['allow', 'crash_reports'],
        'preview-usage_statistics' => ['preview', 'usage_statistics'],
        'dnt-off' => ['trackAgain', ''],
        'check' => ['check', ''],
    ];
    private const VIEWS = ['main', 'notice', 'sent', 'allow-usage_statistics', 'allow-crash_reports'];
    private const TOKEN = 'opanel_privacy_token';
    private const OUTCOME = 'opanel_privacy_outcome';

    private Helper $helper;

    public function __construct(private readonly Config $config)
    {
        $this->helper = new Helper($config->helper);
    }

    /** Takes the request that PHP serves. The panel has started its session. */
    public function respond(): void
    {
        $this->headers();
        $language = self::oneOf(['tr', 'en'], $_GET['lang'] ?? null, $this->config->language);
        $view = self::oneOf(self::VIEWS, $_GET['view'] ?? null, 'main');
        if (!$this->config->administrator) {
            $this->refuse($language, 'denied');
            return;
        }
        if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
            echo Html::document($this->shown($language, $view));
            return;
        }
        if (!$this->isFromThisPage()) {
            $this->refuse($language, 'refused');
            return;
        }
        $action = self::ACTIONS[self::text($_POST, 'action')] ?? null;
        if ($action !== null) {
            [$method, $what] = $action;
            $_SESSION[self::OUTCOME] = $this->$method($what, $language);
        }
        header('Location: ?' . http_build_query(['lang' => $language]), true, 303);
    }

    /** What leaves this page: nothing of it is kept, framed by others or able to run anything. */
    private function headers(): void
    {
        header('Content-Type: text/html; charset=utf-8');
        header('Cache-Control: no-store');
        header("Content-Security-Policy: default-src 'none'; style-src 'self'; form-action 'self'; "
            . "frame-ancestors 'self'; base-uri 'none'");
        header('Referrer-Policy: same-origin'); // no-referrer would take the origin from the buttons' requests
        header('X-Content-Type-Options: nosniff');
    }

    private function isFromThisPage(): bool
    {
        $token = $_SESSION[self::TOKEN] ?? null;
        return is_string($token) && hash_equals($token, self::text($_POST, 'token'))
            && ($_SERVER['HTTP_ORIGIN'] ?? '') === $this->config->origin;
    }

    private function refuse(string $language, string $why): void
    {
        http_response_code(403);
        echo Html::document($this->view($language)->refusal($why));
    }

    private function view(string $language): View
    {
        $_SESSION[self::TOKEN] ??= bin2hex(random_bytes(32));
        $parts = new Parts(new Texts($language, time()), $_SESSION[self::TOKEN], $this->helper->installed());
        return new View($parts);
    }

    private function shown(string $language, string $view): Html
    {
        $page = $this->view($language);
        if ($view === 'sent') {
            return $page->sent($this->helper->run('sent')[0]);
        }
        if ($view !== 'main') {
            $notice = $this->helper->run('notice', $language)[0];
            return $view === 'notice' ? $page->notice($notice) : $page->allow(substr($view, strlen('allow-')), $notice);
        }
        $license = $this->client($this->config->timeoutS)->license();
        [$answer] = $license['source'] === 'agent' ? $this->client(LicenseClient::ANSWER_S)->answer() : [null];
        $outcome = $_SESSION[self::OUTCOME] ?? null;
        unset($_SESSION[self::OUTCOME]);
        return $page->main($license, $answer, $outcome, $this->config->lastAnswer);
    }

    private function client(float $timeoutS): LicenseClient
    {
        return new LicenseClient($this->config->lastAnswer, $this->config->socket, $timeoutS);
    }

    // What the buttons do. Each returns its outcome: whether it is done, the id of the sentence about it, the purpose
    // in it, words of the agent's, and bytes to show.

    /** @return array<string, mixed> */
    private function withdraw(string $what): array
    {
        $done = $this->client(LicenseClient::WITHDRAWAL_S)->withdraw($what);
        return self::outcome($done, $what === 'do_not_track' ? $what : 'withdraw', $what);
    }

    /**
     * Consent is given to the notice that was shown, by a box that the administrator ticks.
     *
     * @return array<string, mixed>
     */
    private function allow(string $purpose, string $language): array
    {
        $version = $this->helper->run('notice', $language)[0]['notice'] ?? null;
        if (self::text($_POST, 'read') !== 'yes' || self::text($_POST, 'notice') !== $version) {
            return self::outcome(false, 'consent', $purpose);
        }
        [$result, $words] = $this->helper->run('allow', $purpose);
        return self::outcome($result !== null, 'allow', $purpose, $words);
    }

    /** @return array<string, mixed> */
    private function trackAgain(): array
    {
        [$result, $words] = $this->helper->run('dnt', 'off');
        return self::outcome(($result['dnt'] ?? null) === false, 'dnt_off', '', $words);
    }

    /** @return array<string, mixed> */
    private function preview(string $purpose): array
    {
        [$report, $words] = $this->helper->run('preview', $purpose);
        $bytes = self::text($report ?? [], 'head') . self::text($report ?? [], 'body');
        return self::outcome($bytes !== '', 'preview', $purpose, $words, [$bytes]);
    }

    /** @return array<string, mixed> */
    private function check(): array
    {
        [$asked, $failure] = $this->client(LicenseClient::WITHDRAWAL_S)->refresh();
        $heads = array_map(static fn (mixed $each): string => is_array($each) ? self::text($each, 'head') : '', $asked ?? []);
        return self::outcome($asked !== null, $failure === 'too_soon' ? $failure : 'check', '', '', $heads);
    }

    /**
     * @param list<string> $bytes
     * @return array<string, mixed>
     */
    private static function outcome(
        bool $done,
        string $id,
        string $purpose,
        string $words = '',
        array $bytes = []
    ): array {
        return ['done' => $done, 'id' => $id, 'purpose' => $purpose, 'words' => $words, 'bytes' => $bytes];
    }

    /** @param array<string, mixed> $from */
    private static function text(array $from, string $name): string
    {
        return is_string($from[$name] ?? null) ? $from[$name] : '';
    }

    /** @param non-empty-list<string> $known */
    private static function oneOf(array $known, mixed $wanted, string $default): string
    {
        return in_array($wanted, $known, true) ? $wanted : $default;
    }
}
