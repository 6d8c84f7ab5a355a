"""The documents of this repository (README, docs/ and others) and their code blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "bench/README.md")
    ),
    *sorted((ROOT / "docs").glob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced code block of a document."""

    document: Path
    line: int  # of its first line of code
    language: str
    code: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path, language: str) -> list[Block]:
    """The blocks of this language, in order."""
    text = document.read_text()
    return [
        Block(document, text.count("\n", 0, found.start(2)) + 1, language, found[2])
        for found in FENCE.finditer(text)
        if found[1] == language
    ]


def prose(document: Path) -> str:
    """The text with its code blocks blanked; lines keep their numbers."""
    return FENCE.sub(lambda found: "\n" * found[0].count("\n"), document.read_text())
