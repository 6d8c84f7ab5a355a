"""Tables of generic netlink families, beside what other programs and /proc say."""

import re
import shutil
import subprocess

import pytest

import nlbus


def run(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# -- nlctrl -----------------------------------------------------------------------------------------------


def test_families_are_those_of_genl() -> None:
    listed = run("genl", "ctrl", "list")
    pattern = r"Name: (\S+)\s+ID: (0x\w+)\s+Version: (0x\w+)\s+header size: (\d+)\s+max attribs: (\d+)"
    theirs = {
        (name, int(number, 16), int(version, 16), int(header), int(most))
        for name, number, version, header, most in re.findall(pattern, listed)
    }
    families = nlbus.snapshot("genl:nlctrl", "family")
    columns = ("family_name", "family_id", "version", "hdrsize", "maxattr")
    ours = {tuple(row[name] for name in columns) for row in families.iter_rows()}
    assert ours == theirs
    groups = {int(number, 16): name for number, name in re.findall(r"ID-(0x\w+)\s+name: (\S+)", listed)}
    rows = list(families.iter_rows())
    mine = {
        number: name
        for row in rows
        for number, name in zip(row.get("group_id") or (), row.get("group_name") or (), strict=True)
    }
    assert mine == groups
    commands = re.findall(r"ID-0x\w+ *$", listed, re.MULTILINE)
    assert sum(len(row.get("op_id") or ()) for row in rows) == len(commands)


def test_policies_name_the_attributes_of_each_command() -> None:
    policies = nlbus.snapshot("genl:nlctrl", "policy", where=nlbus.field("family_id") == 16)
    ops = {row["op_cmd"]: row for row in policies.iter_rows() if "op_cmd" in row}
    assert set(ops) == {3, 10}
    [of_name] = [
        row
        for row in policies.iter_rows()
        if row.get("policy_number") == ops[3]["op_do"] and row.get("policy_attr") == 2
    ]
    assert (of_name["policy_type"], of_name["policy_max_length"]) == ("nul_string", 15)
