#!/usr/bin/env bash
# Runs tests on aarch64, emulated by QEMU, on a Debian machine of another kind. Needs root.
#
#   tools/aarch64.sh [-d FOLDER] [-n NAME] [--] [TEST ARGUMENT...]
#
#   -d FOLDER  where the arm64 Debian root is kept (default: r329fast-aarch64 in the user's cache)
#   -n NAME    processor to emulate: neoverse-n1 (default), cortex-a76, or cortex-a72, which has no
#              dot products; LLVM sees it as it would see the real one. With another of QEMU's names
#              LLVM sees none
#   arguments  go to pytest; without any: vectors, kernel cases and golden runs on the compiled
#              kernels (about six minutes of processor time, half of it compiling)
#
# R329FAST_ISA forces a kernel path as always (unset, the product chooses), NUMBA_CPU_NAME and
# NUMBA_CPU_FEATURES a target to compile for. SHARED names the folder of models and vectors (default:
# "shared" beside the repository). SUITE and MIRROR name another Debian than the machine's own.
#
# Steps are skipped where they have been done. Packages come from where apt and pip of this machine
# get theirs: nothing of their configuration is copied. Wheels are unpacked by the machine's own
# pip, since unpacking them under emulation takes many minutes.
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/r329fast-aarch64
cpu=neoverse-n1
while getopts d:n: option; do
    case $option in
        d) folder=$OPTARG ;;
        n) cpu=$OPTARG ;;
        *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
shared=${SHARED:-$(dirname "$repository")/shared}
mkdir -p "$folder"
root=$(cd "$folder" && pwd)/root
[ "$(id -u)" = 0 ] || { echo "root is needed: debootstrap, chroot and mount" >&2; exit 1; }

# 1. The emulator, and the kernel's rule that hands arm64 programs to it ("F": opened at once, so
#    that it works inside of a chroot too).
if ! command -v qemu-aarch64-static >/dev/null || ! command -v debootstrap >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq qemu-user-static debootstrap >/dev/null
fi
rules=/proc/sys/fs/binfmt_misc
[ -e $rules/register ] || mount -t binfmt_misc binfmt_misc $rules
if [ ! -e $rules/qemu-aarch64 ]; then
    zeros='\x00\x00\x00\x00\x00\x00\x00\x00'
    magic='\x7fELF\x02\x01\x01\x00'$zeros'\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    echo ":qemu-aarch64:M::$magic:$mask:$(command -v qemu-aarch64-static):F" > $rules/register
fi

# 2. Debian for arm64, with Python.
if [ ! -e "$root/.done" ]; then
    suite=${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
    mirror=${MIRROR:-$(apt-get indextargets --format '$(SITE)' "Codename: $suite" | head -n 1)}
    debootstrap --arch=arm64 --variant=minbase --include=python3,python3-venv \
        "$suite" "$root" "$mirror" >"$folder/debootstrap.log" ||
        { tail "$folder/debootstrap.log" >&2; exit 1; }
    touch "$root/.done"
fi

# 3. The dependencies that pyproject.toml names, for running and for tests.
version=$(basename "$(readlink "$root/usr/bin/python3")")
version=${version#python}
[ -e "$root/venv" ] || chroot "$root" python3 -m venv --without-pip /venv
packages=$root/venv/lib/python$version/site-packages
python3 - "$repository/pyproject.toml" >"$folder/requirements.txt" <<'END'
import re, sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
extras = project["optional-dependencies"]
def needs(words):
    for word in words:
        own = re.fullmatch(project["name"] + r"\[(.*)\]", word)
        if own:
            for extra in own[1].split(","):
                yield from needs(extras[extra.strip()])
        else:
            yield word
print(*project["dependencies"], *needs(extras["test"]), sep="\n")
END
if ! cmp -s "$folder/requirements.txt" "$root/requirements.txt"; then
    platforms=()
    for minor in 17 26 27 28 31 34; do platforms+=(--platform "manylinux_2_${minor}_aarch64"); done
    python3 -m pip install -q --upgrade --no-compile --target "$packages" --only-binary=:all: \
        --implementation cp --python-version "$version" --platform manylinux2014_aarch64 \
        "${platforms[@]}" -r "$folder/requirements.txt"
    cp "$folder/requirements.txt" "$root/requirements.txt"
fi

# 4. The tests, on a copy of the repository that is gone afterwards (tests write beside it) and the
#    shared folder as it is, read-only. Nobody else sees these mounts, and they end with the tests.
[ $# -gt 0 ] || set -- -q tests/system/test_vectors.py tests/kernels/test_registry.py tests/system/test_golden.py \
    -k "equals_reference or not reference"
settings=()
for name in R329FAST_ISA NUMBA_CPU_NAME NUMBA_CPU_FEATURES; do
    [ -z "${!name:-}" ] || settings+=("$name=${!name}")
done
set -- env -i PATH=/venv/bin:/usr/bin:/bin HOME=/root LANG=C.UTF-8 PYTHONPATH=/src/r329fast \
    QEMU_CPU="$cpu" ${settings[@]+"${settings[@]}"} python -m pytest "$@"

# QEMU shows programs the /proc/cpuinfo of this machine, in which LLVM finds no processor it knows.
base="fp asimd evtstrm aes pmull sha1 sha2 crc32"
dots="$base atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
case $cpu in
    neoverse-n1) part=0xd0c features=$dots ;;
    cortex-a76) part=0xd0b features=$dots ;;
    cortex-a72) part=0xd08 features=$base ;;
    *) part='' features='' ;;
esac
printf '%s\t: %s\n' processor 0 Features "$features" 'CPU implementer' 0x41 \
    'CPU architecture' 8 'CPU variant' 0x1 'CPU part' "$part" 'CPU revision' 0 >"$root/cpuinfo.$cpu"

export repository root shared QEMU_CPU="$cpu"
exec unshare --mount bash -euo pipefail -c '
    mount --rbind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind "$root/cpuinfo.$QEMU_CPU" "$root/proc/cpuinfo"
    mkdir -p "$root/src"
    mount -t tmpfs tmpfs "$root/src"
    mkdir "$root/src/r329fast" "$root/src/shared"
    tar -C "$repository" --exclude=./.git --exclude=./.venv --exclude=".*_cache" -cf - . |
        tar -C "$root/src/r329fast" --no-same-owner -xf -
    if [ -d "$shared" ]; then
        mount --bind "$shared" "$root/src/shared"
        mount -o remount,bind,ro "$root/src/shared"
    fi
    exec chroot "$root" sh -c "cd /src/r329fast && exec \"\$@\"" "$@"' aarch64 aarch64 "$@"
