"""Kernel paths: how one is chosen, what a wrong choice says, and the machine code of each tile."""

from __future__ import annotations

import inspect
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import llvmlite.binding as llvm
import numba
import pytest
from llvmlite import ir

from r329fast.errors import UsageError
from r329fast.kernels.ir.emit import BYTES, I64, Pointer
from r329fast.kernels.ir.gemm_tile import emit_row_tile
from r329fast.kernels.runtime import aarch64, cache, isa

TESTS = Path(__file__).parent


def by_name(name: str) -> isa.Isa:
    """A path by its name, or its tile of int16 pairs by that of `isa.words`."""
    paths = (*isa.ISAS, *isa.EMULATED)
    return next(path for path in (*paths, *map(isa.words, paths)) if path.name == name)


def test_best_path_of_the_target_is_chosen() -> None:
    vnni = frozenset({"avx2", "avx512f", "avx512bw", "avx512vl", "avx512vnni"})
    assert isa.choose(vnni).name == "vnni512"
    assert isa.choose(vnni - {"avx512vnni"}).name == "avx512"
    assert isa.choose(frozenset({"avx2", "avxvnni"})).name == "avxvnni"
    assert isa.choose(frozenset({"avx2"})).name == "avx2"
    assert isa.choose(frozenset({"dotprod"})).name == "neon"
    assert isa.choose(frozenset({"neon"})).name == "plain"
    assert isa.choose(frozenset()).name == "plain"


def test_a_forced_path_is_taken_if_possible() -> None:
    assert isa.choose(frozenset({"avx2"}), "plain").name == "plain"
    with pytest.raises(UsageError, match="lacks avx512bw, avx512f, avx512vl, avx512vnni; poss"):
        isa.choose(frozenset({"avx2"}), "vnni512")
    with pytest.raises(UsageError, match="unknown path; possible here: avx2, plain, did you"):
        isa.choose(frozenset({"avx2"}), "avx3")


def test_dot_products_that_llvm_does_not_name_are_added() -> None:
    assert aarch64.with_dotprod("") == "+dotprod"
    assert aarch64.with_dotprod("+neon,-sve") == "+neon,-sve,+dotprod"
    assert aarch64.with_dotprod("+dotprod,-sve") == "+dotprod,-sve"


@pytest.mark.parametrize(
    ("has", "named", "told"),
    [(True, None, True), (False, None, False), (True, "neoverse-n1", False)],
)
def test_numba_is_told_of_dot_products(
    has: bool, named: str | None, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aarch64, "has_dotprod", lambda: has)
    monkeypatch.setattr(numba.config, "CPU_NAME", named)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", None)
    aarch64.tell_numba()
    assert (numba.config.CPU_FEATURES is not None) == told
    assert not told or "+dotprod" in numba.config.CPU_FEATURES


@pytest.mark.skipif(
    any(os.environ.get(name) for name in ("R329FAST_ISA", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")),
    reason="the target is not this machine",
)
def test_the_path_is_the_one_of_the_processor() -> None:
    """On aarch64 the system's word counts; elsewhere there are no such dot products."""
    assert (isa.ISA.name == "neon") == (isa.JIT and aarch64.has_dotprod())


def test_an_impossible_path_ends_in_one_line() -> None:
    code = (
        "import sys\n"
        "from r329fast.errors import R329Error\n"
        "from r329fast.simulator.simulator import Simulator\n"
        "from r329fast.program.program import Program, TensorSpec\n"
        "try:\n"
        "    x = {'x': TensorSpec('x', (1,), 'int8', 1.0)}\n"
        "    Simulator(Program('p', 's', x, [], [], ('x',), ('x',)))\n"
        "except R329Error as error:\n"
        "    sys.exit(str(error))\n"
    )
    environment = {**os.environ, "R329FAST_ISA": "nonsense"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.startswith("R329FAST_ISA=nonsense: unknown path; possible here: ")


def other_paths() -> list[str]:
    """Every path but the one of this process; emulated where this machine cannot execute it."""
    features = isa.target_features()
    possible = {path.name for path in isa.ISAS if path.possible(features)}
    emulated = [path.name for path in isa.EMULATED if path.name[len("emulated-") :] not in possible]
    return [path.name for path in isa.ISAS if path.name in possible - {isa.ISA.name}] + emulated


@pytest.mark.slow
@pytest.mark.parametrize("name", other_paths())
def test_other_paths_give_the_same_integers(name: str) -> None:
    """The tile, packing and tails of every path, which compiles all its kernels, too."""
    kinds = "conv2d or fully_connected or depthwise or eltwise or norm or winograd"
    run = subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(str(TESTS / "test_registry.py"), str(TESTS / "test_winograd.py")),
            *("-k", f"warmup or {kinds}"),
        ],
        env={**os.environ, "R329FAST_ISA": name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]


def test_unjitted_twins_give_the_same_integers() -> None:
    run = subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(str(TESTS / "test_registry.py"), str(TESTS / "test_winograd.py")),
            *("-k", "small"),
        ],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "R329FAST_ISA": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]


