"""The table of a fit of many settings has a row a setting, with what was logged of each."""

from callbacks.settings_table import settings_table


def test_a_row_a_setting_with_what_was_logged_of_it() -> None:
    values = {"train/a/loss": 1.0, "train/b/loss": 2.0, "val/b/f_reg": 3.0, "train/ab/loss": 9.0, "val/f_reg": 7.0}
    columns, rows = settings_table(["a", "b"], values)
    assert columns == ["setting", "train/loss", "val/f_reg"]
    assert rows == [["a", 1.0, ""], ["b", 2.0, 3.0]]
