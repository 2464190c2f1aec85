"""The page of the benchmarks says what the committed files say."""

from __future__ import annotations

from overview import BEGIN, END, PAGE, table


def test_the_table_of_costs_is_as_the_files_have_it():
    assert PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0] == table()
