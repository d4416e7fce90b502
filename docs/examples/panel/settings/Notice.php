<?php

declare(strict_types=1);

namespace OPanel\Settings;

/** Makes HTML of the privacy notice: the few marks of Markdown that it uses, and everything else as text. */
final class Notice
{
    /** Headings begin at h3: the page's own stand above. */
    public static function html(string $markdown): Html
    {
        $parts = array_map(self::block(...), self::blocks(explode("\n", $markdown)));
        return Html::tag('div', ['class' => 'notice'], ...self::lists($parts));
    }

    /**
     * Returns each block as its kind and its text: h3, p, li of a list (ol, ul), or pre for indented lines.
     *
     * @param list<string> $lines
     * @return list<array{0: string, 1: string}>
     */
    private static function blocks(array $lines): array
    {
        $blocks = [];
        $open = '';
        foreach ($lines as $line) {
            [$kind, $text] = self::kind($line, $open);
            if ($kind === '') {
                $open = in_array($open, ['ol', 'ul'], true) ? $open : '';
                continue;
            }
            if ($kind === 'more' || ($kind === $open && in_array($kind, ['p', 'pre'], true))) {
                $blocks[count($blocks) - 1][1] .= ($open === 'pre' ? "\n" : ' ') . $text;
                continue;
            }
            $blocks[] = [$kind, $text];
            $open = $kind;
        }
        return $blocks;
    }

    /** @return array{0: string, 1: string} */
    private static function kind(string $line, string $open): array
    {
        $listed = in_array($open, ['ol', 'ul'], true);
        return match (true) {
            trim($line) === '' => ['', ''],
            str_starts_with($line, '#') => ['h3', ltrim($line, '# ')],
            preg_match('~\A\d+\. (.*)\z~', $line, $found) === 1 => ['ol', $found[1]],
            str_starts_with($line, '- ') => ['ul', substr($line, 2)],
            $listed && str_starts_with($line, '  ') => ['more', trim($line)],
            str_starts_with($line, '  ') => ['pre', trim($line)],
            default => ['p', $line],
        };
    }

    /**
     * @param array{0: string, 1: string} $block
     * @return array{0: string, 1: Html}
     */
    private static function block(array $block): array
    {
        [$kind, $text] = $block;
        $tag = in_array($kind, ['ol', 'ul'], true) ? 'li' : $kind;
        return [$kind, Html::tag($tag, [], self::inline($text))];
    }

    /**
     * Returns the blocks with consecutive items in one list.
     *
     * @param list<array{0: string, 1: Html}> $blocks
     * @return list<Html>
     */
    private static function lists(array $blocks): array
    {
        $done = [];
        $items = [];
        foreach ($blocks as $index => [$kind, $html]) {
            if (!in_array($kind, ['ol', 'ul'], true)) {
                $done[] = $html;
                continue;
            }
            $items[] = $html;
            if (($blocks[$index + 1][0] ?? '') !== $kind) {
                $done[] = Html::tag($kind, [], ...$items);
                $items = [];
            }
        }
        return $done;
    }

    private static function inline(string $text): Html
    {
        $marks = '~(\*\*[^*]+\*\*|\*[^*]+\*|`[^`]+`)~u';
        $parts = preg_split($marks, $text, -1, PREG_SPLIT_DELIM_CAPTURE) ?: [$text];
        return Html::join(...array_map(static fn (string $part): string|Html => match (true) {
            preg_match('~\A\*\*(.+)\*\*\z~us', $part, $found) === 1 => Html::tag('strong', [], $found[1]),
            preg_match('~\A\*(.+)\*\z~us', $part, $found) === 1 => Html::tag('em', [], $found[1]),
            preg_match('~\A`(.+)`\z~us', $part, $found) === 1 => Html::tag('code', [], $found[1]),
            default => $part,
        }, $parts));
    }
}
