"""Every Python example of the README runs, in namespaces of its own where links come and go."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SECONDS = 20
ENDLESS = "for batch in Subscriber("  # ended by Ctrl-C, once it has said something

# A device that comes and goes makes events of route and uevent; where there is no veth, lo going up and down
# makes at least those of route. Names of namespaces lie in /run.
CHURN = """
mount -t tmpfs nlbus /run && ip netns add blue && ip netns add green && ip netns set blue auto || exit
while :; do
    ip link set lo up; ip -n blue link set lo up; ip link add readme0 type veth peer name readme1; sleep 0.1
    ip link set lo down; ip -n blue link set lo down; ip link del readme0; sleep 0.1
done >/dev/null 2>&1 &
exec "$0" -u -W error "$1"
"""


@pytest.fixture(scope="module")
def private() -> list[str]:
    """The command that gives what follows a network and a mount namespace of its own."""
    if not (shutil.which("ip") and shutil.which("unshare")):
        pytest.skip("needs ip (iproute2) and unshare (util-linux), to make events in private")
    for command in (["unshare", "-nm"], ["unshare", "-Urnm"]):
        if subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0:
            return command
    pytest.skip("needs CAP_SYS_ADMIN or user namespaces, to make network namespaces")


def test_there_are_examples_for_all_its_users() -> None:
    users, rest = README.split("## Five lines for each of its users")[1].split("\n## ", 1)
    assert users.count("```python") == 5
    assert rest.count("```python") == len(EXAMPLES) - 5 > 0


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs_and_says_something(number: int, private: list[str], tmp_path: Path) -> None:
    example, said, errors = (tmp_path / name for name in ("example.py", "said", "errors"))
    example.write_text(EXAMPLES[number])
    with said.open("w") as stdout, errors.open("w") as stderr:
        child = subprocess.Popen(
            [*private, "sh", "-c", CHURN, sys.executable, str(example)],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=stdout, stderr=stderr,
            start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + SECONDS
        while child.poll() is None and time.monotonic() < end:
            if ENDLESS in EXAMPLES[number] and said.stat().st_size:
                child.send_signal(signal.SIGINT)
                child.wait(SECONDS)
            time.sleep(0.05)
        code = child.poll()
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert code == (-signal.SIGINT if ENDLESS in EXAMPLES[number] else 0), errors.read_text()
    assert said.read_text()


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", README)) - {"lists"} <= targets
