"""The keys of a YAML file as the table that its page must hold; to print it: python -m tests.keys."""

from __future__ import annotations

import yaml
from pydantic import BaseModel

from benchmarks.suite import Suite
from finetune.config import Config
from finetune.keys import list_keys


def tabulate_keys(model: type[BaseModel]) -> str:
    """Every key in the order of the file, with its default, what it allows and what it means."""
    lines = ["| key | default | allowed | meaning |", "|--|--|--|--|"]
    for name, key in list_keys(model).items():
        default = "required" if key.required else f"`{show_default(key.default)}`"
        lines.append(f"| `{name}` | {default} | {key.allowed} | {key.meaning} |")
    return "\n".join(lines) + "\n"


def show_default(value: object) -> str:
    """As YAML has it."""
    return yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True).split("\n")[0]


if __name__ == "__main__":
    print(tabulate_keys(Config))
    print(tabulate_keys(Suite))
