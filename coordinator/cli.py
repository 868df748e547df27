"""The operator's tool: `sumroom-coordinator serve | health | plan … | rehearse … | compare | change … | export | …`."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from types import FrameType

import typer

from protocols import terminal
from protocols.errors import Refused

from . import change_cli, compare_cli, control, exports, plan_cli, refund_cli, rehearse_cli
from .config import Config
from .plan_cli import ConfigOption, OutOption

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.add_typer(plan_cli.app, name="plan")
app.add_typer(rehearse_cli.app, name="rehearse")
app.add_typer(change_cli.app, name="change")
app.command()(refund_cli.refund)
app.command("compare")(compare_cli.compare_results)


@app.callback()
def _sumroom_coordinator() -> None:
    """The coordinator: it leads rounds and sees noised sums, nothing else."""


@app.command()
def serve(config: ConfigOption) -> None:
    """Keep the room open: parties stay connected, and `plan propose` and `plan launch` are led from here.

    Runs until it is stopped (SIGTERM or Ctrl-C). A round under way then stays open: the next `serve`, or launch, goes
    on with it, or forfeits it when its deadline has passed.
    """
    from .service import serve as listen  # Flower and gRPC take a second that other commands need not wait for

    def stop(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        listen(Config.load(config), terminal.say)
    except KeyboardInterrupt:
        terminal.say("stopped")


@app.command()
def health(config: ConfigOption) -> None:
    """Whether a coordinator is listening, and who is connected: exit status 0, or 1 with the reason."""
    try:
        found = control.ask(Config.load(config).path("state"), {"do": "health"})
    except control.Absent:
        raise Refused("no coordinator is listening", f"sumroom-coordinator serve --config {config}") from None
    print(f"listening on {found['listening']}; connected: {', '.join(found['online']) or 'nobody'}")


@app.command()
def export(config: ConfigOption, out: OutOption) -> None:
    """Write releases, bundle, policy and report of what the room has released so far."""
    exports.check_folder(out)
    exports.write(Config.load(config), out)


def main(arguments: Sequence[str] | None = None) -> int:
    return terminal.run(app, "sumroom-coordinator", arguments)
