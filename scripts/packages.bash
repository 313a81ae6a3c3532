# shellcheck shell=bash disable=SC2154
# For scripts/servers and scripts/peers: programs from Debian's packages that are unpacked into a folder, never installed.
#
# The libraries that they need and the system lacks come the same way, and lie beside them: whoever starts one sets
# LD_LIBRARY_PATH. Nothing outside the folder changes, but for Debian's package lists where they are too old.
#
# The caller has set: `tree`, where they are unpacked; `packages`, where their files are kept; `missing`, to which
# `fetch` adds a line for each that could not be had.

# The library folders of the unpacked tree, as the loader wants them.
libraries() {
    find "$tree/lib" "$tree/usr/lib" -name '*.so*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd: -
}

# runs PROGRAM: it, or a module of one, is there, and so is each library it needs.
runs() {
    [ -e "$tree/$1" ] && ! LD_LIBRARY_PATH=$(libraries) ldd "$tree/$1" 2>&1 | grep -q 'not found'
}

# unpack PACKAGE: downloads it and the libraries it depends on that the system lacks, and unpacks all into the tree.
unpack() {
    local package=$1 dependency
    [ -e "$packages/$package.unpacked" ] && return
    mkdir -p "$packages" "$tree"
    (cd "$packages" && rm -f "$package"_*.deb && apt-get download "$package" >/dev/null 2>&1) || return 1
    dpkg -x "$packages/$package"_*.deb "$tree"
    while read -r dependency; do
        dpkg-query -W -f '${Status}' "$dependency" 2>/dev/null | grep -q 'ok installed' || unpack "$dependency" || return 1
    done < <(dpkg-deb -f "$packages/$package"_*.deb Depends | tr ',|' '\n\n' | sed 's/^ *//; s/[ (:].*//' | grep '^lib' || true)
    touch "$packages/$package.unpacked"
}

# fetch PROGRAM PACKAGE: makes PROGRAM run; asks for fresh package lists once if the present ones are too old.
fetch() {
    local program=$1 package=$2
    runs "$program" && return
    rm -f "$packages/"*.unpacked
    if ! unpack "$package"; then
        if [ "$(id -u)" != 0 ]; then
            missing+=("$package: apt-get download failed (as root, 'apt-get update' would be tried)")
            return
        fi
        apt-get update -qq >/dev/null 2>&1 || true
        unpack "$package" || true
    fi
    runs "$program" || missing+=("$package: it, or a library it needs, could not be downloaded")
}
