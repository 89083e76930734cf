"""CSV tables whose cells no spreadsheet takes for formulas.

Spreadsheets run a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break as a formula, also where it came
out of the name of a class or a file. Such a text is written with an apostrophe before it; numbers stay numbers.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""How a text begins that gets an apostrophe; one that has some already gets one more, so that it can be read back."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)


def safe_cell(value: Any) -> Any:
    """The value, with an apostrophe before a text that a spreadsheet would run.

    Example:
        >>> safe_cell("=1+1"), safe_cell("-0.5"), safe_cell(-0.5), safe_cell("a-b")
        ("'=1+1", '-0.5', -0.5, 'a-b')
    """
    is_run = isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if is_run else value


def plain_cell(text: str) -> str:
    """The text of a cell that `safe_cell` gave."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def write_csv_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a table with a line of column names; bytes of file names that are no UTF-8 stay as they are.

    Args:
        path: of the file.
        columns: names of the columns.
        rows: values by column; a column that a row has not is left empty.
    """
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow([safe_cell(name) for name in columns])
        writer.writerows([safe_cell(row.get(name, "")) for name in columns] for row in rows)
