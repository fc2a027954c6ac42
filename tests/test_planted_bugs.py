"""Do the tests find bugs? Each one below is planted into lightnet's own code; a named test must then fail.

A bug is a replacement of text in the source of one function. The changed function takes the place of the shipped one (its
code object is exchanged, so that everybody who imported it runs the changed one), the test runs, and must raise. Without
the bug the same test passes.

Compiled code would go on as it was. So bugs in ``fast/``, ``kernels/`` and the engine's loop are planted in a process in which
Numba does not compile (NUMBA_DISABLE_JIT): there kernels are Python functions as well, slow, but quicker to run once than to
compile.
"""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
import textwrap
from typing import NamedTuple

import numpy as np
import pytest
import test_against_pytorch
import test_augment
import test_cam
import test_checks
import test_controls
import test_engine
import test_graph
import test_layers
import test_light_cnn
import test_losses_and_optim
import test_metrics
import test_model_file
import test_resume
import test_search

from lightnet.backend import has_numba


class Bug(NamedTuple):
    """What to change in which function, and the test that must notice."""

    name: str
    where: str          # "module:function" below lightnet, or "module", where what is changed runs when it is imported
    right: str
    wrong: str
    test: callable
    arguments: tuple = ()


FOLDER, SAVED = "an empty folder", "a saved network in a folder"        # what some tests are given

PASSES, COMPILED = test_engine.test_each_pass_keeps_what_a_graph_computes, test_engine.test_compiled_is_the_network
CONTRACT, LOOPS, TORCH = test_layers.test_contract_and_gradients, test_layers.test_against_loops, test_against_pytorch.test_layer

