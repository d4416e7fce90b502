<?php

declare(strict_types=1);

namespace OPanel\Settings;

/** Makes the whole documents: the page itself, and those that one of its links leads to. */
final class View
{
    private const LANGUAGES = ['tr' => 'Türkçe', 'en' => 'English'];

    private readonly Texts $texts;

    public function __construct(private readonly Parts $parts)
    {
        $this->texts = $parts->texts;
    }

    /**
     * @param array<string, mixed> $license as LicenseClient::license() returns it
     * @param array<string, mixed>|null $answer as GET /v1/answer gives it; null: the agent is silent
     * @param array<string, mixed>|null $outcome of the button before
     * @param string $file what the panel keeps the last answer in
     */
    public function main(array $license, ?array $answer, ?array $outcome, string $file): Html
    {
        $privacy = new PrivacySections($this->parts);
        $consent = $answer['consent'] ?? null;
        $controller = $license['reseller']['controller'] ?? null;
        return $this->document(
            'main',
            $outcome === null ? '' : $this->sentence($outcome),
            $outcome === null ? Html::join() : $this->outcome($outcome),
            $this->silence($license, $file),
            $this->hints($consent),
            (new LicenseSection($this->parts))->html($license),
            $privacy->leaves($consent),
            $privacy->doNotTrack($consent),
            $privacy->sent($answer),
            $privacy->notice(),
            $privacy->rights(is_array($controller) ? $controller : null)
        );
    }

    /** @param array<string, mixed>|null $notice as `opanel-agent notice` gives it */
    public function notice(?array $notice): Html
    {
        $title = ($this->texts)('notice');
        return $this->document('notice', $title, Html::tag('h2', [], $title), $this->noticeText($notice));
    }

    /**
     * The notice, and below it the box and the button that give consent to it.
     *
     * @param array<string, mixed>|null $notice
     */
    public function allow(string $purpose, ?array $notice): Html
    {
        $name = ($this->texts)($purpose);
        $title = ($this->texts)('allow.title', $name);
        $version = $notice['notice'] ?? null;
        $content = [
            Html::tag('h2', [], $title),
            $this->parts->paragraph("$purpose.what"),
            $this->parts->paragraph('allow.lead'),
            $this->noticeText($notice),
        ];
        $content[] = !is_string($version) ? $this->parts->paragraph('allow.none') : $this->parts->form(
            "allow-$purpose",
            Html::tag('input', ['type' => 'hidden', 'name' => 'notice', 'value' => $version]),
            Html::tag(
                'label',
                ['class' => 'choice'],
                Html::tag('input', ['type' => 'checkbox', 'name' => 'read', 'value' => 'yes', 'required' => true]),
                Html::tag('span', [], ($this->texts)('allow.read', $name))
            ),
            Html::tag('button', ['type' => 'submit'], ($this->texts)('allow.give'))
        );
        return $this->document("allow-$purpose", $title, ...$content);
    }

    /** @param array<string, mixed>|null $list as `opanel-agent data sent` gives it */
    public function sent(?array $list): Html
    {
        $title = ($this->texts)('sent');
        $rows = array_values(array_filter($list['sent'] ?? [], is_array(...)));
        $content = match (true) {
            $list === null => $this->unknown('sent.unknown', 'sent.root', 'opanel-agent data sent'),
            $rows === [] => $this->parts->paragraph('sent.none'),
            default => $this->entries($rows, is_int($list['of'] ?? null) ? $list['of'] : count($rows)),
        };
        return $this->document('sent', $title, Html::tag('h2', [], $title), $content);
    }

    public function refusal(string $why): Html
    {
        $text = Html::tag('div', ['role' => 'alert', 'class' => 'banner bad'], ($this->texts)($why));
        return $this->document('main', ($this->texts)('title'), $text, $why === 'denied' ? Html::join() : $this->back());
    }

    private function document(string $view, string $title, Html ...$content): Html
    {
        $name = ($this->texts)('title');
        return Html::tag(
            'html',
            ['lang' => $this->texts->language],
            Html::tag(
                'head',
                [],
                Html::tag('meta', ['charset' => 'utf-8']),
                Html::tag('meta', ['name' => 'viewport', 'content' => 'width=device-width, initial-scale=1']),
                Html::tag('meta', ['name' => 'color-scheme', 'content' => 'light dark']),
                Html::tag('title', [], $title === '' || $title === $name ? $name : "$title – $name"),
                Html::tag('link', ['rel' => 'stylesheet', 'href' => 'style.css'])
            ),
            Html::tag(
                'body',
                [],
                Html::tag('header', [], Html::tag('h1', [], $name), $this->languages($view)),
                Html::tag('main', [], ...$content, ...($view === 'main' ? [] : [$this->back()]))
            )
        );
    }

