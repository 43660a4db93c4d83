<?php
declare(strict_types=1);

namespace Shop\Money;

/** A price in cents. */
final class Price
{
    private function __construct(public readonly int $cents)
    {
    }

    public static function ofCents(int $cents): self
    {
        return new self($cents);
    }

    public function __toString(): string
    {
        return sprintf('%d.%02d €', intdiv($this->cents, 100), $this->cents % 100);
    }
}
