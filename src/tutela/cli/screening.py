"""`tutela screen`, `scan`, `demo` and `doctor`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutela.cli import datasets
from tutela.cli.output import (
    FAILED,
    Json,
    console,
    emit,
    exit_code,
    guarded,
    options,
    styled,
    table,
)
from tutela.errors import ConfigurationError

if TYPE_CHECKING:
    from tutela.bulk import Progress
    from tutela.content import Content, Context
    from tutela.screening import Screener
    from tutela.verdict import Verdict

Surface = Annotated[str, typer.Option(help="Where it would appear, for the policy.")]
Jurisdiction = Annotated[str, typer.Option(help="Country code, for the policy.")]


def add_to(app: typer.Typer) -> None:
    app.command()(screen)
    app.command()(scan)
    app.command()(demo)
    app.command()(doctor)


def _context(surface: str, jurisdiction: str) -> Context:
    from tutela.content import Context

    return Context(surface=surface, jurisdiction=jurisdiction)


@guarded
def screen(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="The files to screen.", metavar="FILE…")],
    surface: Surface = "",
    jurisdiction: Jurisdiction = "",
    nudity: Annotated[
        float | None,
        typer.Option(help="Likelihood of nudity, by a classifier of your own.", min=0, max=1),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Write a picture of what was found where in it, as PNG."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Screen files and say what to do with each: allow, hold or block."""
    from tutela import findings
    from tutela.content import Content

    if mask is not None and len(files) != 1:
        raise ConfigurationError("--mask draws one file; name one")
    given = _context(surface, jurisdiction)
    own = () if nudity is None else (findings.nudity(nudity),)
    contents = [Content(path=path, context=given, findings=own, name=str(path)) for path in files]
    actions = []
    with options(context).screener(most=len(files)) as screener:
        # One at a time, in the order given: what a script reads lines up with what it asked.
        verdicts = (
            screener.screen_many(contents) if len(files) > 1 else map(screener.screen, contents)
        )
        for verdict in _in_order([content.name for content in contents], verdicts):
            actions.append(verdict.action)
            if as_json:
                emit(verdict.to_json())
            else:
                _show(verdict)
            if mask is not None:
                _draw(screener, contents[0], verdict, mask)
    raise typer.Exit(exit_code(actions))


def _draw(screener: Screener, content: Content, verdict: Verdict, out: Path) -> None:
    """Write the picture of what was found, and say on standard error what it shows.

    The likeliest derivative; without one, where the picture has another past.
    """
    from tutela import heat, outline
    from tutela.findings import DERIVATIVE

    shown = [found for found in verdict.findings if found.kind == DERIVATIVE]
    best = min(shown, key=lambda found: (found.tier == "benign", -(found.score or 0)), default=None)
    best = best or next((found for found in verdict.findings if found.heat), None)
    if best is None:
        typer.echo("Nothing was found in it that could be drawn.", err=True)
        return
    picture = screener.outline(content, best)
    try:
        picture.save(out, "PNG")
    except OSError as error:
        raise ConfigurationError(f"{out} can't be written: {error.strerror}") from error
    typer.echo((heat if best.heat else outline).describe(best), err=True)


def _in_order(names: list[str], verdicts: Iterator[Verdict] | Any) -> Iterator[Verdict]:
    early: dict[str, list[Verdict]] = {}
    position = 0
    for verdict in verdicts:
        early.setdefault(verdict.name, []).append(verdict)
        while position < len(names) and early.get(names[position]):
            yield early[names[position]].pop()
            position += 1


def _show(verdict: Verdict) -> None:
    from rich.text import Text

    line = Text.assemble(styled(f"{verdict.action:<6}"), f" {verdict.name}")
    if verdict.category:
        line.append(f"  [{verdict.category}]", style="dim")
    console().print(line, soft_wrap=True)
    for reason in verdict.reasons:
        console().print(Text(f"       {reason}", style="dim"), soft_wrap=True)
    for finding in verdict.findings:
        console().print(Text(f"       · {finding.describe()}", style="dim"), soft_wrap=True)


