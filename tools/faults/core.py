"""Faults of the core."""

from __future__ import annotations

from .fault import Fault

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
    "the product of a table without its bias": Fault(
        "csrc/input_table.h",
        "        a.init = packed.bias, a.init_block = packed.bias_block;",
        "        static const T zeros[1 << 14] = {};\n        a.init = zeros, a.init_block = 0;",
        "layers/test_table_rows.py -k bits",
    ),
    "rows of a chunk added to symbols of another one": Fault(
        "csrc/symbol_gradients.h",
        "    for (const int32_t place : places_) group_[size_t(place)] = -1;\n",
        "",
        "layers/test_table_rows.py",
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
        "CMakeLists.txt",
        "add_isa(baseline -march=x86-64-v2)",
        "add_isa(baseline -march=x86-64-v3)",
        "core/test_objects.py",
    ),
}
