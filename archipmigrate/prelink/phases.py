"""The phases of a run, and which one may follow which. Pure.

phase     v0.3     v0.4     what happens                                       next
link      runs     -        blocks get second names, again and again           link, survey
survey    stopped  -        what v0.3 has done since is judged                 switch
switch    stopped  -        new, remade and deleted objects; maps              linked
linked    stopped  may run  nothing: permissions, then v0.4                    look, back
look      stopped  may run  a last look at both names of every object          drop, linked
drop      stopped  may run  old names go                                       dropped
dropped   stopped  may run  nothing: the run is over                           back
back      stopped  stopped  old names and maps return, then v0.3 may start     link
"""

from __future__ import annotations

from enum import StrEnum

from ..errors import FatalError


class Phase(StrEnum):
    """Where a run is. The words are shown, and in journals."""

    LINK = "link"
    SURVEY = "survey"
    SWITCH = "switch"
    LINKED = "linked"
    LOOK = "look"
    DROP = "drop"
    DROPPED = "dropped"
    BACK = "back"


# Phases between which a session ends.
RESTS = (Phase.LINK, Phase.LINKED, Phase.DROPPED)
# From these on permissions may change, and v0.4 may run: nothing is judged by times any more.
V04_MAY_RUN = (Phase.LINKED, Phase.LOOK, Phase.DROP, Phase.DROPPED)
# What a phase is entered from; a phase that was cut off is entered again, and goes on.
ENTERED_FROM = {
    Phase.LINK: (Phase.LINK,),
    Phase.SURVEY: (Phase.LINK,),
    Phase.LOOK: (Phase.LINKED,),
    Phase.BACK: (Phase.SURVEY, Phase.SWITCH, Phase.LINKED, Phase.LOOK, Phase.DROP, Phase.DROPPED),
}
# Phases that go on with what was begun when the one in front is asked for.
GOES_ON = {
    Phase.LINK: (),
    Phase.SURVEY: (Phase.SURVEY, Phase.SWITCH),
    Phase.LOOK: (Phase.LOOK, Phase.DROP),
    Phase.BACK: (Phase.BACK,),
}
WHY_NOT = {
    Phase.LINK: (
        "v0.3 must not run any more: --prelink goes on with --v03-stopped or --drop-old, and "
        "--back takes you back to v0.3"
    ),
    Phase.SURVEY: "its objects are linked already: go on with perms, then --drop-old",
    Phase.LOOK: "old names go only once all objects are linked: first --prelink --v03-stopped",
    Phase.BACK: "there is nothing to take back: v0.3 has all its objects and maps",
}


def next_phase(now: Phase, wanted: Phase) -> Phase:
    """Return the phase in which a run goes on that is in *now* when *wanted* is asked for.

    Raises FatalError if that makes no sense.
    """
    if now in GOES_ON[wanted]:
        return now
    if now in ENTERED_FROM[wanted]:
        return wanted
    raise FatalError(f"the run is in its phase `{now}`: {WHY_NOT[wanted]}")
