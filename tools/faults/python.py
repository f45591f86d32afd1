"""Faults of the Python side."""

from __future__ import annotations

from .fault import Fault

FAULTS = {
    "a correction of Adam's bias left out": Fault(
        "pylstm/training/optimizers.py",
        "root = math.sqrt(1 - b2**step)",
        "root = 1.0",
        "training/test_optimizers.py -k papers",
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
    "a failed step not remembered": Fault(
        "pylstm/models/stream.py",
        "                held.torn = steps.moved\n",
        "                held.torn = False\n",
        "models/test_stream.py -k fails_between",
    ),
    "lengths are not checked": Fault(
        "pylstm/_arrays.py",
        "        if low < 0 or high > steps:",
        "        if False:",
        "layers/test_bad_inputs.py -k lengths_that_raise",
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
        "pylstm/layers/recurrent.py",
        "time_major = time_major.view()",
        "time_major = time_major",
        "layers/test_held_arrays.py -k between",
    ),
    "parameters given out as they are held": Fault(
        "pylstm/layers/parameters.py",
        "return self._arrays[name].view()",
        "return self._arrays[name]",
        "layers/test_held_arrays.py -k edited",
    ),
    "what overlaps is looked for in x alone": Fault(
        "pylstm/layers/recurrent.py",
        "self.dtype, (read, *states))",
        "self.dtype, (read,))",
        "layers/test_overlap.py -k state_come_as",
    ),
    "dropout counts its calls in two steps": Fault(
        "pylstm/_calls.py",
        "        return (self._start + next(self._left)) % self._modulus",
        "        number = self.present\n        next(self._left)\n        return number",
        "layers/test_calls.py -k any_two",
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
        "    if len(parts) == 1:\n        if outputs",
        "    if len(parts) == 0:\n        if outputs",
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
        "pylstm/files/structure.py",
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
        '        raise TypeError(f"the keys of',
        '        return str(key)\n        raise TypeError(f"the keys of',
        "files/test_metadata.py -k refused",
    ),
    "the room of targets not looked at": Fault(
        "pylstm/losses/ctc_function.py",
        'if not self.options.get("zero_infinity", False):',
        "if False:",
        "training/test_ctc.py -k fit_into",
    ),
    "paths of a kept beginning not added to it": Fault(
        "pylstm/decoding/ctc.py",
        "with_label[i] = np.logaddexp(with_label[i], extended[above, at])",
        "pass",
        "decoding/test_ctc.py -k drops_nothing",
    ),
}
