#!/usr/bin/env bash
# What `make demo` shows: a share as Archipelago v0.3 leaves it, brought to v0.4 and put back, with
# the sha256 of every volume's content before, after, and at the end.
# Needs archipmigrate on PATH. Works as root and as an ordinary user; leaves nothing behind.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"

# archipelago if it is there and the caller may give files to it. Else root takes a group that exists
# anywhere, and an ordinary user has only his own: what changes then is the modes.
user=$(id -un)
if getent group archipelago >/dev/null && [[ $EUID -eq 0 || " $(id -Gn) " == *" archipelago "* ]]; then
    group=archipelago
elif [[ $EUID -eq 0 ]]; then
    group=$(getent group users nogroup daemon | cut -d : -f 1 | sed -n 1p)
else
    group=$(id -gn)
fi

say() {
    printf '\n# %s\n' "$*"
}

run() {
    printf '$ %s\n' "$*"
    "$@"
}

# Run a command that is to end with exit status $1.
ends_with() {
    local expected=$1 status=0
    shift
    run "$@" || status=$?
    [[ $status -eq $expected ]]
}

site=(--config archipelago.conf --state state)
volume=vol000000

show() {
    local files
    mapfile -t files < <(find share -name "*$volume*" -not -name '*_lock' | LC_ALL=C sort)
    run ls -l "${files[@]}"
    run archipmigrate mapfiles show "$volume" --config archipelago.conf
}

cat <<END
In $work: a sample share as v0.3 leaves it, all steps to v0.4, the way back.
Nothing outside is touched, and it is removed at the end. Takes about half a minute.
END

say 'A sample share, as v0.3 leaves it, and its configuration'
run archipmigrate testshare share --layout v0.3 --objects 400 --volumes 8
cat >v03.conf <<END
STORAGE="files"
FILED_IMAGES="$work/share/blocks"
FILED_MAPS="$work/share/maps"
$(printf '%s=2\n' VERBOSITY_{BLOCKERB,BLOCKERM,MAPPER,VLMC})
$(printf '%s=64\n' NR_OPS_{BLOCKERB,BLOCKERM,MAPPER,VLMC})
END
# Its name has 4 bytes: only v0.3 can open it. On a real site, copy it to another name first.
rm "$(find share/maps -name archip_shrt)"

say "v0.4's configuration"
run archipmigrate config convert v03.conf -o archipelago.conf
run archipmigrate config set --config archipelago.conf "USER=$user" "GROUP=$group"

say 'What keeps this site from v0.4?'
ends_with 5 archipmigrate check "${site[@]}" --quiet

say 'Record what v0.3 serves: the sha256 of each volume'
run archipmigrate check "${site[@]}" --record before.json

say 'A volume, before'
show

say 'Move every object to where v0.4 looks for it'
run archipmigrate relocate "${site[@]}" --v03-stopped --quiet

say "Give everything to group $group"
run archipmigrate perms share --group "$group" --state state

say 'Bring the maps to the format of v0.4, under its locks; the old ones are kept'
run archipmigrate mapfiles "${site[@]}" --v03-stopped --quiet

say 'The same volume, after: where v0.4 looks, for its group, a header and a block of entries'
show

say 'v0.4 serves what v0.3 served'
run archipmigrate check "${site[@]}" --volumes --compare before.json

say 'What is left to do? (USER is not archipelago in this demo)'
run archipmigrate check "${site[@]}" --quiet || true

say 'Put everything back: the last run first'
for _ in mapfiles perms relocate; do
    run archipmigrate undo --state state
done

say 'The same volume, as before; v0.3 serves what it served'
show
run archipmigrate check "${site[@]}" --compare before.json