BUGS = [
    Bug("bias gradient dropped", "layers.conv:Conv2D.backward",
        "dy_rows.sum(axis=0)", "0 * dy_rows.sum(axis=0)",
        CONTRACT, ("Conv2D",)),
    Bug("bias gradient averaged", "layers.conv:Conv2D.backward",
        "dy_rows.sum(axis=0)", "dy_rows.mean(axis=0)",
        TORCH, ("conv",)),
    Bug("bias not added", "layers.conv:Conv2D.forward",
        'cols @ W + self.params["bias"]', "cols @ W",
        LOOPS, ("Conv2D",)),
    Bug("kernel transposed", "layers.conv:Conv2D.forward",
        'self.params["weight"].reshape(-1, F)', 'self.params["weight"].swapaxes(0, 1).reshape(-1, F)',
        LOOPS, ("Conv2D",)),
    Bug("kernel flipped, as in mathematics", "layers.conv:Conv2D.forward",
        'self.params["weight"].reshape(-1, F)', 'self.params["weight"][::-1, ::-1].reshape(-1, F)',
        LOOPS, ("Conv2D",)),
    Bug("padding off by one", "layers.conv:im2col",
        "((0, 0), *padding, (0, 0))", "((0, 0), *((b, a) for a, b in padding), (0, 0))",
        LOOPS, ("Conv2D",)),
    Bug("stride of the height for the width", "layers.conv:im2col",
        "q : q + SW * OW : SW", "q : q + SH * OW : SH",
        LOOPS, ("Conv2D",)),
    Bug("one window too few", "layers.conv:windows_along",
        "// stride + 1", "// stride",
        LOOPS, ("Conv2D",)),
    Bug("overlapping windows overwrite", "layers.conv:col2im",
        "+= cols[:, :, :, p, q]", "= cols[:, :, :, p, q]",
        test_layers.test_col2im_is_the_adjoint_of_im2col),
    Bug("crop of the wrong side", "layers.conv:col2im",
        "x[:, top : top + H", "x[:, bottom : bottom + H",
        test_layers.test_col2im_is_the_adjoint_of_im2col),
    Bug("transposed convolution's bias gradient dropped", "layers.conv_transpose:ConvTranspose2D.backward",
        "dy.sum(axis=(0, 1, 2))", "0 * dy.sum(axis=(0, 1, 2))",
        CONTRACT, ("ConvTranspose2D",)),
    Bug("output padding ignored", "layers.conv_transpose:ConvTranspose2D.output_shape",
        "- sum(padding) + extra", "- sum(padding)",
        LOOPS, ("ConvTranspose2D",)),
    Bug("batch norm's backward returns zeros", "layers.batch_norm:BatchNorm2D.backward",
        'return self.params["scale"] / std *', 'return 0 * self.params["scale"] / std *',
        CONTRACT, ("BatchNorm2D",)),
    Bug("batch norm forgets the way through the variance", "layers.batch_norm:BatchNorm2D.backward",
        ' - xhat * (self.grads["scale"] / M)', "",
        CONTRACT, ("BatchNorm2D",)),
    Bug("statistics of each pixel", "layers.batch_norm:BatchNorm2D.forward",
        "total(x) / M", "x.mean(axis=0)",
        TORCH, ("batch_norm",)),
    Bug("unbiased variance", "layers.batch_norm:BatchNorm2D.forward",
        "total(np.square(x - mean)) / M", "total(np.square(x - mean)) / (M - 1)",
        LOOPS, ("BatchNorm2D",)),
    Bug("running statistics move at inference", "layers.batch_norm:BatchNorm2D.forward",
        'self.state["running_mean"], self',
        'self.track("running_mean", x.mean(axis=(0, 1, 2))) or self.state["running_mean"], self',
        CONTRACT, ("BatchNorm2D",)),
    Bug("momentum the other way round", "layers.batch_norm:BatchNorm2D.track",
        "(1 - self.momentum) * running + self.momentum * batch", "self.momentum * running + (1 - self.momentum) * batch",
        test_layers.test_batch_norm_statistics_run),
    Bug("ELU's slope without alpha", "layers.activation:ELU.backward",
        "y + self.alpha", "y + 1",
        CONTRACT, ("ELU",)),
    Bug("ELU in float64", "layers.activation:ELU.forward",
        "np.maximum(x, 0) +", "np.maximum(x, np.zeros(1)) +",
        CONTRACT, ("ELU",)),
    Bug("padding wins a maximum", "layers.pooling:MaxPool2D.forward",
        "fill=-np.inf", "fill=0",
        LOOPS, ("MaxPool2D",)),
    Bug("a tie goes to the last", "layers.pooling:MaxPool2D.forward",
        "windows.argmax(axis=3, keepdims=True)", "windows.shape[3] - 1 - windows[:, :, :, ::-1].argmax(axis=3, keepdims=True)",
        test_layers.test_max_pool_gives_a_tie_to_the_first),
    Bug("ceil mode keeps windows outside the image", "layers.pooling:overhang",
        "if starts_inside else 0", "",
        LOOPS, ("MaxPool2D",)),
    Bug("padding counts in the mean", "layers.pooling:AvgPool2D.pixels_that_count",
        "int(self.count_include_pad)", "1",
        LOOPS, ("AvgPool2D",)),
    Bug("global average forgets the number of pixels", "layers.pooling:GlobalAvgPool.backward",
        "[:, None, None] / (H * W)", "[:, None, None]",
        CONTRACT, ("GlobalAvgPool",)),
    Bug("concat's gradients in the wrong order", "layers.merge:Concat.backward",
        "axis=-1))", "axis=-1))[::-1]",
        CONTRACT, ("Concat",)),
    Bug("dropout without scaling", "layers.dropout:Dropout.forward",
        " / (1 - self.rate)", "",
        test_layers.test_dropout_keeps_the_expected_value_and_drops_anew),
    Bug("a gradient that accumulates", "layers.dense:Dense.backward",
        'self.grads["weight"] = x.T @ dy', 'self.grads["weight"] = self.grads.get("weight", 0) + x.T @ dy',
        CONTRACT, ("Dense",)),
    Bug("upstream gradient written", "layers.dense:Dense.backward",
        "(x,) = self.recall()", "(x,) = self.recall(); dy *= 1.5",
        CONTRACT, ("Dense",)),
    Bug("fan-out overwritten", "graph:Graph.backward",
        "add(gradients[name], dx) if name in gradients else dx", "dx",
        test_graph.test_gradients_of_a_fan_out_add_up),
    Bug("fan-out added in place", "graph:Graph.backward",
        "gradients[name] = add(gradients[name], dx) if name in gradients else dx",
        "gradients[name] = np.add(gradients[name], dx, out=gradients[name]) if name in gradients else dx",
        test_graph.test_gradients_of_a_fan_out_add_up),
    Bug("silent float64", "graph:Graph.admit",
        "return x.astype(self.dtype, copy=False)", "return x",
        test_graph.test_float64_input_gives_no_silent_float64),
    Bug("one layer used twice", "graph:Graph.add",
        "node.layer is layer", "False",
        test_graph.test_wrong_wiring_fails_at_once, (lambda g: g.add("c", g.nodes["a"].layer, "b"), "that of node 'a'")),
    Bug("L2 on biases", "optim:is_weight",
        '== "weight"', '!= ""',
        test_losses_and_optim.test_l2_acts_on_weights_and_not_on_biases),
    Bug("learning rate outside the velocity", "optim:update",
        "w += v", "w += v * (lr / 0.5)",
        test_losses_and_optim.test_momentum_carries_on_and_the_rate_is_inside_the_velocity, ("float64",)),
    Bug("momentum forgotten", "optim:update",
        "v *= momentum", "v *= 0",
        test_against_pytorch.test_sgd),
    Bug("loss summed, not averaged", "losses:softmax_cross_entropy",
        "dlogits /= N", "pass",
        test_losses_and_optim.test_loss_gradient_is_the_numerical_one),
    Bug("softmax overflows", "losses:softmax",
        "np.exp(logits - logits.max(axis=-1, keepdims=True))", "np.exp(logits)",
        test_losses_and_optim.test_loss_of_extreme_logits_is_finite),
    Bug("a check with a gradient of ones", "checks.gradients:compare_gradients",
        "rng.standard_normal(y.shape)", "np.ones(y.shape)",
        test_checks.test_a_fault_is_found_and_named, (test_checks.BrokenNorm,)),
    Bug("a check that forgives everything", "checks.gradients:closest",
        "return min(tries)", "return (0.0, *min(tries)[1:])",
        test_checks.test_a_fault_is_found_and_named, (test_checks.WrongSign,)),
    Bug("angles in radians", "data.augment:draws",
        "rng.uniform(*DEGREES)", "np.deg2rad(rng.uniform(*DEGREES))",
        test_augment.test_angles_and_factors_are_uniform_and_independent),
    Bug("a scaled copy of another slice", "data.augment:augment",
        "scale(greys[i], factor)", "scale(greys[i - 1], factor)",
        test_augment.test_labels_follow_their_slices),
    Bug("labels repeated one by one", "data.augment:augment",
        "np.tile(labels, 4)", "np.repeat(labels, 4)",
        test_augment.test_labels_follow_their_slices),
    Bug("AUC over too few pairs", "evaluation.metrics:_statistics",
        "covid * other]", "covid * covid]",
        test_metrics.test_scikit_learn_agrees, (0,)),
    Bug("ties in AUC count whole", "evaluation.metrics:_statistics",
        "(below[:, start] + below[:, end])", "(below[:, end] + below[:, end])",
        test_metrics.test_auc_of_one_pair, ([0.5, 0.5], 0.5)),
    Bug("images resampled instead of patients", "evaluation.metrics:_bootstrap",
        "times[:, group_of]", "rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=len(rows)) + 0.0",
        test_metrics.test_copies_within_a_group_add_no_knowledge, (3, 1)),
    Bug("the other class's map", "evaluation.cam:class_activation_maps",
        '@ weight', '@ weight[:, ::-1]',
        test_cam.test_a_map_by_hand),
    Bug("a map's share without its sign's half", "evaluation.cam:share_inside",
        "np.abs(enlarged(maps, masks.shape[-1]))", "np.maximum(enlarged(maps, masks.shape[-1]), 0)",
        test_cam.test_what_is_inside_and_what_is_border),
    Bug("a search for the worst", "training.search:fitted",
        '-one["accuracy"]', 'one["accuracy"]',
        test_search.test_a_search_finds_the_top_better_than_chance_does),
    Bug("a search that sees the round that it proposes", "training.search:Search.propose",
        "fitted(done, self.job.seed + first)", "fitted(done, len(done) + np.random.randint(99))",
        test_search.test_proposals_follow_from_the_attempts_before),
    Bug("half a line in the journal", "training.journal:Journal.read",
        'text[:text.rfind("\\n") + 1]', "text",
        test_search.test_a_line_that_was_cut_off_is_dropped_and_a_damaged_one_is_named, (FOLDER,)),
    Bug("the training with the highest loss chosen", "training.study:choose",
        '-validation[seed]["loss"]', 'validation[seed]["loss"]',
        test_search.test_the_training_with_the_best_validation_is_chosen, (FOLDER,)),
    Bug("one rate for all parameters", "optim:SGD.step",
        "self.lr * self.factors.get(name, 1)", "self.lr",
        test_losses_and_optim.test_a_parameter_may_have_its_own_factor_on_the_rate),
    Bug("test splits that share slices by design reported", "evaluation.leaks:shared",
        '"test" if name.startswith("test") else name', "name",
        test_controls.test_shared_patients_and_papers_are_found),
    Bug("resume leaves the order of samples", "training.checkpoint:resume",
        "rng.bit_generator.state = states[name]", "pass",
        test_resume.test_resumed_equals_uninterrupted, (FOLDER,)),
    Bug("resume forgets the velocity", "training.checkpoint:arrays_of",
        '{f"velocity/{name}": v for name, v in trainer.optimizer.velocity.items()}', "{}",
        test_resume.test_resumed_equals_uninterrupted, (FOLDER,)),
    Bug("resume forgets running statistics", "model_file:named_arrays",
        '("params", "state")', '("params",)',
        test_resume.test_resumed_equals_uninterrupted, (FOLDER,)),
    Bug("resume begins at the first epoch", "training.checkpoint:resume",
        "trainer.history[:] = history", "pass",
        test_resume.test_resumed_equals_uninterrupted, (FOLDER,)),
    Bug("a damaged file loads", "files:read_arrays",
        "damaged = archive.testzip()", "damaged = None",
        test_model_file.test_a_header_that_promises_less_is_noticed, (SAVED,)),
    Bug("a larger image admitted", "sizes:SizeRule.check",
        "<= self.last", "<= self.last + 1",
        test_light_cnn.test_every_side_that_fits_is_admitted_and_no_other),
    Bug("a folded mean with a wrong sign", "transform:absorb",
        'bias - norm.state["running_mean"]', 'bias + norm.state["running_mean"]',
        PASSES, ("batch norm in all places",)),
    Bug("batch norm folded though another reads the convolution", "transform:fold_batch_norm",
        "before and read[node.inputs[0]] == 1 and", "before and",
        PASSES, ("batch norm in all places",)),
    Bug("an ELU of any alpha fused", "transform:fuse_activations",
        " and layer.alpha == 1", "",
        test_engine.test_passes_change_what_they_may_and_nothing_else),
    Bug("grey images by the mean of the weights", "transform:summed",
        ".sum(axis=2", ".mean(axis=2",
        test_engine.test_grey_sums_the_weights),
    Bug("folding writes to the network itself", "transform:fold_batch_norm",
        "net.astype(net.dtype)", "net",
        PASSES, ("batch norm in all places",)),
]


