# Which Python makes and runs what the kit brings; read by install.sh, whose functions, root and uninstall it uses.
# shellcheck shell=sh disable=SC2154 # some are set there, others read

good_python() {
    "$1" -I -c 'import sys; sys.exit(not (sys.version_info >= (3, 11) and sys.implementation.name == "cpython"))' 2>/dev/null
}

# A service must not stand on somebody's own Python: its user could not even read it.
system_python() {
    case $("$1" -I -c 'import sys; print(sys.base_prefix)' 2>/dev/null) in
    /usr | /usr/* | /opt/*) good_python "$1" ;;
    *) return 1 ;;
    esac
}

# What /opt/opanel-agent keeps of the tar to repair itself, into a folder kept that is gone at the end; where it is not whole, none.
unpack_kept() {
    kept='' unpacked=''
    [ -z "$demo" ] && [ -f "$root/runtime.tar.gz" ] || return 0
    trap '[ -z "$unpacked" ] || rm -rf "$unpacked"' EXIT
    trap 'exit 130' INT
    for folder in "${TMPDIR:-/var/tmp}" "$root"; do # where programs may run
        unpacked=$(mktemp -d "$folder/.opanel-agent.XXXXXX" 2>/dev/null) || continue
        tar -C "$unpacked" -xzf "$root/runtime.tar.gz" 2>/dev/null || return 0
        kept=$unpacked
        ! good_python "$kept/env/bin/python3.13" || return 0
        rm -rf "$unpacked"
        kept='' unpacked=''
    done
}

# The kit's own, where it brings one (python3.13), else this system's, with venv where an environment is to be made.
choose_python() { # which of the system's will do, and what to try first
    for python in "${kept:-$root/runtime}/env/bin/python3.13" "$root/env/bin/python3.13"; do
        ! good_python "$python" || return 0
    done
    for name in ${2-} python3 python3.14 python3.13 python3.12 python3.11; do
        if has "$name" && "$1" "$name"; then
            python=$(command -v "$name")
            [ -n "$uninstall" ] || "$python" -I -c 'import venv, ensurepip' 2>/dev/null || lacks_venv "$python"
            return
        fi
    done
    [ ! -d "$root/runtime/env" ] && [ ! -f "$root/runtime.tar.gz" ] || fail no_start "$root"
    find_system
    case $own:$ID:$VERSION_ID in # yum without dnf: EL 7
    apt-get:debian:[1-9] | apt-get:debian:1[01] | apt-get:ubuntu:1* | apt-get:ubuntu:2[0-3].* | yum:*) fail old_python ;;
    *) fail python "$(by "$(python_package)")" ;;
    esac
}

python_package() { # as this system calls the newest that is new enough
    case $own:$VERSION_ID in
    apt-get:*) echo 'python3 python3-venv' ;;
    dnf:*) echo python3.12 ;;
    zypper:15*) echo python311 ;;
    zypper:*) echo python3 ;;
    *) echo python ;;
    esac
}

lacks_venv() { # Debian and Ubuntu keep it apart
    find_system
    case $own in
    apt-get) fail venv "$1" "$(by "${1##*/}-venv")" ;;
    *) fail venv "$1" "$(by "$(python_package)")" ;;
    esac
}
