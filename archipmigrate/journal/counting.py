"""The rule by which entries are counted: each once, however often it is scanned.

The tally of a run is a sum: each finished unit adds that of its scan and of its apply, each settled
batch that of its settling, and what is taken back is added as a negative number. In the end every
entry is in `entries` (and its type) once, and every directory and regular file in exactly one of
`changed`, `compliant`, `skipped`, `vanished` and `failed`. In between, entries that wait for apply,
or for a retry, are in none.

    event                                      entries   changed   compliant   failed
    scan: an entry of a new unit                  +1
    scan: an entry of a unit that is `counted`     0
    scan: it complies                                                 +1
    scan, dry run: it would be changed                      +1
    scan or apply: it failed, for good                                            +1
    apply: it was changed                                   +1
    apply: to be retried                           0         in a new unit that is `counted`
    drop: another batch covers its inode                              +1
    settle: a change was made by a kill's session           +1        -1
    session: n failures are tried again            0         in units that are `counted`, and -n
    settle: a failure was put right after all                                     -1
    wide directory, c changed, to be read again   all else is 0:
                                                            +c       -c - 1

Why `compliant` goes below 0 for a while: after a kill the unit of a settled batch is still in the
frontier, is scanned again from its beginning, and finds what the batch changed compliant. A wide
directory that was cut off is read again in the same way; what was counted in it was kept apart (see
`engine.scopes`) and is forgotten, but for its changes. The directory itself was judged by the unit
that found it, hence one more.

    unit of 3 files         entries   changed   compliant
    scanned: 3 to change       .         .          .        not yet counted: the unit is in flight
    killed after 2 changes     0         0          0
    settled                    0         2         -2
    scanned again              3         2          0        2 comply, 1 is to change
    applied, finished          3         3          0
"""

from __future__ import annotations

from ..model import Tally


def would_change(count: int) -> Tally:
    """Count the changes that a dry run found."""
    return Tally(changed=count)


def dropped(count: int) -> Tally:
    """Count changes of files that are in another batch under another name."""
    return Tally(compliant=count)


def settled(changed: int) -> Tally:
    """Count changes of a settled batch: its unit is scanned again and finds them compliant."""
    return Tally(changed=changed, compliant=-changed)


def retried(failures: int) -> Tally:
    """Take back failures, now that their entries are tried again."""
    return Tally(failed=-failures)


def read_again(forgotten: Tally) -> Tally:
    """Count what is kept of the counts of a wide directory that is to be read again."""
    return Tally(changed=forgotten.changed, compliant=-forgotten.changed - 1)