LARGE = "a large transposed convolution"
FORK = "Winograd, an ELU of another alpha, and a fork to a pool"
FIRE = "a fire module, an enlargement and an average"
BUGS_IN_THE_PLAN = [                                            # of the compiled loop, which itself runs as it is
    Bug("a pool before an ELU that others read", "transform:pool_first",
        " and read[node.name] == 1", "",
        PASSES, (f"fast: {FORK}",)),
    Bug("an activation fused though another reads the convolution", "transform:fuse_activations",
        "before and read[node.inputs[0]] == 1", "before",
        PASSES, ("fast: a convolution read by an ELU and another",)),
    Bug("columns of steps that read each other", "engine.groups:Group.can_be_columns",
        " and not written & buffers_read(step)", "",
        test_engine.test_no_unit_writes_or_needs_what_another_computes, (8000,)),
    Bug("two bands write the same lines", "engine.groups:Group.can_overlap",
        " and first.target.size[2] == first.target.buffer.channels", "",
        test_engine.test_no_unit_writes_or_needs_what_another_computes, (1000,)),
    Bug("buffers used again too early", "engine.plan:Plan.place_buffers",
        "(min(groups), max(groups))", "(min(groups), min(groups))",
        COMPILED, ("a fire module", 1000, 1)),
    Bug("zeros around an image written over", "engine.plan:Plan.place_buffers",
        "buffer.is_padded or ", "",
        COMPILED, ("a user's own", 1000, 1)),
    Bug("the sums of one unit dropped", "engine.steps:Mean.task",
        "buffer.H", "buffer.H - 1",
        COMPILED, ("a transposed convolution", 1000, 2)),
    Bug("weights of the first panels for all threads", "engine.encode:column_units",
        "p0, p1 - p0)", "0, p1 - p0)",
        COMPILED, ("columns", 1000, 2, 1)),
    Bug("a pool that forgets how far it starts above", "engine.steps:Pool.task",
        "begin - (first * self.layer.stride[0] - self.layer.padding[0][0])", "0",
        COMPILED, ("padded max pools", 96 * 1024, 1)),
    Bug("a pool without the lines that it shares with the next band", "engine.steps:Pool.lines_read",
        "(last - 1) * SH + KH - top", "last * SH - top",
        COMPILED, ("a fire module", 1000, 1)),
    Bug("only what a pool reads is computed", "engine.groups:Group.can_overlap",
        " and is_read_once(first)", "",
        COMPILED, ("a pool that skips lines, which another reads", 1, 1)),
    Bug("a value in two Concats of one buffer", "engine.buffers:Layout.is_filled",
        "(concat.name, name) in self.filled", "self.places[name].buffer is self.places[concat.name].buffer",
        COMPILED, ("a value in a Concat, and in one within it", 1, 1)),
    Bug("1x1 kernels never padded", "engine.products:Convolution.prepare",
        "type(self.layer) is Dense or self.layer.is_pointwise", "kernel == stride == (1, 1)",
        COMPILED, ("a transposed convolution and padding", 1, 1)),
    Bug("the sums of all taps in one place", "engine.encode:band_units",
        "last.target.at(line)", "last.target.at(0)",
        COMPILED, ("a transposed convolution", 1000, 2)),
    Bug("threads in each other's memory", "engine.runner:Runner.run_phases",
        "plan.size + i * plan.private", "plan.size",
        test_engine.test_each_thread_has_memory_of_its_own),
    Bug("Strassen's halves of B's rows exchanged", "kernels.strassen:sums_of_weights",
        "transpose(0, 3, 1, 4, 2, 5)", "transpose(1, 3, 0, 4, 2, 5)",
        COMPILED, (LARGE, 1000, 1)),
    Bug("Strassen's weights of the first two taps for all", "engine.products:Strassen.tap_task",
        "self.taps.index(tap) // self.together", "0",
        COMPILED, (LARGE, 1000, 1)),
    Bug("Strassen's lower half of the image from where the upper one is", "engine.products:Blocks.prepare",
        "down=H // 2 * source.buffer.row", "down=0",
        COMPILED, (LARGE, 1000, 1)),
    Bug("only one of two taps goes on", "engine.encode:tap_units",
        "for tap in taps for band", "for tap in taps[:1] for band",
        COMPILED, (LARGE, 1000, 1)),
]


