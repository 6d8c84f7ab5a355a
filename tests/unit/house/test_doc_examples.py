"""Every Python example of the documents runs, with nlbus from its wheel and in an empty folder, as a new user
would run it; in private namespaces where links come and go.

The examples of one document run in order and share a folder, so that one may read an earlier one's file.
Documents run in parallel.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.documents import DOCUMENTS, ROOT, Block, blocks

EXAMPLES = [block for document in DOCUMENTS for block in blocks(document, "python")]
SECONDS = 30
AT_ONCE = 4  # documents at the same time; examples mostly wait

# A device that is added and removed causes events of route and uevent; without veth, lo going up and down
# causes at least events of route. Names of namespaces are in /run.
CHURN = """
mount -t tmpfs nlbus /run && ip netns add blue && ip netns add green && ip netns set blue auto || exit
while :; do
    ip link set lo up; ip -n blue link set lo up; ip link add readme0 type veth peer name readme1; sleep 0.1
    ip link set lo down; ip -n blue link set lo down; ip link del readme0; sleep 0.1
done >/dev/null 2>&1 &
exec "$@"
"""


@dataclass(frozen=True)
class Outcome:
    """The end of an example: its exit code, None after SECONDS; its output."""

    code: int | None
    printed: str
    errors: str


@pytest.fixture(scope="module")
def private() -> list[str]:
    """A command prefix that runs the rest in a private network and mount namespace."""
    if not (shutil.which("ip") and shutil.which("unshare")):
        pytest.skip("needs ip (iproute2) and unshare (util-linux), to make events in private")
    for command in (["unshare", "-nm"], ["unshare", "-Urnm"]):
        if subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0:
            return command
    pytest.skip("needs CAP_SYS_ADMIN or user namespaces, to make network namespaces")


@pytest.fixture(scope="module")
def outcomes(
    private: list[str], wheel: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Path, Future[list[Outcome]]]]:
    """The outcomes of the examples of each document under test."""
    wanted = {
        item.callspec.params["number"] for item in request.session.items if "outcomes" in item.fixturenames
    }
    documents = dict.fromkeys(block.document for number, block in enumerate(EXAMPLES) if number in wanted)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            document: pool.submit(run_all, document, private, wheel, tmp_path_factory.mktemp(document.stem))
            for document in documents
        }


def run_all(document: Path, private: list[str], wheel: Path, folder: Path) -> list[Outcome]:
    return [run(block, private, wheel, folder) for block in blocks(document, "python")]


def run(block: Block, private: list[str], wheel: Path, folder: Path) -> Outcome:
    """Run the block; a block that defines tests runs under pytest."""
    example = folder / f"test_line_{block.line}.py"
    example.write_text(block.code)
    how = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if "\ndef test_" in block.code else []
    said, errors = folder / "said", folder / "errors"
    with said.open("w") as stdout, errors.open("w") as stderr:
        child = subprocess.Popen(
            [*private, "sh", "-c", CHURN, "sh", sys.executable, "-u", "-W", "error", *how, example.name],
            cwd=folder, env=os.environ | {"PYTHONPATH": str(wheel)}, stdin=subprocess.DEVNULL,
            stdout=stdout, stderr=stderr, start_new_session=True,
        )  # fmt: skip
    code = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = child.wait(SECONDS)
    finally:
        os.killpg(child.pid, signal.SIGKILL)  # the churn, too
        child.wait()
    return Outcome(code, said.read_text(), errors.read_text())


@pytest.mark.parametrize("number", range(len(EXAMPLES)), ids=[str(block) for block in EXAMPLES])
@pytest.mark.timeout(300)
def test_an_example_runs_and_prints_something(
    number: int, outcomes: dict[Path, Future[list[Outcome]]]
) -> None:
    block = EXAMPLES[number]
    place = blocks(block.document, "python").index(block)
    outcome = outcomes[block.document].result()[place]
    assert outcome.code == 0, outcome.errors + outcome.printed
    assert outcome.printed


def test_the_readme_has_an_example_for_each_kind_of_user() -> None:
    users = (ROOT / "README.md").read_text().split("## Five kinds of users")[1].split("\n## ", 1)[0]
    assert users.count("```python") == 5