    private function languages(string $view): Html
    {
        $links = [];
        foreach (self::LANGUAGES as $language => $name) {
            $current = $language === $this->texts->language;
            $links[] = Html::tag('a', [
                'href' => $this->parts->address($view, $language), 'lang' => $language, 'hreflang' => $language,
                'aria-current' => $current ? 'true' : null,
            ], $name);
        }
        return Html::tag('nav', ['aria-label' => ($this->texts)('language')], ...$links);
    }

    private function back(): Html
    {
        return Html::tag('p', ['class' => 'back'], Html::tag(
            'a',
            ['href' => $this->parts->address('main')],
            ($this->texts)('back')
        ));
    }

    /** @param array<string, mixed> $outcome */
    private function sentence(array $outcome): string
    {
        $purpose = $outcome['purpose'];
        $name = $this->texts->has($purpose) ? ($this->texts)($purpose) : $purpose;
        return $outcome['done']
            ? ($this->texts)("ok.{$outcome['id']}", $name)
            : ($this->texts)("bad.{$outcome['id']}", $purpose);
    }

    /**
     * What the button before came to: read out, and the first thing that the keyboard reaches.
     *
     * @param array<string, mixed> $outcome
     */
    private function outcome(array $outcome): Html
    {
        $bytes = array_map(
            static fn (string $text): Html => Html::tag('pre', ['tabindex' => '0'], Html::tag('code', [], $text)),
            array_values(array_filter($outcome['bytes'], static fn (string $text): bool => $text !== ''))
        );
        return Html::tag(
            'div',
            [
                'class' => 'banner ' . ($outcome['done'] ? 'good' : 'bad'), 'tabindex' => '-1', 'autofocus' => true,
                'role' => $outcome['done'] ? 'status' : 'alert',
            ],
            Html::tag('p', [], Html::tag('strong', [], $this->sentence($outcome))),
            $outcome['words'] === '' ? Html::join() : Html::tag('p', [], $outcome['words']),
            ...$bytes
        );
    }

    /** @param array<string, mixed> $license */
    private function silence(array $license, string $file): Html
    {
        if ($license['source'] === 'agent') {
            return $license['kept'] ? Html::join() : $this->banner('warning', ($this->texts)('not_kept', $file));
        }
        $known = $license['source'] === 'file';
        return Html::tag(
            'div',
            ['class' => 'banner bad', 'role' => 'alert'],
            Html::tag('p', [], Html::tag('strong', [], ($this->texts)('silent'))),
            Html::tag('p', [], (string) opanel_hint($license, $this->texts->language)),
            $this->parts->paragraph('silent.goes_on'),
            $known
                ? $this->parts->paragraph('from_file', $this->texts->moment($license['as_of']))
                : $this->parts->paragraph('from_nothing')
        );
    }

    /** @param array<string, mixed>|null $consent */
    private function hints(?array $consent): Html
    {
        $offline = ($consent['offline'] ?? []) !== [] ? $this->banner('warning', ($this->texts)('offline')) : '';
        $old = ($consent['outdated'] ?? false) === true ? $this->banner('warning', ($this->texts)('outdated')) : '';
        return Html::join($offline, $old);
    }

    private function banner(string $kind, string $text): Html
    {
        return Html::tag('div', ['class' => "banner $kind", 'role' => 'status'], Html::tag('p', [], $text));
    }

    private function unknown(string $id, string $root, string $command): Html
    {
        return Html::join($this->parts->paragraph($id), $this->parts->command($root, $command));
    }

    /** @param array<string, mixed>|null $notice */
    private function noticeText(?array $notice): Html
    {
        $text = $notice['text'] ?? null;
        return is_string($text)
            ? Notice::html($text)
            : $this->unknown('notice.unknown', 'notice.root', 'opanel-agent notice');
    }

    /** @param list<array<string, mixed>> $rows */
    private function entries(array $rows, int $of): Html
    {
        return Html::join(
            $this->parts->paragraph('sent.some', $of, count($rows)),
            Html::tag('ol', ['class' => 'entries'], ...array_map($this->entry(...), $rows))
        );
    }

    /** @param array<string, mixed> $row */
    private function entry(array $row): Html
    {
        $text = static fn (string $name): string => is_string($row[$name] ?? null) ? $row[$name] : '';
        $purpose = $text('purpose');
        $status = is_int($row['status'] ?? null) ? " ({$row['status']})" : '';
        return Html::tag(
            'li',
            [],
            Html::tag('h3', [], $this->texts->has("$purpose.what") ? ($this->texts)($purpose) : $purpose),
            $this->parts->rows([
                'sent.when' => $this->texts->time($row['at'] ?? null),
                'sent.outcome' => $this->texts->code('stage', $text('stage')) . $status,
                'sent.to' => $text('url'),
                'sent.bytes' => Html::tag('code', [], 'opanel-agent data sent ' . $text('id')),
            ])
        );
    }
}