def bugs_where_nothing_is_compiled():
    """In fast/, kernels/ and engine/program.py; found by tests with so few numbers that Python's own loops will do."""
    import test_fast
    import test_kernels
    same, layouts = test_fast.test_equal_over_random_shapes, test_fast.test_any_layout_of_memory_gives_the_same
    fires = test_fast.test_a_fire_module_and_what_is_behind_it_are_done_together
    blocks = test_fast.test_blocks_of_pixels_need_not_fit
    in_place = test_fast.test_what_is_computed_in_place_is_the_same
    winners = test_fast.test_gradients_by_winners_are_the_layers
    multiply, winograd = test_kernels.test_multiply_is_its_equation, test_kernels.test_winograd_is_the_layer_in_float64
    strassen = test_fast.test_strassens_transposed_convolution_is_exact_on_integers
    compiled = test_engine.test_compiled_is_the_network
    return [
        Bug("the tile's second operand in steps of 16", "kernels.tile:plain_tile",
            "j += step_b", "j += LANES",
            multiply, (0, 0, 2)),
        Bug("the tile without bias", "kernels.tile:plain_tile",
            "sums[:] = bias[bias0:bias0 + LANES]", "sums[:] = 0",
            multiply, (0, 0, 2)),
        Bug("the tile adds where it should store", "kernels.tile:plain_tile",
            "if finish == ADD", "if finish != ADD",
            multiply, (1, 0, 2)),
        Bug("the tile begins at the first segment always", "kernels.tile:plain_tile",
            "range(s0, s1)", "range(s1)",
            multiply, (0, 0, 6)),
        Bug("bias in every pass", "kernels.multiply:multiply",
            "s == 0, do", "True, do",
            multiply, (0, 0, 6)),
        Bug("the distances between images swapped", "kernels.multiply:multiply",
            "n * a.stride, n * b.stride", "n * b.stride, n * a.stride",
            multiply, (0, 0, 6)),
        Bug("a sum over images that keeps the last", "kernels.multiply:multiply",
            "s == 0 and (n == 0 or out.stride != 0)", "s == 0",
            multiply, (0, 0, 6)),
        Bug("a sum over images in which later ones replace", "kernels.multiply:multiply",
            "bias, do, scratch", "bias, finish, scratch",
            multiply, (0, 1, 6)),
        Bug("rows that are no neighbours copied as if", "kernels.multiply:copy_rows",
            "rows[last] == rows[last - 1] + 1", "rows[last] > rows[last - 1]",
            multiply, (0, 1, 6)),
        Bug("the second panel of copied rows over the first", "kernels.multiply:copy_rows",
            "m // LANES * panel", "m // LANES",
            multiply, (0, 1, 6)),
        Bug("the second block of rows written over the first", "kernels.multiply:packed_pass",
            "tables.rows_out[r0:r1]", "tables.rows_out[:r1 - r0]",
            test_kernels.test_multiply_of_every_height, (1, 0)),
        Bug("the last columns left out", "kernels.packing:panels",
            "count = panel_count(F)", "count = F // LANES",
            test_kernels.test_packing_is_the_order_of_the_panels),
        Bug("a table with strides swapped", "kernels.tables:convolution",
            "grid(OH, OW, SH * W * pitch, SW * pitch)", "grid(OH, OW, SW * W * pitch, SH * pitch)",
            same, ("Conv2D", 6)),
        Bug("a table that takes pixels for neighbours", "kernels.tables:convolution",
            "if pitch == C or KW == 1", "if True",
            test_kernels.test_tables_of_a_convolution_by_hand),
        Bug("a weight gradient without the stride of rows", "kernels.tables:weight_gradient",
            "np.arange(OH) * SH * W * pitch", "np.arange(OH) * W * pitch",
            same, ("Conv2D", 6)),
        Bug("pixels of a slice as if they touched", "kernels.images:is_regular",
            "h == W * w and ", "",
            test_kernels.test_slices_of_channels_are_images),
        Bug("a read-only array taken for writable", "kernels.images:is_regular",
            "x.flags.writeable and ", "",
            test_kernels.test_slices_of_channels_are_images),
        Bug("memory given back while somebody has it", "kernels.memory:Pool.take",
            "return block", "self.free.setdefault(size, []).append(block); return block",
            test_kernels.test_memory_is_used_again_when_the_last_view_is_gone),
        Bug("memory never given back", "kernels.memory:Pool.collect",
            "self.free.setdefault(block.size, []).append(block)", "pass",
            test_kernels.test_memory_is_used_again_when_the_last_view_is_gone),
        Bug("the pool counts what has gone", "kernels.memory:Pool.collect",
            "self.used -= block.size", "pass",
            test_kernels.test_the_pool_keeps_account),
        Bug("the plain ELU doubles five times", "kernels.exponential:plain_elu",
            "range(6)", "range(5)",
            test_kernels.test_elu_is_precise, (test_kernels.ELUS[-1], 1, 300)),
        Bug("ELU's slope at y, not at y + alpha", "kernels.elementwise:elu_slope",
            "a[c] + alpha", "a[c]",
            same, ("ELU", 2)),
        Bug("sums over pixels count rows twice", "kernels.elementwise:column_sums",
            "row[:] = 0", "pass",
            same, ("GlobalAvgPool", 2)),
        Bug("a mean over one pixel less", "kernels.normalization:moments",
            "total[c] / (x.H * x.W)", "total[c] / (x.H * x.W - 1)",
            same, ("BatchNorm2D", 2)),
        Bug("batch norm's M off by one", "fast.batch_norm:backward",
            "M = x.size // layer.channels", "M = x.size // layer.channels - 1",
            same, ("BatchNorm2D", 2)),
        Bug("a variance within images only", "fast.batch_norm:statistics",
            "np.square(means - mean).sum(axis=0)", "0",
            same, ("BatchNorm2D", 4)),
        Bug("a tie goes to the last", "kernels.pooling:plain_window",
            "value > best or", "value >= best or",
            test_fast.test_max_pool_ties_go_to_the_first),
        Bug("a pixel that wins twice gets one", "kernels.pooling:plain_gather",
            "total += dy", "total = dy",
            same, ("MaxPool2D", 4)),
        Bug("the other gradient of a fork forgotten", "kernels.pooling:plain_gather",
            "total = onto[o0 + c]", "total = 0",
            in_place, (FORK, 3)),
        Bug("a pool without the slope of the ELU before it", "kernels.pooling:plain_gather",
            " * plain_elu_slope(elu[e0 + c], alpha)", "",
            in_place, ("convolution and ELU, read by a pool and another", 3)),
        Bug("a pixel in no window without that slope", "kernels.pooling:to_winners",
            " * plain_elu_slope(y.memory[e0 + c], alpha)", "",
            in_place, ("an ELU read by a pool with gaps and another", 3)),
        Bug("Winograd takes every alpha for 1", "fast.winograd:work",
            "elu.alpha if elu else 1", "1",
            in_place, ("Winograd, an ELU of another alpha and batch norm", 3)),
        Bug("each block's dx in the first one's place", "kernels.pointwise:backward",
            "pixels(dx, n - begin, p, block)", "pixels(dx, n - begin, 0, block)",
            blocks, ((3, 5, 7), (16, 16), 10)),
        Bug("the last block's dW alone", "kernels.pointwise:backward",
            "conv.zeros, ADD,", "conv.zeros, ADD - 1,",
            blocks, ((3, 5, 7), (16, 16), 10)),
        Bug("blocks that are no part of an image", "fast.pointwise:block_of",
            " if pixels % size == 0", "",
            blocks, ((3, 5, 7), (16, 16), 10)),
        Bug("the first row's slope for all of a pool", "kernels.winners:gradients",
            "some_rows(y, n, i, 1)", "some_rows(y, n, 0, 1)",
            winners, (8, 10)),
        Bug("columns of the windows above", "kernels.winners:gradients",
            "move(columns, r + pool.SH, r)", "pass",
            winners, (8, 10)),
        Bug("a part of dx forgotten when the next windows come", "kernels.winners:gradients",
            "move(dcolumns, r + pool.SH, r)", "dcolumns[r] = 0",
            winners, (8, 10)),
        Bug("what the last windows add to dx forgotten", "kernels.winners:gradients",
            "rows if i + 1 == dy.H else min(pool.SH, rows)", "min(pool.SH, rows)",
            winners, (8, 10)),
        Bug("rows of dx cleared that windows above have added to", "kernels.winners:gradients",
            "clear(dx[n], cleared, (first", "clear(dx[n], 0, (first",
            winners, (8, 10)),
        Bug("a winner in the pool's padding", "kernels.winners:gradients",
            "(q - pool.left) * line", "q * line",
            winners, (8, 10)),
        Bug("a window over the image's edge", "kernels.columns:add_up",
            "range(max(0, -w) * C,", "range(0,",
            winners, (8, 10)),
        Bug("a window taken for whole that is not", "kernels.columns:inside",
            "(window.left + window.SW - 1) // window.SW", "window.left // window.SW",
            winners, (15, 10)),
        Bug("one image's gradient for all of them", "kernels.pointwise:backward",
            "pixels(dy, n - begin,", "pixels(dy, 0,",
            in_place, (FIRE, 3)),
        Bug("columns out of order", "kernels.columns:windows_of",
            "(p * KW + q) * x.C", "(q * KW + p) * x.C",
            in_place, (FIRE, 3)),
        Bug("an ELU's backward left to a convolution with a pool, which leaves it too", "fast.conv:backward",
            "not pool and ", "",
            in_place, ("a 1x1 convolution between an ELU and a pool", 3)),
        Bug("what was to be added to dx forgotten", "fast.activation:finish",
            "if onto is not None", "if False",
            in_place, ("an ELU before few channels and before a stride", 3)),
        Bug("an ELU's backward before all of its gradient is there", "fast.backward_schedule:Backward.to_finish",
            "self.readers[name][0] is not node", "False",
            in_place, ("an ELU before few channels and before a stride", 3)),
        Bug("both expands read the same channels of a gradient", "kernels.fire:backward",
            "some_channels(some, C,", "some_channels(some, 0,",
            fires, (0,)),
        Bug("one image's gradient for those that pass together", "kernels.pooling:to_winners",
            "x0, o0 = (n - begin) *", "x0, o0 = 0 *",
            fires, (4,)),
        Bug("both expands write the same channels", "kernels.fire:forward",
            "some_channels(whole, C,", "some_channels(whole, 0,",
            fires, (4,)),
        Bug("the first images' winners for all", "kernels.fire:forward",
            "winner[n *", "winner[start *",
            fires, (4,)),
        Bug("a fire module left to a pool though somebody reads it before", "fast.forward_schedule:Forward.fuse_fire_pool",
            "next(iter(self", "next(reversed(self",
            in_place, ("a fire module read by a convolution, and then by a pool", 3)),
        Bug("the 1x1 expand's dx over the other's", "fast.fire:backward",
            ", ending=ADD", "",
            fires, (2,)),
        Bug("a fire module's input that somebody else reads", "fast.fire:fires",
            "readers[one.inputs[0]] == convolutions", "True",
            in_place, ("a fire module whose input somebody else reads", 3)),
        Bug("a fire module's gradient before all of it is there", "fast.backward_schedule:Backward.is_behind_fire",
            "self.readers[name][0] is node", "True",
            in_place, ("a fire module before a squeeze and its ELU, and others", 3)),
        Bug("a fire module whose ELUs nobody has done", "fast.backward_schedule:Backward.is_left_to_fire",
            "self.done.issuperset(node.inputs)", "True",
            in_place, ("a fire module with ELUs that are not alike", 3)),
        Bug("a pool that a convolution has done, behind a fire module", "fast.backward_schedule:Backward.is_behind_fire",
            ' and "pool" not in self.left.get(node.name, {})', "",
            in_place, ("a fire module before a squeeze, its ELU and a pool", 3)),
        Bug("ELUs that are not alike done in one", "fast.backward_schedule:Backward.elus_before",
            "elu.layer.alpha == elus[0].layer.alpha", "True",
            in_place, ("a Concat of ELUs that are not alike", 3)),
        Bug("an ELU of a Concat that another node reads as well", "fast.backward_schedule:Backward.elus_before",
            "(elu is node or len(self.readers[elu.name]) == 1)", "True",
            in_place, ("a Concat of ELUs, one with another reader", 3)),
        Bug("dy without the slope in blocks of pixels", "kernels.pointwise:backward",
            "conv.alpha, target)", "conv.alpha, some)",
            blocks, ((3, 5, 7), (16, 16), 10)),
        Bug("the first block's slope for all", "kernels.pointwise:backward",
            "pixels(conv.y, n, p, block)", "pixels(conv.y, n, 0, block)",
            blocks, ((3, 5, 7), (16, 16), 10)),
        Bug("an output that somebody overwrites kept", "fast.forward_schedule:Forward.fuse_conv_elu_pool",
            "not any(node.name in graph.nodes[over].inputs for over in self.over_input)", "True",
            in_place, ("convolution, ELU, pool, and an activation", 3)),
        Bug("a caller's gradient multiplied by the slope", "fast.backward_schedule:Backward.place",
            " or not self.is_unshared(node.name)", "",
            test_fast.test_a_callers_arrays_are_never_written, ("convolution, ELU and pool last",)),
        Bug("padding on the wrong side", "fast.padding:padded",
            "left:left + W] = x", "right:right + W] = x",
            same, ("Conv2D", 6)),
        Bug("gradients without the last range of images", "fast.products:added",
            "in others:\n            weight", "in others[:-1]:\n            weight",
            same, ("Conv2D", 4)),
        Bug("a general adjoint without bias", "kernels.columns:add_windows",
            "x[h, w, c] = bias[c]", "x[h, w, c] = 0",
            same, ("ConvTranspose2D", 6)),
        Bug("Concat's gradients from one channel on", "fast.merge:Concat.backward",
            "dy[..., channel:channel + count]", "dy[..., channel + 1:channel + 1 + count]",
            same, ("Concat", 2)),
        Bug("Add in the place of its first input", "fast.merge:added",
            "y = memory.empty(a.shape)", "y = a",
            layouts, ("Add",)),
        Bug("a wrong sign in Winograd's matrices", "kernels.winograd",
            "A[-1, -1] = G[-1, -1] = 1", "A[-1, -1], G[-1, -1] = 1, -1",
            winograd, ((1, 4, 4, 16), 16, 1)),
        Bug("Winograd's bias twice as far", "kernels.winograd:forward",
            "side, bias, y, f0", "side, bias[f0:], y, f0",
            winograd, ((2, 7, 5, 16), 32, 1)),
        Bug("what is left of a strip below the next", "kernels.winograd_backward:transformed_gradients",
            "strip.memory[count * strip.row:] = 0", "pass",
            winograd, ((2, 7, 5, 16), 32, 1)),
        Bug("Strassen's taps one pair too far", "kernels.strassen_layer:of_taps",
            "pair * TAPS % KW", "(pair + 1) * TAPS % KW",
            strassen, ((5, 2, 6, 128), 32, (2, 4))),
        Bug("Strassen's second image over the first", "kernels.strassen_layer:backward",
            "Products(V, i * quarter * LANES", "Products(V, 0",
            strassen, ((5, 2, 6, 128), 32, (2, 4))),
        Bug("Strassen's dx of the first channels for all", "kernels.strassen_layer:backward",
            "Wt[c * pairs * n:]", "Wt",
            strassen, ((5, 2, 6, 128), 32, (2, 4))),
        Bug("Strassen's weights of other taps", "kernels.strassen_layer:pack",
            "weight[(pair * row + f) * C + c]", "weight[f * C + c]",
            strassen, ((5, 2, 6, 128), 32, (2, 4))),
        Bug("a wrong sign in Strassen's matrices", "kernels.strassen",
            "[1, -1, -1, 1]", "[1, -1, 1, 1]",
            test_kernels.test_strassens_matrices_are_a_product_of_blocks),
        Bug("a mean without its last unit", "engine.program:mean",
            "range(partial.H)", "range(partial.H - 1)",
            compiled, ("two averages", 1000, 1, 1)),
        Bug("weights asked of the first panel", "engine.program:product",
            "part(program, step.panels_b, p0, p1)", "part(program, step.panels_b, 0, p1 - p0)",
            compiled, ("columns", 1000, 2, 1)),
        Bug("Winograd's bias of the first panel", "engine.program:convolution",
            "step.bias + first:", "step.bias:",
            compiled, ("columns", 1000, 2, 1)),
        Bug("an Add's second value from where others have theirs", "engine.program:other",
            "task.second + step.second_private * private", "task.second",
            compiled, ("fast: an ELU read by two", 1, 1, 1)),
        Bug("Winograd's scratch over a thread's own values", "engine.program:convolution",
            "private + step.scratch", "private",
            compiled, ("Winograd and its neighbour", 1, 1, 1)),
        Bug("every ELU of alpha 1", "engine.program:other",
            "elementwise.elu(y, step.alpha)", "elementwise.elu(y, np.float32(1))",
            compiled, ("an ELU of alpha 0.5", 1000, 1, 1)),
    ]


