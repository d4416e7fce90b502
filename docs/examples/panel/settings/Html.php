<?php

declare(strict_types=1);

namespace OPanel\Settings;

/**
 * A piece of HTML. Every string that becomes part of one is escaped; only another piece is taken as it is, and nothing
 * else makes one. So a value that comes from anywhere cannot become markup.
 */
final class Html
{
    private const WITHOUT_CONTENT = ['input', 'link', 'meta', 'br'];

    private function __construct(private readonly string $text)
    {
    }

    /**
     * Returns an element. An attribute that is null or false is left out, one that is true has no value.
     *
     * @param array<string, string|bool|null> $attributes
     */
    public static function tag(string $name, array $attributes = [], string|self ...$content): self
    {
        $text = "<$name";
        foreach ($attributes as $key => $value) {
            $text .= match ($value) {
                null, false => '',
                true => " $key",
                default => " $key=\"" . self::escaped($value) . '"',
            };
        }
        $end = in_array($name, self::WITHOUT_CONTENT, true) ? '' : "</$name>";
        return new self("$text>" . self::join(...$content)->text . $end);
    }

    public static function join(string|self ...$content): self
    {
        $texts = array_map(
            static fn (string|self $part): string => $part instanceof self ? $part->text : self::escaped($part),
            $content
        );
        return new self(implode('', $texts));
    }

    public static function document(self $root): string
    {
        return "<!doctype html>\n" . $root->text . "\n";
    }

    private static function escaped(string $text): string
    {
        return htmlspecialchars($text, ENT_QUOTES | ENT_SUBSTITUTE | ENT_HTML5, 'UTF-8');
    }
}
