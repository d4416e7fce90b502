<?php

declare(strict_types=1);

namespace OPanel\Settings;

/** Shows what the license permits, until when, what to do and whom to call. */
final class LicenseSection
{
    private const LEVELS = ['active' => 'good', 'grace' => 'warning'];
    private const PERMITS = ['change', 'create', 'paid_features'];
    /** What the panel's administrator is not asked to act on. */
    private const QUIET = ['ok', 'agent_silent', 'isolation_none', 'isolation_partial'];

    public function __construct(private readonly Parts $parts)
    {
    }

    /** @param array<string, mixed> $license as LicenseClient::license() returns it */
    public function html(array $license): Html
    {
        $texts = $this->parts->texts;
        $term = is_array($license['license'] ?? null) ? $license['license'] : [];
        $state = (string) $license['state'];
        $missing = array_filter(self::PERMITS, static fn (string $name): bool => !$license['permits'][$name]);
        return $this->parts->section('license', $this->parts->rows([
            'state' => $this->parts->badge(self::LEVELS[$state] ?? 'bad', $texts->code('state', $state)),
            'why' => $this->reasons($license['reasons']),
            'do' => $this->action($license),
            'changes' => $this->time($license['warnings'][0]['end'] ?? null),
            'not_permitted' => $this->refused($missing),
            'call' => $this->reseller($license['reseller'] ?? null),
            'product' => $this->list([$term['product'] ?? null, $license['tier'] ?? null]),
            'expires' => $this->time($term['expires'] ?? null),
            'renews' => $this->time($term['renews_from'] ?? null),
            'offline_until' => $this->time($term['offline_until'] ?? null),
            'features' => $this->list($license['features']),
            'limits' => $this->limits($license['limits']),
            'id' => is_string($term['id'] ?? null) ? Html::tag('code', [], $term['id']) : null,
        ]), $this->parts->paragraph('goes_on'));
    }

    /**
     * The one thing to do; what an agent that is silent needs stands above the license.
     *
     * @param array<string, mixed> $license
     */
    private function action(array $license): ?Html
    {
        if ($license['source'] !== 'agent') {
            return null;
        }
        $hint = opanel_hint($license, $this->parts->texts->language);
        return $hint === null ? Html::join(($this->parts->texts)('nothing_to_do')) : Html::tag('strong', [], $hint);
    }

    private function time(mixed $at): ?Html
    {
        return is_int($at) ? $this->parts->texts->time($at) : null;
    }

    /** @param list<string> $codes */
    private function reasons(array $codes): ?Html
    {
        $texts = array_map(
            fn (string $code): Html => Html::join($this->parts->texts->code('reason', $code)),
            array_diff($codes, self::QUIET)
        );
        return $texts === [] ? null : $this->parts->lines(...array_values($texts));
    }

    /** @param array<string> $permits */
    private function refused(array $permits): ?Html
    {
        $texts = array_map(fn (string $name): Html => Html::join(($this->parts->texts)("permit.$name")), $permits);
        return $texts === [] ? null : $this->parts->lines(...array_values($texts));
    }

    private function reseller(mixed $reseller): ?Html
    {
        if (!is_array($reseller)) {
            return null;
        }
        $name = is_string($reseller['name'] ?? null) ? $reseller['name'] : '';
        $ways = array_map($this->parts->contact(...), [
            $reseller['phone'] ?? null, $reseller['email'] ?? null, $reseller['url'] ?? null,
        ]);
        return $this->parts->lines(Html::tag('strong', [], $name), ...$ways);
    }

    /** @param array<mixed> $texts */
    private function list(array $texts): string
    {
        return implode(', ', array_filter($texts, static fn (mixed $text): bool => is_string($text) && $text !== ''));
    }

    /** @param array<mixed> $limits */
    private function limits(array $limits): string
    {
        $numbers = array_filter($limits, is_int(...));
        $texts = array_map(static fn (string|int $name): string => "$name: {$numbers[$name]}", array_keys($numbers));
        return implode(', ', $texts);
    }
}