INTERPRETED = os.environ.get("NUMBA_DISABLE_JIT") == "1"


def shipped(where):
    """The function that ``where`` names."""
    module, path = where.split(":")
    found = importlib.import_module(f"lightnet.{module}")
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    return found


def replaced(source, bug):
    """The source with the bug, in the one place where it fits."""
    assert source.count(bug.right) == 1, f"{bug.right!r} stands {source.count(bug.right)} times in {bug.where}"
    return source.replace(bug.right, bug.wrong)


def changed_code(function, bug):
    """The function's code with the bug."""
    tree = ast.parse(replaced(textwrap.dedent(inspect.getsource(function)), bug))
    namespace = {}
    exec(compile(tree, function.__code__.co_filename, "exec"), function.__globals__, namespace)
    return inspect.unwrap(namespace[function.__name__]).__code__


def plant(bug, monkeypatch):
    """Into one function, or into a module, which is run again: its functions then refer to what that made."""
    if ":" in bug.where:
        function = inspect.unwrap(shipped(bug.where))               # what a decorator has wrapped
        monkeypatch.setattr(function, "__code__", changed_code(function, bug))
        return
    module = importlib.import_module(f"lightnet.{bug.where}")
    names = dict(vars(module))
    exec(compile(replaced(inspect.getsource(module), bug), module.__file__, "exec"), names)
    for name, value in names.items():
        monkeypatch.setattr(module, name, value, raising=False)


