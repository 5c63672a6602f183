#!/bin/sh
# headrace @VERSION@ for @PLATFORM@, in one file: this script, then an archive of the program and of
# the Python that runs it. The first start unpacks it; every later one finds it there: below
# HEADRACE_UNPACK, or else below the user's cache, or without a home in /var/tmp.
set -eu
PATH=${PATH:-/usr/bin:/bin}
user=$(id -u)

fail() {
    echo "headrace: $*" >&2
    exit 70
}

find_base() {
    home=${HOME:-$(getent passwd "$user" 2>/dev/null | cut -d: -f6)} || home=
    if [ -n "${HEADRACE_UNPACK:-}" ]; then
        base=$HEADRACE_UNPACK
    elif [ -n "${CACHE_DIRECTORY:-}" ]; then # a unit of systemd
        base=${CACHE_DIRECTORY%%:*}/program
    elif [ -n "${XDG_CACHE_HOME:-}" ]; then
        base=$XDG_CACHE_HOME/headrace/program
    elif [ -n "$home" ] && [ -d "$home" ] && [ -w "$home" ]; then
        base=$home/.cache/headrace/program
    else
        base=/var/tmp/headrace-$user
    fi
}

# Whoever else may write there may have a program of theirs run as this user.
check_base() {
    [ -n "$(find "$base" -prune -type d \( -user 0 -o -user "$user" \) ! -perm /022)" ] ||
        fail "$base is no directory that only you can write; name another with HEADRACE_UNPACK"
}

unpack() {
    mask=$(umask)
    umask 077
    mkdir -p "$base" || fail "$base cannot be made; name a directory with HEADRACE_UNPACK"
    check_base
    part=$(mktemp -d "$base/.part-XXXXXX") || fail "$base cannot be written"
    trap 'rm -rf "$part"' EXIT
    trap 'exit 130' HUP INT TERM
    tail -c +@OFFSET@ "$0" | { gzip -dc || : >"$part/damaged"; } | tar -xof - -C "$part" &&
        [ ! -e "$part/damaged" ] ||
        fail "the program cannot be unpacked in $base: is the disk full, the file damaged?"
    chmod 755 "$part"
    # Of two that start at once one is first, and both have the same.
    mv -T "$part" "$program" 2>/dev/null || [ -x "$program/bin/headrace" ] ||
        fail "$program cannot be made"
    rm -rf "$part"
    trap - EXIT HUP INT TERM
    umask "$mask"
}

find_base
program=$base/headrace-@VERSION@-@DIGEST@
if [ -x "$program/bin/headrace" ]; then check_base; else unpack; fi

# The certificates that this system trusts: not everywhere where our OpenSSL was built to look.
# A directory with hashes is read as needed; a file is read whole, at each start.
if [ -z "${SSL_CERT_FILE:-}${SSL_CERT_DIR:-}" ]; then
    for hashed in /etc/ssl/certs/*.0; do break; done
    if [ -e "$hashed" ]; then
        export SSL_CERT_DIR=/etc/ssl/certs
    else
        for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
            /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
            [ -r "$file" ] && export SSL_CERT_FILE="$file" && break
        done
    fi
fi
unset PYTHONHOME
exec "$program/bin/headrace" -P -s -m headrace "$@"