def assembly(name: str, triple: str, features: str) -> str:
    """Assembly of the wide tile of path `name` for `triple`; skips where LLVM lacks the target."""
    path = by_name(name)
    module = ir.Module(name=name)
    module.triple = triple
    hints = get_type_hints(emit_row_tile, include_extras=True)
    arguments = list(inspect.signature(emit_row_tile).parameters)[3:]
    kinds = [BYTES if hints[argument] is Pointer else I64 for argument in arguments]
    kind = ir.FunctionType(ir.VoidType(), kinds)
    function = ir.Function(module, kind, "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    emit_row_tile(builder, path, path.vectors, *function.args)
    builder.ret_void()
    try:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        target = llvm.Target.from_triple(triple)
    except RuntimeError as error:
        pytest.skip(f"this llvmlite cannot compile for {triple}: {error}")
    machine = target.create_target_machine(cpu="", features=features, opt=3)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    return machine.emit_assembly(parsed)


X86 = "x86_64-unknown-linux-gnu"
VNNI = "+avx512f,+avx512bw,+avx512vl,+avx512vnni"


@pytest.mark.parametrize(
    ("name", "triple", "features", "instruction", "per_step"),
    [
        ("vnni512", X86, VNNI, "vpdpbusd", 28),
        ("vnni512-words", X86, f"{VNNI},+fast-dpwssd", "vpdpwssd", 28),
        ("avxvnni", X86, "+avx2,+avxvnni", "vpdpbusd", 12),
        ("avxvnni-words", X86, "+avx2,+avxvnni", "vpdpwssd", 12),
        ("avx512", X86, "+avx512f,+avx512bw", "vpmaddwd", 28),
        ("avx2", X86, "+avx2", "vpmaddwd", 12),
        ("neon", "aarch64-unknown-linux-gnu", "+neon,+dotprod", "sdot", 24),
        ("plain", X86, "+sse2", "pmaddwd", 16),
    ],
)
def test_tile_compiles_to_its_instruction(
    name: str, triple: str, features: str, instruction: str, per_step: int
) -> None:
    text = assembly(name, triple, features)
    assert text.count(f"{instruction}\t") == per_step, text


def test_cache_folder_follows_the_sources_and_needs_no_home(tmp_path: Path) -> None:
    code = "from r329fast.kernels.runtime.cache import CACHE_DIR; print(CACHE_DIR)"

    def folder(**changes: str) -> Path:
        environment = {**os.environ, **changes}
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return Path(run.stdout.strip())

    named = folder(NUMBA_CACHE_DIR=str(tmp_path))
    assert named.parent == tmp_path
    assert named.name.startswith("kernels-")
    assert folder(NUMBA_CACHE_DIR=str(tmp_path), R329FAST_ISA="plain") != named
    blocked = tmp_path / "file"
    blocked.write_text("")
    # a folder that nobody else can know the name of, gone with the process
    spare = [folder(NUMBA_CACHE_DIR=str(blocked), TMPDIR=str(tmp_path)) for _ in range(2)]
    assert spare[0] != spare[1]
    assert all(path.parent == tmp_path and not path.exists() for path in spare)


def test_cache_folder_follows_every_source_file(tmp_path: Path) -> None:
    """An edit of an emitter must not leave the machine code of its callers in use."""
    package = Path(cache.__file__).parent.parent
    copy = tmp_path / "kernels"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert cache.sources_hash(copy) == cache.sources_hash(package) == cache.sources_hash()
    for path in copy.rglob("*.py"):
        source = path.read_bytes()
        path.write_bytes(source + b"#")
        assert cache.sources_hash(copy) != cache.sources_hash(), path
        path.write_bytes(source)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="Numba compiles for the host's family")
def test_whole_kernels_compile_for_a_vnni_target(tmp_path: Path) -> None:
    """Compiled, not executed: packing, tiles, Winograd, depthwise and epilogue on 512 bits."""
    code = (
        "from r329fast.kernels.runtime.isa import ISA\n"
        "from r329fast.kernels import KERNELS\n"
        "print(ISA.name)\n"
        "wanted = ('conv_rows', 'winograd_tiles', 'depthwise_rows')\n"
        "for kernel in KERNELS:\n"
        "    if kernel.__name__ in wanted:\n"
        "        print(kernel.assembly())\n"
    )
    features = "avx,avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,bmi2,sse4.1,ssse3"
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "znver4",
        "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in features.split(",")),
        "NUMBA_CACHE_DIR": str(tmp_path),
        "R329FAST_ISA": "",
    }
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("vnni512\n")
    for instruction in ("vpdpbusd", "vpdpwssd", "vpmovdb"):
        assert f"{instruction}\t" in run.stdout


ROOT = Path(__file__).resolve().parents[2]
_WATCHED = """
import importlib, sys
from numba.core import codegen
made = codegen.JITCPUCodegen._init
def watched(self, *rest):
    aarch64 = sys.modules.get("r329fast.kernels.runtime.aarch64")
    assert aarch64 and aarch64.told, "Numba has read its target before it was told"
    return made(self, *rest)
codegen.JITCPUCodegen._init = watched
importlib.import_module(sys.argv[1])
import r329fast.kernels
"""


@pytest.mark.skipif(not isa.JIT, reason="nothing is compiled")
@pytest.mark.parametrize("module", ["kernels", "profile.error_kernels", "tuning.rounding"])
def test_numba_is_told_its_target_first(module: str) -> None:
    """A kernel that is decorated before has Numba read the target: no dot products on aarch64."""
    words = [sys.executable, "-c", _WATCHED, f"r329fast.{module}"]
    subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=120)