@guarded
def scan(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="The folder; with --dataset also one file.", metavar="DIR")
    ],
    out: Annotated[Path | None, typer.Option(help="Write every verdict as JSON lines.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report for a browser.")] = None,
    include: Annotated[
        list[str], typer.Option(help="File names to take, e.g. '*.jpg'; may be repeated.")
    ] = ["*"],  # noqa: B006 - typer copies it
    fresh: Annotated[bool, typer.Option(help="Begin anew, don't take up a cut-off scan.")] = False,
    dataset: Annotated[
        bool, typer.Option("--dataset", help="It is training data: look into archives, too.")
    ] = False,
    receipt: Annotated[
        Path | None, typer.Option(help="With --dataset: write the signed receipt.")
    ] = None,
    surface: Surface = "",
    jurisdiction: Jurisdiction = "",
    as_json: Json = False,
) -> None:
    """Screen every file below a folder. A scan that was cut off goes on where it stopped."""
    from tutela import bulk

    if dataset:
        if html or surface or jurisdiction or include != ["*"]:
            raise ConfigurationError("--dataset goes with --out, --receipt, --fresh and --json")
        datasets.scan(context, folder, out=out, receipt=receipt, fresh=fresh, as_json=as_json)
        return
    if receipt is not None:
        raise ConfigurationError("--receipt is for data sets; add --dataset")
    with options(context).screener() as screener, _bar(show=not as_json) as (start, advance):

        def each(progress: Progress, name: str, verdict: Verdict) -> None:
            advance(progress)
            if as_json:
                emit({**verdict.to_json(), "file": name})

        record, progress = bulk.scan(
            screener,
            folder,
            include=include,
            fresh=fresh,
            context=_context(surface, jurisdiction),
            on_verdict=each,
            on_start=start,
        )
        if out is not None:
            bulk.write_lines(record, out)
        if html is not None:
            bulk.write_html(record, html, policy=screener.policy.version)
    if not as_json:
        _summarise(progress, out, html)
    raise typer.Exit(exit_code(progress.actions))


def _summarise(progress: Progress, out: Path | None, html: Path | None) -> None:
    counts = ", ".join(f"{count:,} {action}" for action, count in sorted(progress.actions.items()))
    typer.echo(f"{progress.done:,} files: {counts or 'nothing to screen'}")
    if progress.resumed:
        typer.echo(f"{progress.resumed:,} of them had been screened before the scan was cut off")
    for path in (out, html):
        if path is not None:
            typer.echo(f"wrote {path}")


@contextlib.contextmanager
def _bar(*, show: bool) -> Iterator[tuple[Callable[[Progress], None], Callable[[Progress], None]]]:
    from rich import progress as rich

    bar = rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeRemainingColumn(compact=True),
        rich.TextColumn("{task.fields[found]}"),
        console=console(stderr=True),
        disable=not show,
    )
    task = bar.add_task("starting", total=None, rate="", found="")

    def start(now: Progress) -> None:
        bar.reset(task, total=now.total, completed=now.done, description="screening")

    def advance(now: Progress) -> None:
        speed = bar.tasks[0].speed
        rate = f"{speed:,.0f}/s" if speed else ""
        found = f"{now.actions.get('block', 0):,} blocked, {now.actions.get('hold', 0):,} held"
        bar.update(task, completed=now.done, rate=rate, found=found)

    with bar:
        yield start, advance


@guarded
def demo(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(help="A folder of your own pictures to screen as well.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where to put pictures, data and report.")] = Path(
        "tutela-demo"
    ),
    as_json: Json = False,
) -> None:
    """Show the main job: real pictures, altered in many ways, screened against two banks."""
    from tutela.cli.demonstration import run

    found = run(out, folder, workers=options(context).workers, quiet=as_json)
    if as_json:
        for verdict in found.verdicts:
            emit(verdict.to_json())
        raise typer.Exit(0 if found.as_expected else FAILED)
    table(
        "What would happen to each upload",
        ("verdict", "picture", "why"),
        (
            (styled(verdict.action), verdict.name, "; ".join(verdict.reasons))
            for verdict in found.verdicts
        ),
    )
    for line in found.closing:
        console().print(line, markup=False)
    raise typer.Exit(0 if found.as_expected else FAILED)


@guarded
def doctor(context: typer.Context, as_json: Json = False) -> None:
    """Check the installation with the harmless trigger picture and prompt."""
    from tutela.cli.diagnosis import examine

    checks = examine(options(context))
    if as_json:
        for check in checks:
            emit({"check": check.name, "ok": check.ok, "detail": check.detail})
    else:
        from rich.text import Text

        marks = {True: Text("ok", style="green"), False: Text("FAILED", style="bold red")}
        table(
            "Tutela's installation",
            ("", "check", "detail"),
            ((marks[check.ok], check.name, check.detail) for check in checks),
        )
    raise typer.Exit(0 if all(check.ok for check in checks) else FAILED)