def forget(bug):
    """Results that the function keeps."""
    getattr(shipped(bug.where) if ":" in bug.where else None, "cache_clear", lambda: None)()


PLANTED = bugs_where_nothing_is_compiled() if INTERPRETED else BUGS
if has_numba() and not INTERPRETED:
    PLANTED = PLANTED + BUGS_IN_THE_PLAN


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_bug_is_found(bug, monkeypatch, tmp_path):
    def run_test(name):
        """The shipped test, in a folder of its own where it needs one."""
        (tmp_path / name).mkdir()
        fixtures = {FOLDER: lambda folder: folder, SAVED: test_model_file.save_in}
        bug.test(*(fixtures[value](tmp_path / name) if value in (FOLDER, SAVED) else value for value in bug.arguments))

    run_test("control")                                         # without the bug it passes
    plant(bug, monkeypatch)
    forget(bug)
    try:
        with pytest.raises((Exception, pytest.fail.Exception)), np.errstate(all="ignore"):     # a failed assertion, or a crash
            run_test("planted")
    finally:
        forget(bug)


@pytest.mark.skipif(INTERPRETED, reason="this is that run")
def test_bugs_in_fast_versions_and_kernels_are_found():
    """The test above, of the other list, where Numba compiles nothing."""
    pytest.importorskip("numba")
    done = subprocess.run([sys.executable, "-m", "pytest", "-n", "0", __file__], capture_output=True, text=True,
                          env={**os.environ, "NUMBA_DISABLE_JIT": "1", "LIGHTNET_KERNELS": "plain"})
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 20


def test_there_are_at_least_twenty():
    assert len({bug.name for bug in PLANTED}) == len(PLANTED) >= 20
