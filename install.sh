#!/bin/sh
# Installs opanel-agent. Today it can show it (--demo); --help says more.
# Everything is in functions and main is the last line, so that a download cut short runs nothing.
set -eu

usage() {
    cat <<'END'
usage: ./install.sh --demo [--keep] [--lang tr|en]

  --demo        as any user: make an environment in .env/demo (once) and tell the story of a license, on this machine only
  --keep        leave the demo's authority and agent running, and say how to talk to them and how to stop them
  --lang tr|en  the language of the story (default: what the locale says)
  -h, --help    this

exit: 0 done · 64 usage, or asked for what it cannot do yet · 69 packages unreachable · 74 cannot write · 78 this machine lacks something
END
}

say() { printf '%s\n' "$*" >&2; }

# One sentence, one cure.
fail() {
    status=$1
    say "cannot $2"
    say "  $3"
    exit "$status"
}

# ---- checks, all before anything is changed

good_python() {
    "$1" -I -c 'import sys; sys.exit(not (sys.version_info >= (3, 11) and sys.implementation.name == "cpython"))' 2>/dev/null
}

find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 && good_python "$name"; then
            python=$(command -v "$name")
            return
        fi
    done
    fail 78 'find Python 3.11 or newer' 'install it (Debian 12, Ubuntu 24.04: apt install python3 python3-venv; AlmaLinux 9: dnf install python3.12)'
}

check_venv() {
    "$python" -I -c 'import venv, ensurepip' 2>/dev/null ||
        fail 78 "make a Python environment with $python: its venv module is not there" 'Debian and Ubuntu keep it apart: apt install python3-venv'
}

# The nearest folder that exists must be ours to write in, with room for the environment (about 90 MB).
check_place() {
    case $root/ in
    /usr/* | /opt/opanel-agent/*)
        fail 74 "show the demo in $root: what lies there counts as the system's own" 'copy this folder to your home and run it there'
        ;;
    esac
    place=$root/.env/demo
    while [ ! -e "$place" ]; do
        place=$(dirname "$place")
    done
    if [ ! -d "$place" ] || [ ! -w "$place" ] || [ ! -x "$place" ]; then
        fail 74 "write in $place" 'run it from a copy of this folder that is yours'
    fi
    free_kb=$(df -Pk "$place" | awk 'NR == 2 { print $4 }')
    case $free_kb in
    '' | *[!0-9]*) ;;
    *) [ "$free_kb" -ge 200000 ] || fail 74 "make the environment: less than 200 MB are free in $place" 'free some space' ;;
    esac
    for file in README.md pyproject.toml authority/pyproject.toml packaging/demo.py packaging/demo.lock; do
        [ -r "$root/$file" ] || fail 74 "read $root/$file" 'this is no complete copy of the repository: fetch it again'
    done
}

# ---- the demo's environment: kept, and made anew when what it was made from has changed

# The sources count by content, since the environment holds a copy of them, compiled.
stamp() {
    {
        "$python" -VV
        printf '%s\n' "$root"
        cd "$root"
        find install.sh pyproject.toml packaging/demo.lock agent authority -type f \
            ! -name '*.pyc' ! -path '*.egg-info/*' ! -path '*/build/*' -exec cksum {} + | LC_ALL=C sort
    } | cksum
}

make_env() {
    env=$root/.env/demo
    wanted=$(stamp)
    if [ "$(cat "$env/stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    say "making .env/demo with $("$python" -V), once: packages are fetched and checked against their hashes"
    rm -rf "$env"
    "$python" -I -m venv "$env" || fail 78 "make $env" 'the lines above say why (Debian and Ubuntu: apt install python3-venv)'
    pip install --require-hashes --requirement "$root/packaging/demo.lock" ||
        fail 69 'fetch the packages that the demo needs' 'check the network, and pip'"'"'s own settings for a proxy or a mirror; then run this again'
    copy=$env/source
    mkdir "$copy"
    cp -R "$root/agent" "$root/authority" "$root/pyproject.toml" "$root/README.md" "$copy"
    rm -rf "$copy/build" "$copy/authority/build"   # what an earlier build left would be taken along
    pip install --no-index --no-deps --no-build-isolation "$copy" "$copy/authority" ||
        fail 70 'install opanel-agent and opanel-authority in .env/demo' 'the lines above say why; please report them'
    rm -rf "$copy"
    printf '%s\n' "$wanted" >"$env/stamp"
}

pip() {
    "$env/bin/python" -I -m pip -qq --disable-pip-version-check --no-input "$@"
}

demo() {
    find_python
    check_venv
    check_place
    make_env
    exec "$env/bin/python" -I "$root/packaging/demo.py" "$@"
}

main() {
    umask 022
    export PIP_USER=0   # a person's own default; it has no meaning in an environment and would stop pip
    root=$(cd "$(dirname "$0")" && pwd -P)
    wants_demo=
    keep=
    lang=
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help)
            usage
            exit 0
            ;;
        --demo) wants_demo=1 ;;
        --keep) keep=1 ;;
        --lang)
            [ $# -ge 2 ] || fail 64 'tell the language' '--lang takes tr or en'
            shift
            lang=$1
            ;;
        --lang=*) lang=${1#--lang=} ;;
        *)
            usage >&2
            fail 64 "understand $1" 'the options are above'
            ;;
        esac
        shift
    done
    case $lang in
    '' | tr | en) ;;
    *) fail 64 "speak $lang" '--lang takes tr or en' ;;
    esac
    if [ -z "$wants_demo" ]; then
        say 'cannot install the agent as a service yet: nothing was changed; ./install.sh --demo shows it at work.'
        exit 64
    fi
    set --
    [ -z "$keep" ] || set -- "$@" --keep
    [ -z "$lang" ] || set -- "$@" --lang "$lang"
    demo "$@"
}

main "$@"
