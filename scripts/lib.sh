# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the scripts share; to be sourced from the repository's root. need_tool installs what is missing.

export LC_ALL=C.UTF-8
readonly TOOLS=$PWD/build/tools # tools from PyPI, where there is no package of the system's
PATH=$TOOLS/bin:$PATH

# explain: the comment at the top of the script that runs, which has gone to the repository's root.
explain() { sed -n '4,/^[^#]/s/^# \{0,1\}//p' "scripts/$(basename "$0")"; }

# know_arguments MOST "$@": --help explains the script; another option, or more than MOST arguments, are a mistake.
know_arguments() {
    local most=$1 argument
    shift
    for argument; do
        case $argument in
        -h | --help) explain && exit ;;
        -*) printf '%s: there is no option %s\n\n' "$(basename "$0")" "$argument" >&2 && explain >&2 && exit 2 ;;
        esac
    done
    if (($# > most)); then
        printf '%s: what is "%s"?\n\n' "$(basename "$0")" "${*:most+1}" >&2
        explain >&2
        exit 2
    fi
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi
}

apt_updated=''
apt_install() {
    command -v apt-get >/dev/null || return 1
    if [[ -z $apt_updated ]]; then as_root apt-get -qq update >/dev/null 2>&1 || return 1; fi
    apt_updated=yes
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@" >/dev/null 2>&1
}

pip_install() {
    [[ -x $TOOLS/bin/pip ]] || python3 -m venv "$TOOLS" >/dev/null || return 1
    "$TOOLS/bin/pip" install --quiet --disable-pip-version-check "$@"
}

# at_least WANTED ACTUAL: compares versions such as 3.25 and 3.9.1.
at_least() { [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }

has_tool() {
    command -v "$1" >/dev/null || return 1
    [[ $1 != cmake ]] || at_least 3.25 "$(cmake --version | sed -n 's/^cmake version //p')"
}

# need_tool NAME [PACKAGE]: makes sure that a command is there, installing its Debian package if not.
need_tool() {
    local tool=$1 package=${2:-$1}
    if has_tool "$tool"; then return; fi
    case $tool in
    swift | swiftc)
        printf '%s was not found. Install Swift 6.2 or newer (https://swift.org/install) and put it on the PATH.\n' \
            "$tool" >&2
        exit 1
        ;;
    esac
    printf '%s is missing or too old: installing it\n' "$tool" >&2
    apt_install "$package" || true
    hash -r
    if ! has_tool "$tool" && [[ $tool == cmake ]]; then pip_install cmake || true; fi
    hash -r
    if ! has_tool "$tool"; then
        printf '%s could not be installed. Install it by hand (on Debian: apt-get install %s) and run this again.\n' \
            "$tool" "$package" >&2
        exit 1
    fi
}

# need_built FOLDER: makes sure that the libraries have been built there.
need_built() {
    if [[ -f $1/libbelay.a && -f $1/libbelay.so ]]; then return; fi
    printf 'There is no library in %s. To build it: cmake -S . -B %s -DCMAKE_BUILD_TYPE=Release && cmake --build %s\n' \
        "$1" "$1" "$1" >&2
    exit 2
}

# need_library NAME PACKAGE: makes sure that pkg-config knows a library, installing its Debian package if that can be had.
need_library() {
    need_tool pkg-config
    if pkg-config --exists "$1"; then return; fi
    printf '%s is missing: installing %s\n' "$1" "$2" >&2
    apt_install "$2" || printf '%s could not be installed: what needs it is left out\n' "$2" >&2
}

# The clang of the Swift toolchain, whatever else is on the PATH.
swift_clang() {
    local resources
    resources=$(swiftc -print-target-info | sed -n 's/.*"runtimeResourcePath" *: *"\(.*\)".*/\1/p')
    realpath "$resources/../../bin/$1"
}

# cmake_build FOLDER [CMAKE OPTION...]: configures and builds everything there, with warnings as errors.
cmake_build() {
    local folder=$1
    shift
    cmake -S . -B "$folder" -DBELAY_WERROR=ON "$@" && cmake --build "$folder" --parallel "$(nproc)"
}

# The functions that belay.h declares, one a line; those defined in it are not among them.
declared_functions() {
    gcc -E -P -x c include/belay.h | tr '\n' ' ' | sed 's/static inline [^{]*{[^}]*}/ /g' |
        grep -oE '\bbelay_[a-z_]+ ?\([^*]' | grep -oE 'belay_[a-z_]+' | sort -u
}
