"""What each change of ``State`` means, written down by hand: rows are where it comes from, columns where it goes to.

``-`` announces nothing, a ``!`` marks ``missed_transitions`` (the pair is not legal), ``updated`` says that nothing better can be said.
``?`` is a record of which no state is known, ``Hibernating`` a state that no document has. E is an ending, named by its reason.
"""

RUN_TABLE = """
               Initializing  Running    Paused            Processing  Complete  Error    Hibernating
(new)          -             started    paused!           -           E!        failed!  -
Initializing   .             started    paused!           -           E         failed   updated
Running        updated       .          paused            -           E         failed   updated
Paused         updated       resumed    .                 -           E         failed   updated
Complete       updated       started!   paused!           -           .         failed!  updated
Error          updated       recovered  recovered+paused! -           E         .        updated
?              updated       updated    paused            -           E         failed   updated
Hibernating    updated       updated    paused!           -           E!        failed!  .
"""

STEP_TABLE = """
               Active      InProgress             Scheduled            Queued            Paused             Completed  Cancelled   Error    Hibernating
(new)          activated   in_progress!           scheduled            queued            paused!            E!         cancelled!  failed!  -
Active         .           in_progress            scheduled            queued            paused             E          cancelled   failed   updated
InProgress     activated   .                      scheduled!           queued!           paused             E          cancelled   failed   updated
Scheduled      activated   in_progress!           .                    queued            paused             E          cancelled   failed   updated
Queued         activated   in_progress!           scheduled!           .                 paused             E          cancelled   failed   updated
Paused         resumed     resumed+in_progress    resumed+scheduled    resumed+queued    .                  E          cancelled   failed!  updated
Completed      activated!  in_progress!           scheduled!           queued!           paused!            .          cancelled!  failed!  updated
Cancelled      activated!  in_progress!           scheduled!           queued!           paused!            E!         .           failed!  updated
Error          recovered   recovered+in_progress  recovered+scheduled  recovered+queued  recovered+paused!  E          cancelled   .        updated
?              updated     in_progress            scheduled            queued            paused             E          cancelled   failed   updated
Hibernating    updated     in_progress!           scheduled!           queued!           paused!            E!         cancelled!  failed!  .
"""

RUN_ENDINGS = {
    "NoMoreSteps": "finished",
    "AutomaticallyExited": "exited",
    "AutomaticallyExitedDeletedStep": "exited",
    "AutomaticallyExitedInvalidParentStep": "exited",
    "ManuallyRemoved": "removed",
    "ManuallyRemovedNoAccess": "removed",
    "LeadConverted": "converted",
    "DaisyChained": "chained",
    "AbductedByAliens": "other",
    None: "other",
}

STEP_ENDINGS = {
    "AutomaticallyCompleted": "completed",
    "ManuallyCompleted": "completed",
    "ManuallySkipped": "skipped",
    "AutomaticallyExited": "exited",
    "AbductedByAliens": "completed",
    None: "completed",
}


def cells(table: str) -> dict[tuple[str, str], str]:
    """(from, to) to cell; a record that stays where it is has none."""
    header, *rows = (line.split() for line in table.strip().splitlines())
    return {
        (row[0], state): cell
        for row in rows
        for state, cell in zip(header, row[1:], strict=True)
        if cell != "."
    }
