<?php

declare(strict_types=1);

namespace OPanel\Settings;

/** What the sections of the page are made of. */
final class Parts
{
    private const MARKS = ['good' => '✓', 'warning' => '!', 'bad' => '✕', 'plain' => '·'];

    public function __construct(
        public readonly Texts $texts,
        private readonly string $token,
        public readonly bool $hasHelper
    ) {
    }

    /** A word about a state, with a mark beside its colour. $kind is a key of MARKS. */
    public function badge(string $kind, string $text): Html
    {
        $mark = Html::tag('span', ['aria-hidden' => 'true', 'class' => 'mark'], self::MARKS[$kind]);
        return Html::tag('span', ['class' => "badge $kind"], $mark, $text);
    }

    public function section(string $id, Html ...$content): Html
    {
        $heading = Html::tag('h2', ['id' => $id], ($this->texts)($id));
        return Html::tag('section', ['aria-labelledby' => $id], $heading, ...$content);
    }

    public function paragraph(string $id, string|int ...$values): Html
    {
        return Html::tag('p', [], ($this->texts)($id, ...$values));
    }

    /**
     * @param array<string, string|Html|null> $rows by the id of their label; null: there is no such row
     */
    public function rows(array $rows): Html
    {
        $done = [];
        foreach ($rows as $label => $value) {
            if ($value !== null && $value !== '') {
                $term = Html::tag('dt', [], ($this->texts)($label));
                $done[] = Html::tag('div', [], $term, Html::tag('dd', [], $value));
            }
        }
        return Html::tag('dl', [], ...$done);
    }

    /** A command for root, with the sentence before it. */
    public function command(string $id, string $command): Html
    {
        return Html::tag('p', ['class' => 'command'], ($this->texts)($id) . ' ', Html::tag('code', [], $command));
    }

    /** One button that does one thing; $about says to a screen reader what of. */
    public function button(string $action, string $id, string $about = '', string $class = ''): Html
    {
        $label = [($this->texts)($id)];
        if ($about !== '') {
            $label[] = Html::tag('span', ['class' => 'unseen'], "($about)");
        }
        return $this->form($action, Html::tag('button', ['type' => 'submit', 'class' => $class ?: null], ...$label));
    }

    public function form(string $action, Html ...$content): Html
    {
        return Html::tag(
            'form',
            ['method' => 'post', 'action' => $this->address('main')],
            Html::tag('input', ['type' => 'hidden', 'name' => 'token', 'value' => $this->token]),
            Html::tag('input', ['type' => 'hidden', 'name' => 'action', 'value' => $action]),
            ...$content
        );
    }

    public function link(string $view, string $id, string $about = ''): Html
    {
        $unseen = $about === '' ? '' : Html::tag('span', ['class' => 'unseen'], "($about)");
        return Html::tag('a', ['href' => $this->address($view), 'class' => 'button'], ($this->texts)($id), $unseen);
    }

    public function address(string $view, ?string $language = null): string
    {
        $query = ['lang' => $language ?? $this->texts->language] + ($view === 'main' ? [] : ['view' => $view]);
        return '?' . http_build_query($query);
    }

    /** Whom to write to or call; a link only where the text is an address of its kind. */
    public function contact(mixed $text): ?Html
    {
        if (!is_string($text) || $text === '') {
            return null;
        }
        $address = match (true) {
            filter_var($text, FILTER_VALIDATE_EMAIL) !== false => "mailto:$text",
            preg_match('~\A\+?[0-9 ().-]{5,30}\z~', $text) === 1 => 'tel:' . preg_replace('~[^0-9+]~', '', $text),
            preg_match('~\Ahttps?://[^\s]+\z~', $text) === 1 => $text,
            default => null,
        };
        return $address === null
            ? Html::tag('span', [], $text)
            : Html::tag('a', ['href' => $address, 'rel' => 'noreferrer'], $text);
    }

    public function lines(?Html ...$lines): Html
    {
        $items = array_map(static fn (Html $line): Html => Html::tag('li', [], $line), array_filter($lines));
        return Html::tag('ul', ['class' => 'lines'], ...array_values($items));
    }
}
