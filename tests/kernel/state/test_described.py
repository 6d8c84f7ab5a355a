"""docs/state.md says what the schemas say."""

from tests.support.operations.described import BEGIN, END, PAGE, described


def test_page_describes_each_table_as_its_schema_does() -> None:
    part = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert part.strip() == described().strip(), "run `python -m tests.support.operations.described`"
