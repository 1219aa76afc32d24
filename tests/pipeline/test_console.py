"""What commands print, and how they show progress."""

import io

import rich.console

from pipeline.console import progress, say


def _console(terminal: bool) -> rich.console.Console:
    return rich.console.Console(file=io.StringIO(), force_terminal=terminal, width=60)


def test_text_is_printed_as_it_is():
    console = _console(terminal=False)
    text = f"/data/[red]shards[/red]/{'x' * 100}/[1].tar :smile: 12 of 13"
    say(console, text)
    assert console.file.getvalue() == text + "\n"


def test_a_terminal_shows_the_steps_and_leaves_no_trace_of_them_elsewhere():
    for terminal in (True, False):
        console = _console(terminal)
        with progress(console) as begin:
            advance = begin("reading", 3)
            advance(2)
            begin("drawing", 5)(5)
        assert ("reading" in console.file.getvalue()) == terminal
        assert ("2/3" in console.file.getvalue()) == terminal
    with progress(None) as begin:  # a caller that has no console
        begin("reading", 1)(1)
