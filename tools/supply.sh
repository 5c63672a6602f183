# Sourced: the tools that look at what headrace is made of, in an environment of their own, so that
# they are not among what they look at.
#   supply_tools; "$supply/uv" …
supply=$root/build/supply/bin

supply_tools() {
    wanted='cyclonedx-bom>=7.5 pip-audit>=2.10 uv>=0.9'
    [ "$(cat "$supply/../wanted" 2>/dev/null)" = "$wanted" ] && return
    echo "installing $wanted into build/supply" >&2
    mkdir -p "$root/build"
    "${PYTHON:-python3}" -m venv --clear "$root/build/supply"
    # shellcheck disable=SC2086 - a list of names
    "$supply/pip" install --quiet --disable-pip-version-check $wanted >&2
    echo "$wanted" >"$supply/../wanted"
}
