"""`nlbus completion`: print the completion script of a shell."""

import click
from click.shell_completion import get_completion_class

from nlbus.cli.shared.stdout import write_unaltered

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_NLBUS_COMPLETE"  # click derives it from the name of the program


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes nlbus commands in SHELL.

    It completes commands, options, sources, groups, tables and columns.

    \b
    eval "$(nlbus completion bash)"                                 in ~/.bashrc
    eval "$(nlbus completion zsh)"                                  in ~/.zshrc
    nlbus completion fish > ~/.config/fish/completions/nlbus.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    write_unaltered(found(ctx.find_root().command, {}, "nlbus", VARIABLE).source() + "\n")
