<?php

declare(strict_types=1);

namespace OPanel\Settings;

/** The sentences of one language. */
final class Texts
{
    private const MINUTE_S = 60;
    private const HOUR_S = 3600;
    private const DAY_S = 86400;

    /** @var array<string, string> */
    private array $texts;

    public function __construct(public readonly string $language, private readonly int $now)
    {
        $this->texts = (require __DIR__ . '/texts.php')[$language] + (require __DIR__ . '/words.php')[$language];
    }

    /** Returns the sentence of that id with its values in it. An id that there is none for is a fault of the page. */
    public function __invoke(string $id, string|int ...$values): string
    {
        return sprintf($this->texts[$id], ...$values);
    }

    /** Returns what a code of the agent means; the code itself where it is newer than this page. */
    public function code(string $kind, string $code): string
    {
        return $this->texts["$kind.$code"] ?? $code;
    }

    public function has(string $id): bool
    {
        return isset($this->texts[$id]);
    }

    /** Returns a moment in the panel's time zone, and how far it is; a dash for none. */
    public function time(mixed $at): Html
    {
        if (!is_int($at)) {
            return Html::join('—');
        }
        $text = $this->moment($at) . ' (' . $this->distance($at - $this->now) . ')';
        return Html::tag('time', ['datetime' => gmdate('Y-m-d\TH:i:s\Z', $at)], $text);
    }

    public function moment(int $at): string
    {
        return date($this->language === 'tr' ? 'd.m.Y H:i T' : 'Y-m-d H:i T', $at);
    }

    /** What is ahead is rounded up and what is past down, as the command line does it. */
    private function distance(int $seconds): string
    {
        $size = abs($seconds);
        if ($size < self::MINUTE_S) {
            return $this('now');
        }
        [$unit, $unitS] = match (true) {
            $size < self::HOUR_S => ['minute', self::MINUTE_S],
            $size < 2 * self::DAY_S => ['hour', self::HOUR_S],
            default => ['day', self::DAY_S],
        };
        $count = intdiv($seconds > 0 ? $size + $unitS - 1 : $size, $unitS);
        return $this($seconds > 0 ? 'in' : 'ago', $this($count === 1 ? $unit : $unit . 's', $count));
    }
}
