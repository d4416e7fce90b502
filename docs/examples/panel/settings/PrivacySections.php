<?php

declare(strict_types=1);

namespace OPanel\Settings;

/** Shows what may leave, what left, and what the administrator can do about either. */
final class PrivacySections
{
    private const BY_CONSENT = ['usage_statistics', 'crash_reports'];
    /** In which order they are shown; one of a newer agent comes after them. */
    private const ORDER = [
        'usage_statistics', 'crash_reports', 'license_status', 'security_advisories', 'license_renewal',
        'license_activation', 'data_rights',
    ];
    /** By purpose: the command that shows its bytes before it sends any. */
    private const BY_COMMAND = [
        'license_activation' => 'opanel-agent license activate',
        'data_rights' => 'opanel-agent data request access',
    ];
    /** The reasons that mean that no consent is in force, whatever else holds. */
    private const NO_CONSENT = ['not_asked', 'denied_by_file', 'withdrawn'];
    private const RIGHTS = ['access', 'erase', 'rectify', 'restrict', 'object'];

    public function __construct(private readonly Parts $parts)
    {
    }

    /** @param array<string, mixed>|null $consent as GET /v1/consent gives it; null: the agent is silent */
    public function leaves(?array $consent): Html
    {
        if ($consent === null) {
            return $this->parts->section(
                'leaves',
                $this->parts->paragraph('leaves.unknown'),
                $this->parts->command('leaves.deny', 'opanel-agent consent deny --all')
            );
        }
        $items = [];
        $purposes = array_replace(array_intersect_key(array_flip(self::ORDER), $consent['purposes']), $consent['purposes']);
        foreach ($purposes as $purpose => $decision) {
            $items[] = $this->purpose((string) $purpose, is_array($decision) ? $decision : []);
        }
        return $this->parts->section(
            'leaves',
            $this->parts->paragraph('leaves.lead'),
            Html::tag('ul', ['class' => 'purposes'], ...$items)
        );
    }

    /** @param array<string, mixed> $decision */
    private function purpose(string $purpose, array $decision): Html
    {
        $texts = $this->parts->texts;
        $known = $texts->has("$purpose.what");
        $title = $known ? $texts($purpose) : $purpose;
        $permitted = ($decision['permitted'] ?? null) === true;
        $reasons = array_values(array_filter($decision['reasons'] ?? [], is_array(...)));
        $given = array_intersect(self::NO_CONSENT, array_column($reasons, 'reason')) === [];
        $asked = in_array($purpose, self::BY_CONSENT, true);
        return Html::tag(
            'li',
            [],
            Html::tag('h3', [], $title),
            $asked ? $this->consentBadge($permitted, $given) : $this->badge($purpose, $permitted),
            $this->parts->paragraph($known ? "$purpose.what" : 'unknown_purpose.what'),
            $this->reasons($reasons),
            $asked ? $this->consentControls($purpose, $title, $given) : $this->bytes($purpose)
        );
    }

    private function consentBadge(bool $permitted, bool $given): Html
    {
        $id = $permitted ? 'given' : ($given ? 'given_stopped' : 'not_given');
        return $this->parts->badge($permitted ? 'good' : 'plain', ($this->parts->texts)($id));
    }

    private function badge(string $purpose, bool $permitted): Html
    {
        $id = $permitted ? (isset(self::BY_COMMAND[$purpose]) ? 'by_command' : 'goes') : 'goes_not';
        return $this->parts->badge('plain', ($this->parts->texts)($id));
    }

    /** @param list<array<string, mixed>> $reasons */
    private function reasons(array $reasons): Html
    {
        $lines = array_map(function (array $reason): Html {
            $code = is_string($reason['reason'] ?? null) ? $reason['reason'] : '';
            return Html::join($this->parts->texts->code('reason', $code), ' ', $this->place($reason));
        }, $reasons);
        return $lines === [] ? Html::join() : $this->parts->lines(...$lines);
    }

    /** @param array<string, mixed> $found an opt-out, or a reason: with what, place and line */
    private function place(array $found): Html
    {
        $line = $found['line'] ?? null;
        $parts = array_filter([
            is_string($found['what'] ?? null) ? $found['what'] : '',
            is_string($found['place'] ?? null) ? $this->parts->texts->code('place', $found['place']) : '',
            is_int($line) ? ($this->parts->texts)('line', $line) : '',
        ]);
        return $parts === [] ? Html::join() : Html::tag('small', [], '(' . implode(', ', $parts) . ')');
    }

    private function consentControls(string $purpose, string $title, bool $given): Html
    {
        $parts = [];
        if ($given) {
            $parts[] = $this->parts->button("withdraw-$purpose", 'withdraw', $title);
        } elseif ($this->parts->hasHelper) {
            $parts[] = $this->parts->link("allow-$purpose", 'allow', $title);
        } else {
            $parts[] = $this->parts->command('allow.root', "opanel-agent consent allow $purpose");
        }
        return Html::tag('div', ['class' => 'controls'], ...$parts, ...[$this->bytes($purpose)]);
    }

