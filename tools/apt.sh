# Sourced: installs Debian packages that a test needs, where that is possible.
#   need_packages strace chromium
need_packages() {
    missing=
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "note: not installed:$missing; the tests that need them say so" >&2
        return 0
    fi
    echo "installing$missing" >&2
    apt-get update -qq
    # RUNLEVEL=1: the programs are wanted, not the services that come with them.
    # shellcheck disable=SC2086 - a list of names
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
