"""The rule by which entries are counted: each once, however often it is scanned.

The tally of a run is a sum. Each finished unit adds that of its scan and of its apply, each settled
batch that of its settling; what has to be taken back is added as a negative number. In the end
every entry that was found is in `entries` and in its type once, and every directory and regular
file among them in one of `changed`, `compliant`, `skipped`, `failed` or, if it went in between,
`vanished`. Before that, entries that wait for apply or for a retry are in none of these.

    event                                           entries   changed   compliant   failed
    scan: an entry of a new unit                       +1
    scan: an entry whose unit is `counted`
      it complies                                                           +1
      it would be changed (dry run)                              +1
      it fails for good                                                                +1
    drop: another batch has changed its inode                               +1
      a batch that is in flight has it: in a new, `counted` unit
    apply: it is changed                                         +1
      it is to be retried: in a new, `counted` unit
      it fails for good                                                                +1
    settle: it is changed, and scanned again                     +1         -1
      it is changed, and no scan will find it again    +1        +1
      it had failed, and is put right after all                                        -1
    resume --failed: retried in a `counted` unit                                       -1
    it is deferred: a directory whose own change waits                      +1
    the deferred unit is done, and what was found of it counted             -1
    wide directory to be read again: keep c changes              +c        -c-1

Why `compliant` goes below 0 for a while: after a kill the unit of a settled batch is still in the
frontier, is scanned again from its beginning, and finds what the batch changed compliant. A wide
directory that was cut off is read again in the same way; what was counted in it was kept apart (see
`engine.scopes`) and is forgotten, but for its changes. The directory itself was judged by the unit
that found it, hence one more.

A deferred directory counts as compliant meanwhile, so that one that is found again, by whatever of
the above, and then deferred again, counts once as well: each time that it is looked at takes back
what the other did.

No such count is shown: a session may be interrupted before the next scan, which may not find the
entries either, because somebody has removed them. What was changed did exist. So `shown` adds the
changed entries that no scan has found again to the entries.

    unit of 3 files         entries   changed   compliant
    scanned: 3 to change       .         .          .        not yet counted: the unit is in flight
    killed after 2 changes     0         0          0
    settled                    0         2         -2
    scanned again              3         2          0        2 comply, 1 is to change
    applied, finished          3         3          0

    shown after settling       2         2          0
"""

from __future__ import annotations

from dataclasses import replace

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


def deferred(number: int) -> Tally:
    """Count directories whose own change waits; a negative *number* ends that."""
    return Tally(compliant=number)


def retried(failures: int) -> Tally:
    """Take back failures, now that their entries are tried again."""
    return Tally(failed=-failures)


def read_again(forgotten: Tally) -> Tally:
    """Return the counts that survive when a wide directory is read again."""
    return Tally(changed=forgotten.changed, compliant=-forgotten.changed - 1)


def shown(tally: Tally, deferred: int = 0) -> Tally:
    """Return the counts of a run, finished or not, as users see them: none is below zero.

    They add up but for entries that wait for apply or for a retry, or are *deferred*, which is how
    many directories are. Entries whose type is not known, because they were not scanned again,
    count as files.
    """
    tally = replace(tally, compliant=tally.compliant - deferred)
    if tally.compliant >= 0:
        return tally
    ended = tally.changed + tally.skipped + tally.failed + tally.others
    unseen = max(ended - tally.entries, 0)
    return replace(tally, entries=tally.entries + unseen, files=tally.files + unseen, compliant=0)
