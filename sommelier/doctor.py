"""The command that looks at the machine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sommelier.group import PATH, as_json


@click.command()
@click.option("--folder", default=".", type=PATH, help="Where stores are going to be written.")
@as_json
def doctor(folder: Path, as_json: bool) -> None:
    """
    Say what this machine has, what is wrong with it, and what to do.

    \b
    sommelier doctor
    """
    from extract.doctor import diagnose

    diagnosis = diagnose(folder)
    if as_json:
        click.echo(json.dumps({"facts": diagnosis.facts, "advice": diagnosis.advice}, indent=1))
        return
    for name, fact in diagnosis.facts.items():
        click.echo(f"{name:18} {fact}")
    for advice in diagnosis.advice or ["Nothing to mend."]:
        click.secho(f"* {advice}", fg="yellow" if diagnosis.advice else "green")
