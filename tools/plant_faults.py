"""Plants one fault after the other in a copy of the source, and sees whether the tests that watch for it fail.

    python tools/plant_faults.py [names ...]        # needs pybind11, CMake, Ninja and what the tests need

A test that no fault makes fail is worth nothing. docs/promises.md names the fault of each promise; this does what it
says. A fault is a text to replace; one that is no longer found is an error here, so the list stays true. Conditions
turned round and comparisons changed, one after the other, are what `nox -s mutants` tries.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PATIENCE = 240  # seconds for the tests of one fault, where it does not say otherwise
HUNG = 999
ROOT = Path(__file__).resolve().parent.parent


class Fault(NamedTuple):
    file: str
    old: str
    new: str
    tests: str  # arguments of pytest, without "tests/" in front
    patience: int = PATIENCE  # less where the fault makes a short test hang


FAULTS = {
    "tiles of one row add x and h in one chain": Fault(
        "csrc/products/tile.h",
        "  if (second.k > 0) {\n    if (first.k > 0) {",
        "  if (ROWS == 1 && second.k > 0) {\n"
        "    multiply<Storage, SHAPE.second>(acc, second, row, second_panel);\n"
        "    return put();\n  }\n  if (second.k > 0) {\n    if (first.k > 0) {",
        "layers/test_properties.py -k wherever",
    ),
    "the chunked input product without its bias": Fault(
        "csrc/forward.cpp",
        "      a.init = packed.bias, a.init_block = packed.bias_block;\n      a.first = {chunk_x_",
        "      a.init = shared_.zeros.data(), a.init_block = 0;\n      a.first = {chunk_x_",
        "core/test_plan.py layers/test_properties.py -k every",
    ),
    "strides of time and batch exchanged": Fault(
        "csrc/python/arrays.h",
        "array.strides(0) / element, array.strides(1) / element}",
        "array.strides(1) / element, array.strides(0) / element}",
        "layers/test_recurrent.py -k layouts",
    ),
    "weight gradients in chunks that depend on the threads": Fault(
        "csrc/backward_layer.h",
        "ceil_div(call.order.total(), call.order.steps()) : 1)),",
        "ceil_div(call.order.total(), call.order.steps()) : 1) % (2 * split.threads() + 1) + 1),",
        "layers/test_properties.py core/test_plan.py -k same_bits",
    ),
    "slices of weight gradients that depend on the threads": Fault(
        "csrc/backward_layer.h",
        "gradient_slices(call.order, weights)),",
        "split.threads() > 1 ? gradient_slices(call.order, weights) : 1),",
        "core/test_gradient_slices.py -k same_bits",
    ),
    "the sum of slices without its last": Fault(
        "csrc/weight_gradients.h",
        "for (int i = 0; i + distance < slices;",
        "for (int i = 0; i + distance + 1 < slices;",
        "core/test_gradient_slices.py -k reference",
    ),
    "kept plans without the number of threads": Fault(
        "csrc/kept_plans.cpp",
        "words.back() = uint64_t(threads);",
        "words.back() = 1;",
        "core/test_kept_plans.py",
    ),
    "a plan of before force_plan stays": Fault(
        "csrc/kept_plans.cpp",
        "  epoch.fetch_add(1);\n  kept_plans.clear();",
        "  epoch.fetch_add(1);",
        "core/test_kept_plans.py -k forced",
    ),
    "blocks of rows that depend on the threads": Fault(
        "csrc/linear_cross_entropy.cpp",
        "block_(block_rows(call.rows, call.out, sizeof(T))),",
        "block_(block_rows(call.rows, call.out, sizeof(T)) + group * (threads % 2)),",
        "core/test_linear_cross_entropy.py -k same_bits",
    ),
    "chunks' largest logits not joined": Fault(
        "csrc/linear_cross_entropy.cpp",
        "all.factor[size_t(r)] = most_.data()[c * block_ + r] - all.most[size_t(r)];",
        "all.factor[size_t(r)] = 0;",
        "core/test_linear_cross_entropy.py -k twin",
    ),
    "a blank between equal labels that may be skipped": Fault(
        "csrc/ctc.cpp",
        "if (i == 0 || label[i] != label[i - 1]) skip[2 * i + 1] = 0;",
        "skip[2 * i + 1] = 0;",
        "core/test_ctc.py -k paths",
    ),
    "states of the sequence before that stay": Fault(
        "csrc/ctc.cpp",
        "std::fill_n(skip, row_ + line, none);",
        "",
        "core/test_ctc.py -k same_bits",
    ),
    "the room of targets not looked at": Fault(
        "pylstm/losses/by_name.py",
        'return is_ctc(loss) and not loss.options.get("zero_infinity", False)',
        "return False",
        "training/test_ctc.py -k fit_into",
    ),
    "paths of a kept beginning not added to it": Fault(
        "pylstm/decoding/ctc.py",
        "with_label[i] = np.logaddexp(with_label[i], extended[above, at])",
        "pass",
        "decoding/test_ctc.py -k drops_nothing",
    ),
    "no fused multiply-add on AVX2": Fault(
        "csrc/simd/avx2.h",
        "return (f32v)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);",
        "return a * b + c;",
        "core/test_plan.py -k instruction_sets",
    ),
    "a fused multiply-add in Adam": Fault(
        "csrc/adam_kernel.h",
        "mean = mean * s.beta1 + g * s.rest1;",
        "mean = fma(mean, splat<V>(s.beta1), g * s.rest1);",
        "training/test_optimizers.py -k twin",
    ),
    "a correction of Adam's bias left out": Fault(
        "pylstm/training/optimizers.py",
        "root = math.sqrt(1 - b2**step)",
        "root = 1.0",
        "training/test_optimizers.py -k papers",
    ),
    "the product of a table without its bias": Fault(
        "csrc/input_table.h",
        "        a.init = packed.bias, a.init_block = packed.bias_block;",
        "        static const T zeros[1 << 14] = {};\n        a.init = zeros, a.init_block = 0;",
        "layers/test_table_rows.py -k bits",
    ),
    "the edition of a table not compared": Fault(
        "pylstm/layers/compiled.py",
        "kept.network is not network or kept.edition is not edition:",
        "kept.network is not network:",
        "layers/test_table_rows.py -k changed_parameter",
    ),
    "places of one part taken for those of combinations": Fault(
        "pylstm/layers/repeated_rows.py",
        "int64(found.places), [",
        "int64(own.places), [",
        "layers/test_repeated_rows.py",
    ),
    "the symbols not copied": Fault(
        "pylstm/graph/rows.py",
        "_Lookup(rows._copied(), place)",
        "_Lookup(rows, place)",
        "models/test_rows_in_runs.py -k symbols_that_run",
    ),
    "rows of a chunk added to symbols of another one": Fault(
        "csrc/symbol_gradients.h",
        "    for (const int32_t place : places_) group_[size_t(place)] = -1;\n",
        "",
        "layers/test_table_rows.py",
    ),
    "rows of weight 0 left out of the accuracy": Fault(
        "pylstm/losses/linear_head.py",
        "        if not kept.all():",
        "        if kept is None:",
        "training/test_linear_head.py",
    ),
    "a packed linear layer that stays": Fault(
        "pylstm/layers/linear.py",
        "if pack is None or pack[0] is not layer._params:",
        "if pack is None:",
        "models/test_stream.py -k new_parameters",
    ),
    "a table of a network that was": Fault(
        "pylstm/layers/compiled.py",
        "or kept.edition is not edition or kept.network",
        "or kept.network",
        "models/test_stream.py -k new_parameters",
    ),
    "of equal logits any one stays": Fault(
        "csrc/sampling.cpp",
        "!(weight == least && equal-- > 0)",
        "!(weight == least)",
        "decoding/test_sampling.py -k twin",
    ),
    "a nucleus that ends before its last symbol": Fault(
        "csrc/sampling.cpp",
        "keep(count, least, 0);",
        "keep(std::max<ptrdiff_t>(1, count - 1), least, 0);",
        "decoding/test_sampling.py -k frequencies",
    ),
    "a failed step not remembered": Fault(
        "pylstm/models/stream.py",
        "                held.torn = steps.moved\n",
        "                held.torn = False\n",
        "models/test_stream.py -k fails_between",
    ),
    "two gates exchanged": Fault(
        "csrc/network.cpp",
        "layer.params.data[matrix] + b * rows * k, k, 1});",
        "layer.params.data[matrix] + (stage.columns == 4 && b < 2 ? 1 - b : b) * rows * k, k, 1});",
        "layers/test_properties.py -k reference",
    ),
    "a forgotten factor in a gradient": Fault(
        "csrc/simd/math.h",
        "  return fma(-y, y, splat<V>(1));",
        "  return splat<V>(1);",
        "layers/test_properties.py -k reference",
    ),
    "a coefficient changed in its last digit but one": Fault(
        "csrc/simd/math.h", "-0x1.555492p-3f", "-0x1.555482p-3f", "core/test_activations.py"
    ),
    "padding multiplied by zero": Fault(
        "csrc/forward.cpp",
        "std::fill_n(out_.row(t, n), sizes.output, T(0));",
        "std::fill_n(out_.row(t, n), sizes.output, T(0) * in_.row(t, n)[0]);",
        "layers/test_recurrent.py -k any_company",
    ),
    "lengths are not checked": Fault(
        "pylstm/_arrays.py", "        if low < 0 or high > steps:", "        if False:",
        "layers/test_bad_inputs.py -k lengths_that_raise",
    ),
    "the signal is never asked for": Fault(
        "csrc/interrupt.h",
        "if (ask()) stop_.store(true, std::memory_order_relaxed);",
        "",
        "system/test_interrupt.py -k chunk_of_a_stream",
    ),
    "an allocation is not checked": Fault(
        "csrc/memory.cpp", "  if (!block) throw std::bad_alloc();\n", "", "system/test_environment.py -k memory_error"
    ),
    "a capsule without its destructor": Fault(
        "csrc/python/arrays.h",
        "[](void* memory) { free_aligned(memory); }",
        "[](void*) {}",
        "core/test_memory.py -k resident_memory_stays_flat",
    ),
    "old weights stay packed": Fault(
        "pylstm/layers/compiled.py",
        "if pack is None or pack[0] is not params:",
        "if pack is None:",
        "layers/test_recurrent.py -k parameters_replaced",
    ),
    "an output that can be made writeable again": Fault(
        "pylstm/_arrays.py", "room = _core.sealable", "room = _core.empty", "layers/test_held_arrays.py -k read_only"
    ),
    "backward holds the x of the caller": Fault(
        "pylstm/layers/recurrent.py", "time_major = time_major.view()", "time_major = time_major",
        "layers/test_held_arrays.py -k between",
    ),
    "parameters given out as they are held": Fault(
        "pylstm/layers/parameters.py", "return self._arrays[name].view()", "return self._arrays[name]",
        "layers/test_held_arrays.py -k edited",
    ),
    "what overlaps is looked for in x alone": Fault(
        "pylstm/layers/recurrent.py", "self.dtype, (read, *states))", "self.dtype, (read,))",
        "layers/test_overlap.py -k state_come_as",
    ),
    "dropout counts its calls in two steps": Fault(
        "pylstm/_calls.py", "        return (self._start + next(self._left)) % self._modulus",
        "        number = self.present\n        next(self._left)\n        return number",
        "layers/test_calls.py -k any_two",
    ),
    "a stream lets a second thread in": Fault(
        "csrc/python/stream.cpp",
        "    if (taken == TryLock::Taken::no)\n",
        "    if (taken == TryLock::Taken::no && false)\n",
        "system/test_threads.py -k one_thread_at_a_time",
        patience=30,
    ),
    "a child waits for its parent's threads": Fault(
        "csrc/parallel.cpp",
        "return forks_ == fork_count() ? pool_ : nullptr;",
        "return pool_;",
        "system/test_fork.py -k after_a_parallel",
    ),
    "threads that wait for each other are not noticed": Fault(
        "csrc/parallel.cpp",
        "  if (own_crowd) own_crowd->lost(waited());",
        "",
        "system/test_busy_cores.py",
    ),
    "a child finds places and streams taken for ever": Fault(
        "csrc/fork.h",
        "const uint32_t mine = fork_count() + 1;",
        "const uint32_t mine = 1;",
        "system/test_fork.py -k middle_of_a_step",
    ),
    "a call forked in its middle goes on in the child": Fault(
        "csrc/interrupt.h",
        "if (!alone_ && fork_count() != forks) throw ForkedInCall();",
        "(void)forks;",
        "system/test_interrupt.py -k that_forks",
    ),
    "signal handlers run with denormals flushed": Fault(
        "csrc/interrupt.h",
        "    const InFloatMode callers(mode_);",
        "    const InFloatMode callers(FloatMode::get());",
        "system/test_interrupt.py -k floating",
    ),
    "a failed packing is gone on with": Fault(
        "csrc/memory.h",
        "AlignedBuffer<std::byte>(std::exchange(used_, 0), huge_from)",
        "AlignedBuffer<std::byte>(used_, huge_from)",
        "layers/test_recurrent.py",
    ),
    "an object that cannot be registered is freed twice": Fault(
        "csrc/python/holder.h",
        "    if (object.holder_constructed())\n      original(object);",
        "    if (true)\n      original(object);",
        "core/test_allocations.py",
    ),
    "a thread that cannot be started is not missed": Fault(
        "csrc/parallel.cpp",
        "        if (!thread->start()) break;",
        "        thread->start();",
        "system/test_environment.py -k cannot_be_started",
    ),
    "a thread takes the GIL while the interpreter goes": Fault(
        "csrc/python/gil.h",
        "  } catch (...) {\n    for (;;)",
        "  } catch (const std::exception&) {\n    for (;;)",
        "system/test_environment.py -k daemon",
    ),
    "a limit put on OpenMP is not asked for": Fault(
        "csrc/python/module.cpp",
        "return now < at_import ? std::min(threads, now) : threads;",
        "return now < 0 ? at_import : threads;",
        "system/test_process.py -k threadpoolctl",
    ),
    "the floating-point mode is not restored": Fault(
        "csrc/float_mode.h",
        "~InFloatMode() { FloatMode::set(before_); }",
        "~InFloatMode() {}",
        "system/test_process.py -k floating",
    ),
    "AVX2 flags on the baseline": Fault(
        "CMakeLists.txt", "add_isa(baseline -march=x86-64-v2)", "add_isa(baseline -march=x86-64-v3)",
        "core/test_objects.py",
    ),
    "x left out of a residual": Fault(
        "pylstm/layers/containers.py", "return x + f, after", "return f, after", "models/test_containers.py -k by_hand"
    ),
    "zeros for a gradient that a layer leaves out": Fault(
        "pylstm/graph/sweep.py",
        'raise ValueError(f"backward of {layer!r} gave no gradient of {name}")',
        "own = {**own, name: np.zeros(shapes[name])}",
        "models/test_containers.py -k without_a_gradient",
    ),
    "an unseeded shuffle": Fault(
        "pylstm/training/loop.py",
        "np.random.SeedSequence(self.entropy, spawn_key=(_ORDER, self.epoch))",
        "np.random.SeedSequence()",
        "training/test_same_bits.py -k seed",
    ),
    "the shapes of x not looked at": Fault(
        "pylstm/models/trainable.py",
        "            self._output_form(inputs)\n        return inputs",
        "            pass\n        return inputs",
        "training/test_batches.py",
    ),
    "all targets not looked at before training": Fault(
        "pylstm/training/checks.py",
        "    if len(parts) == 1:\n        check_targets(",
        "    if len(parts) == 0:\n        check_targets(",
        "training/test_checks.py -k late",
    ),
    "NaN looked for past the lengths": Fault(
        "pylstm/training/counted.py",
        "            if self.counts is None:\n                yield piece",
        "            if True:\n                yield piece",
        "training/test_nonfinite.py -k anything",
    ),
    "one-hot labels all taken for the first class": Fault(
        "pylstm/losses/targets.py",
        "targets.argmax(axis=-1)",
        "targets.argmax(axis=-1) * 0",
        "training/test_target_forms.py -k labels",
    ),
    "a reset gate forgotten in the reference's gradient": Fault(
        "pylstm/reference/cells.py",
        "du = np.concatenate([da_r, da_z, da_n * r], axis=1)",
        "du = np.concatenate([da_r, da_z, da_n], axis=1)",
        "layers/test_reference.py",
    ),
    "a model file that is cut short": Fault(
        "pylstm/files/atomic.py",
        "            os.fsync(descriptor)  #",
        "            os.truncate(descriptor, os.fstat(descriptor).st_size - 9)  #",
        "files/test_writing.py",
    ),
    "a temporary name made of the process number": Fault(
        "pylstm/files/atomic.py",
        "prefix + secrets.token_hex(8) + _END)\n        try:",
        "prefix + str(os.getpid()) + _END)\n"
        "        with contextlib.suppress(OSError):\n            os.unlink(partial)\n        try:",
        "files/test_writing.py -k path",
    ),
    "left-over files deleted without the lock": Fault(
        "pylstm/files/atomic.py",
        "and _locked(descriptor, name):",
        "and True:",
        "files/test_writing.py -k being_written",
    ),
    "left-over files never deleted": Fault(
        "pylstm/files/atomic.py",
        "    _tidy(folder, prefix)\n",
        "",
        "files/test_writing.py -k killed",
    ),
    "a file that is written to while it is read": Fault(
        "pylstm/files/tensors.py",
        "        file.check_unchanged()\n",
        "",
        "files/test_reading.py -k during",
    ),
    "sub-layers counted layer by layer": Fault(
        "pylstm/files/saving.py",
        "        self.tensors -= count",
        "        self.tensors = self.all_tensors - count",
        "files/test_hostile.py -k cost",
    ),
    "a refused checkpoint half taken over": Fault(
        "pylstm/training/checkpoint.py",
        "    with _undone(training.optimizer, training.schedule, *training.callbacks):",
        "    with contextlib.nullcontext():",
        "files/test_hostile.py -k malformed",
    ),
    "keys of metadata that are no text": Fault(
        "pylstm/files/plain.py",
        "        raise TypeError(f\"the keys of",
        "        return str(key)\n        raise TypeError(f\"the keys of",
        "files/test_metadata.py -k refused",
    ),
}  # fmt: skip


def run(command: list[str], **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


class Copy:
    """A copy of the source, a build of it, and a package made of both."""

    def __init__(self, folder: Path) -> None:
        self.source, self.build, self.package = folder / "src", folder / "build", folder / "package"
        ignore = shutil.ignore_patterns(".git", "__pycache__", "*.so", "results")
        shutil.copytree(ROOT, self.source, ignore=ignore)
        hints = [f"-Dpybind11_DIR={run([sys.executable, '-m', 'pybind11', '--cmakedir']).stdout.strip()}"]
        configure = ["cmake", "-S", str(self.source), "-B", str(self.build), "-G", "Ninja", *hints]
        done = run([*configure, f"-DPython_EXECUTABLE={sys.executable}"])
        if done.returncode:
            sys.exit(done.stdout + done.stderr)

    def make(self) -> str:
        """Builds and puts the package together; what the compiler said if it failed."""
        done = run(["ninja", "-C", str(self.build)])
        if done.returncode:
            return done.stdout
        shutil.rmtree(self.package, ignore_errors=True)
        shutil.copytree(self.source / "pylstm", self.package / "pylstm")
        for core in self.build.glob("_core*.so"):
            shutil.copy(core, self.package / "pylstm")
        return ""

    def test(self, arguments: str, patience: int | None = None) -> int:
        """The exit code of pytest: 1 where a test failed, negative or above where the interpreter ended."""
        words = arguments.split()
        files = [str(self.source / "tests" / word) if word.endswith(".py") else word for word in words]
        script = "import sys, pytest; sys.path.remove(''); sys.exit(pytest.main(sys.argv[1:]))"
        options = ["-q", "-x", "-p", "no:cacheprovider", f"--rootdir={self.source}", f"-c={self.source}/pyproject.toml"]
        environment = os.environ | {"PYTHONPATH": str(self.package)}
        command = [sys.executable, "-c", script, *options, *files]
        try:
            return run(command, env=environment, cwd=self.package, timeout=patience).returncode
        except subprocess.TimeoutExpired:
            return HUNG


def plant(copy: Copy, fault: Fault) -> str:
    """ "seen" if the tests fail with the fault; else what is wrong."""
    path = copy.source / fault.file
    text = path.read_text(encoding="utf-8")
    if text.count(fault.old) != 1:
        return f"{fault.file} holds the text to replace {text.count(fault.old)} times"
    path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    try:
        if said := copy.make():
            return f"does not compile:\n{said}"
        code = copy.test(fault.tests, fault.patience)
    finally:
        path.write_text(text, encoding="utf-8")
    return {0: "NOT SEEN", 1: "seen", HUNG: "seen (it hangs)"}.get(
        code, f"seen (the interpreter ended with {code})" if code not in (4, 5) else "no test ran"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="parts of the faults' names; none: all of them")
    args = parser.parse_args()
    chosen = {n: f for n, f in FAULTS.items() if not args.names or any(part in n for part in args.names)}
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        for name, fault in chosen.items():
            began = time.monotonic()
            found = plant(copy, fault)
            wrong += not found.startswith("seen")
            print(f"{name:<58} {found} by {fault.tests} ({time.monotonic() - began:.0f} s)", flush=True)
        said = copy.make()
        tests = sorted({word for fault in chosen.values() for word in fault.tests.split() if word.endswith(".py")})
        clean = not said and copy.test(" ".join(tests)) == 0
        print("without a fault all of these pass" if clean else "WITHOUT A FAULT SOME OF THESE FAIL")
    sys.exit(bool(wrong or not clean))


if __name__ == "__main__":
    main()
