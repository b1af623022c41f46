"""The fields of a crontab: "*/15", "mon-fri" or "1,13,30-45/5", as the numbers that they mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dask_facade.exceptions import DaskFacadeError

Cronspec = int | str | Iterable[int]

DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = (
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
)  # fmt: skip
_NAMES = {
    **{name: number for number, name in enumerate(DAYS)},
    **{name: number for number, name in enumerate(MONTHS, 1)},
}


class ParseException(DaskFacadeError, ValueError):
    """A field of a crontab cannot be read."""


class crontab_parser:
    """Reads fields whose numbers are *max_* many, from *min_* on.

    A field is a list, by commas, of ``*``, numbers, and ranges like ``9-17``, which may go over the
    end; of the first and the last of these ``/n`` takes each n-th. Days of the week, from Sunday as
    0, and months have names too, of which three letters count.
    """

    ParseException = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        self.max_ = max_
        self.min_ = min_

    def parse(self, spec: str) -> set[int]:
        """Return the numbers that a field means; raise ParseException or ValueError."""
        return {number for part in spec.split(",") for number in self._parse_part(part.strip())}

    def _parse_part(self, part: str) -> list[int]:
        if not part:
            raise ParseException("empty part in a crontab's field")
        numbers, slash, step = part.partition("/")
        if numbers == "*":
            expanded = [*range(self.min_, self.min_ + self.max_)]
            return self._each(expanded, step) if slash else expanded
        if numbers.startswith("-"):
            raise ParseException(f"{part!r}: a crontab has no negative numbers")
        first, _, last = numbers.partition("-")
        ends = [first, last] if last else [numbers]
        if not slash:
            return self._expand_range(ends)
        return self._range_steps([*ends, step])

    def _range_steps(self, parts: Sequence[str]) -> list[int]:
        """Return each n-th of a range, told as first, last and n."""
        if len(parts) != 3:
            raise ParseException(f"{parts!r}: a step is taken of a range or of '*'")
        return self._each(self._expand_range(parts[:2]), parts[2])

    def _each(self, numbers: list[int], step: str) -> list[int]:
        if not step.isdecimal() or not int(step):
            raise ParseException(f"{step!r}: a step is a number from 1 on")
        return numbers[:: int(step)]

    def _expand_range(self, ends: Sequence[str]) -> list[int]:
        first, last = self._expand_number(ends[0]), self._expand_number(ends[-1])
        if first <= last:
            return [*range(first, last + 1)]
        return [*range(first, self.min_ + self.max_), *range(self.min_, last + 1)]

    def _expand_number(self, text: str) -> int:
        number = int(text) if text.isdecimal() else _NAMES.get(text[:3].lower())
        if number is None:
            raise ValueError(f"{text!r} is no number, day of the week or month")
        return checked(number, self.max_, self.min_)


def checked(number: int, max_: int, min_: int) -> int:
    """Return a number of a field, or raise ValueError where it cannot be one."""
    if not min_ <= number < min_ + max_:
        raise ValueError(
            f"a crontab's field with numbers from {min_} to {min_ + max_ - 1} cannot have {number}"
        )
    return number


def expanded(spec: Cronspec, max_: int, min_: int) -> set[int]:
    """Return the numbers of a field that is a number, text, or a collection of numbers."""
    if isinstance(spec, int):
        numbers = {spec}
    elif isinstance(spec, str):
        numbers = crontab_parser(max_, min_).parse(spec)
    elif isinstance(spec, Iterable):
        numbers = set(spec)
    else:
        raise TypeError(
            f"a crontab's field is an int, a str or a collection of ints, not {type(spec)!r}"
        )
    return {checked(number, max_, min_) for number in numbers}
