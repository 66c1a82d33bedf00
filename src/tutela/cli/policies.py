"""`tutela policy …`"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tutela.cli.output import FAILED, Json, emit, guarded, options, styled, table
from tutela.errors import TutelaError

if TYPE_CHECKING:
    from tutela.policy import Change, Recorded
    from tutela.store import Store

app = typer.Typer(
    help="The policy: rules that turn findings into a verdict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
@guarded
def show(
    which: Annotated[
        Literal["default", "guard"],
        typer.Argument(help="`default` for uploads, `guard` for what is asked of a model."),
    ] = "default",
) -> None:
    """Print a policy that Tutela ships, a starting point for your own."""
    from tutela.policy.engine import read_text, shipped

    typer.echo(read_text(shipped(which)), nl=False)


@app.command()
@guarded
def check(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="The policy; else the one in use.")] = None,
    as_json: Json = False,
) -> None:
    """Validate a policy. Exit code 1 if it can't be used."""
    from tutela.policy import check as validate

    path = file or options(context).settings().policy
    problems = validate(path)
    for problem in problems:
        if as_json:
            emit(
                {
                    "line": problem.line,
                    "column": problem.column,
                    "rule": problem.rule,
                    "level": problem.level,
                    "message": problem.message,
                }
            )
        else:
            typer.echo(problem.render(str(path or "default policy")))
    errors = [problem for problem in problems if problem.level == "error"]
    if not problems and not as_json:
        typer.echo("no problem found")
    raise typer.Exit(FAILED if errors else 0)


@app.command()
@guarded
def explain(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(help="A verdict's id, or a file to screen without effect.")
    ],
    as_json: Json = False,
) -> None:
    """Show why content got its verdict: every rule, and the findings that it rests on."""
    from tutela.policy import Policy
    from tutela.store.verdicts import get

    chosen = options(context)
    store = chosen.store()
    document = get(store, what)
    if document is not None:
        record = _recorded(document)
        policy = Policy.load(chosen.settings().policy)
        explanation = policy.explain(record.findings, record.context, record.media)
        if not as_json and explanation.decision.policy != record.decision.policy:
            typer.secho(
                f"decided under {record.decision.policy}; explained under the policy in use",
                err=True,
                fg="yellow",
            )
    elif Path(what).is_file():
        with chosen.screener(most=1) as screener:
            explanation = screener.explain(Path(what))
    else:
        raise TutelaError(f"{what} is neither a recorded verdict nor a file")
    if as_json:
        emit(explanation.to_json())
    else:
        typer.echo(explanation.render(), nl=False)


@app.command()
@guarded
def replay(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The new policy.")],
    days: Annotated[int | None, typer.Option(help="Only verdicts of the last DAYS.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Decide recorded findings again under a new policy, and show what would change."""
    from tutela.policy import Policy, summarise
    from tutela.policy import replay as again
    from tutela.store import now

    policy = Policy.load(file)
    since = now() - timedelta(days=days) if days else None
    store = options(context).store()
    changed: list[Change] = []

    def watched() -> Iterator[Change]:
        for change in again(_records(store, since), policy):
            if change.changed:
                if as_json:
                    emit(
                        {
                            "id": change.id,
                            "before": change.before.to_json(),
                            "after": change.after.to_json(),
                        }
                    )
                elif len(changed) < 50:
                    changed.append(change)
            yield change

    summary = summarise(watched())
    if as_json:
        moves = [[before, after, count] for (before, after), count in summary.moves.items()]
        emit({"total": summary.total, "changed": summary.changed, "moves": moves})
        return
    table(
        f"{summary.changed:,} of {summary.total:,} verdicts would change under {policy.version}",
        ("before", "after", "verdicts"),
        ((styled(a), styled(b), f"{count:,}") for (a, b), count in summary.moves.items()),
    )
    for change in changed:
        typer.echo(
            f"  {change.id}  {change.before.action} -> {change.after.action}: "
            f"{'; '.join(change.after.reasons)}"
        )
    if summary.changed > len(changed):
        typer.echo(f"  … {summary.changed - len(changed):,} more; --json shows all")


def _records(store: Store, since: datetime | None) -> Iterator[Recorded]:
    from tutela.store.verdicts import since as recorded

    return map(_recorded, recorded(store, since))


def _recorded(document: dict[str, Any]) -> Recorded:
    from tutela.findings import Finding
    from tutela.policy import Context, Decision, MediaFacts, Recorded

    return Recorded(
        document["id"],
        [Finding.from_json(found) for found in document["findings"]],
        Context(**document["context"]),
        MediaFacts(**document["media"]),
        Decision.from_json(document["verdict"]),
    )
