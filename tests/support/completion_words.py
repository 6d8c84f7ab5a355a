"""The words that shell completion offers: `python -m tests.support.completion_words` writes them anew."""

import json

import nlbus
from nlbus.cli.shared.completion import WORDS
from nlbus.sources import SOURCES, Source


def words_of(source: Source) -> dict[str, object]:
    return {
        "groups": " ".join(source.groups),
        "tables": {
            table: " ".join(column.name for column in nlbus.schema(source.name, table).columns)
            for table in source.tables
        },
    }


def written() -> str:
    """What nlbus/cli/shared/words.json must have."""
    return json.dumps({name: words_of(source) for name, source in SOURCES.items()}, indent=1) + "\n"


if __name__ == "__main__":
    WORDS.write_text(written())
