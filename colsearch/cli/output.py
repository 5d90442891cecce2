"""Printing that several commands share."""

import json

import typer


def print_json(value: object) -> None:
    """Print one line of JSON to stdout, with letters beyond ASCII as they are."""
    typer.echo(json.dumps(value, ensure_ascii=False))
