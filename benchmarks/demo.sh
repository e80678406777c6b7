#!/usr/bin/env bash
# What `make demo` shows: the permissions and the maps of a sample share before and after the
# migration, and put back.
# Needs archipmigrate on PATH. Works as root and as an ordinary user; leaves nothing behind.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "$work"

# archipelago if the caller may give files to it. Else root takes a group that exists anywhere, by its
# number, and an ordinary user has only his own: what changes then is the modes.
if getent group archipelago >/dev/null && [[ $EUID -eq 0 || " $(id -Gn) " == *" archipelago "* ]]; then
    group=archipelago
elif [[ $EUID -eq 0 ]]; then
    group=$(getent group users nogroup daemon | cut -d : -f 3 | sed -n 1p)
else
    group=$(id -g)
fi

say() {
    printf '\n# %s\n' "$*"
}

run() {
    printf '$ %s\n' "$*"
    "$@"
}

first_file() {
    find "$1" -type f | LC_ALL=C sort | sed -n 1p
}

show() {
    run ls -ldn share/maps "$map" "$block"
}

say 'A sample share, like one that Archipelago v0.3 has filled'
run archipmigrate testshare share --objects 20000 --volumes 50
map=$(first_file share/maps)
block=$(first_file share/blocks)

say 'A directory, a map and a block, before: nobody but the owner gets at them'
show

say "Give everything to group $group: parallel, journaled, resumable"
run archipmigrate perms share --group "$group" --state state

say 'The same entries, after'
show

say 'Look at every entry again: no drift'
run archipmigrate verify share --group "$group" --state state

say 'Put every entry back as it was'
run archipmigrate undo --state state

say 'The same entries, as before'
show

volume() {
    find share/maps -type f -name '*vol000000*' | LC_ALL=C sort | (
        mapfile -t files
        run ls -ln "${files[@]}"
    )
}

say "A volume's map, in the format of v0.3"
volume

say 'What would become of all maps'
run archipmigrate mapfiles -n --maps share/maps

say 'Bring them to the format of v0.4, under its locks; the old ones are kept'
run archipmigrate mapfiles --maps share/maps --state state

say 'The same volume: a header and a block of entries'
volume
run archipmigrate mapfiles show vol000000 --maps share/maps

say 'Put every map back'
run archipmigrate undo --state state

say 'The same volume, as before'
volume
