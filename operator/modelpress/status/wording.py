"""How numbers are said to people: in conditions, verdicts and reports alike."""

from __future__ import annotations

_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def short(value: float | None) -> str:
    """Four significant digits; a dash where there is no number."""
    return "-" if value is None else f"{value:.4g}"


def beside(value: float, limit: float) -> str:
    """`value` with as many digits as it takes to differ from `limit`, so that nobody reads "0.01, 0.01 is allowed"."""
    for digits in (2, 3, 4, 6, 9):
        if f"{value:.{digits}g}" != f"{limit:.{digits}g}" or value == limit:
            return f"{value:.{max(digits, 3)}g}"
    return repr(value)


def size(number_of_bytes: float) -> str:
    """Bytes in the largest binary unit that leaves at least one."""
    for unit, factor in _UNITS:
        if number_of_bytes >= factor:
            return f"{number_of_bytes / factor:.4g} {unit}"
    return f"{number_of_bytes:.0f} bytes"


def milliseconds(value: float) -> str:
    """`8.13 ms`."""
    return f"{value:.4g} ms"