    private function bytes(string $purpose): Html
    {
        if ($purpose === 'usage_statistics' && $this->parts->hasHelper) {
            return $this->parts->button("preview-$purpose", 'bytes', ($this->parts->texts)($purpose), 'quiet');
        }
        if ($purpose === 'license_status') {
            $button = $this->parts->button('check', 'check', '', 'quiet');
            return Html::join($this->parts->paragraph('check.what'), $button);
        }
        $command = match ($purpose) {
            'usage_statistics' => 'opanel-agent data preview usage_statistics',
            'crash_reports' => 'opanel-agent data held',
            'license_renewal' => 'opanel-agent data sent',
            default => self::BY_COMMAND[$purpose] ?? null,
        };
        return $command === null ? Html::join() : $this->parts->command('bytes.root', $command);
    }

    /** @param array<string, mixed>|null $answer */
    public function sent(?array $answer): Html
    {
        $texts = $this->parts->texts;
        $check = $answer['last_check'] ?? null;
        $last = $check['at'] ?? null;
        $failure = $check['failure'] ?? null;
        $may = ($answer['consent']['purposes']['license_status']['permitted'] ?? null) === true;
        return $this->parts->section(
            'sent',
            $this->parts->paragraph('sent.lead'),
            $this->parts->rows($answer === null ? [] : [
                'last_check' => is_int($last) ? $texts->time($last) : $texts('never'),
                'last_failure' => is_string($failure) ? $texts->code('reason', $failure) : null,
                'next_check' => $may ? $texts->time($answer['next_run']['at'] ?? null) : null,
            ]),
            $this->parts->hasHelper
                ? Html::tag('p', [], $this->parts->link('sent', 'sent.show'))
                : $this->parts->command('sent.root', 'opanel-agent data sent')
        );
    }

    /** @param array<string, mixed>|null $consent */
    public function doNotTrack(?array $consent): Html
    {
        $texts = $this->parts->texts;
        $signals = array_values(array_filter($consent['do_not_track'] ?? [], is_array(...)));
        if ($signals === []) {
            $controls = Html::tag('div', ['class' => 'controls'], $this->parts->button('withdraw-do_not_track', 'dnt.set'));
        } elseif ($this->parts->hasHelper) {
            $controls = Html::tag('div', ['class' => 'controls'], $this->parts->button('dnt-off', 'dnt.unset'));
        } else {
            $controls = $this->parts->command('dnt.unset.root', 'opanel-agent dnt off');
        }
        $state = $signals === [] ? ['plain', 'dnt.off'] : ['good', 'dnt.on'];
        $places = array_map(
            fn (array $signal): Html => Html::join($texts('dnt.by') . ' ', $this->place($signal)),
            $signals
        );
        return $this->parts->section(
            'dnt',
            $consent === null ? Html::join() : $this->parts->badge($state[0], $texts($state[1])),
            $this->parts->paragraph('dnt.what'),
            $places === [] ? Html::join() : $this->parts->lines(...$places),
            $controls
        );
    }

    public function notice(): Html
    {
        return $this->parts->section(
            'notice',
            $this->parts->paragraph('notice.lead'),
            $this->parts->hasHelper
                ? Html::tag('p', [], $this->parts->link('notice', 'notice.show'))
                : $this->parts->command('notice.root', 'opanel-agent notice')
        );
    }

    /** @param array<string, mixed>|null $controller who answers for personal data at the reseller */
    public function rights(?array $controller): Html
    {
        $texts = $this->parts->texts;
        $command = static fn (string $line, string $about): Html
            => Html::join(Html::tag('code', [], $line), Html::tag('span', [], " $about"));
        $commands = array_map(
            static fn (string $right): Html => $command("opanel-agent data request $right", $texts("rights.$right")),
            self::RIGHTS
        );
        $commands[] = $command('opanel-agent data export --html FILE', $texts('rights.export'));
        return $this->parts->section(
            'rights',
            $this->parts->paragraph('rights.lead'),
            $this->parts->paragraph('rights.command'),
            $this->parts->lines(...$commands),
            $this->parts->paragraph($controller === null ? 'rights.no_controller' : 'rights.write'),
            $controller === null ? Html::join() : $this->parts->lines(
                ...array_map($this->parts->contact(...), [
                    $controller['name'] ?? null, $controller['address'] ?? null, $controller['email'] ?? null,
                    $controller['kep'] ?? null, $controller['url'] ?? null,
                ])
            ),
            $this->parts->paragraph('rights.notice')
        );
    }
}
