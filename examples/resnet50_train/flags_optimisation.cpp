#include <CLI/CLI.hpp>

#include "examples/command_line.h"
#include "flags.h"

namespace taper {

void add_optimisation_flags(CLI::App& app, TrainOptions& options) {
  const char* group = "Optimisation";
  add_number(app, "--epochs", options.epochs, Range<int64_t>{1, 1000000},
             "passes over the training set (12 for digits, else 90)")
      ->group(group);
  add_number(app, "--max-steps", options.max_steps, Range<int64_t>{1, int64_t(1) << 40},
             "stop after this many optimiser steps")
      ->group(group);
  add_number(app, "--batch-size", options.batch_size, Range<int64_t>{1, 1 << 20},
             "images per step, of all ranks together, to be shared evenly (32 for digits, else 64)")
      ->group(group);
  add_number(app, "--accumulate", options.accumulate, Range<int64_t>{1, 1 << 20},
             "batches whose gradients are averaged into one step")
      ->default_str(fmt::format("{}", options.accumulate))
      ->group(group);
  app.add_option("--optimizer", options.optimizer,
                 "sgd (with momentum), adam, adamw, or for large batches lamb or lars (adamw for digits,\n"
                 "else sgd)")
      ->check(CLI::IsMember({"sgd", "adam", "adamw", "lamb", "lars"}))
      ->group(group);
  app.add_option_function<std::string>(
         "--lr",
         [&options](const std::string& text) {
           options.lr.reset();
           if (text != "auto") options.lr = parse_number("--lr", text, Range<double>{0, kLargestFlag, true});
         },
         "peak learning rate; auto chooses it by n, the images in a step of all ranks together:\n"
         "sgd 0.1 * n / 256; adam and adamw 0.001; lamb 0.005 * sqrt(n / 512), at least 0.005;\n"
         "lars 5 * sqrt(n / 256), at most 5; for n from 8192 on 10, from 16384 25, from 32768 32 [auto]")
      ->type_name("X|auto")
      ->group(group);
  add_number(app, "--head-lr", options.head_lr, Range<double>{0, kLargestFlag, true},
             "peak learning rate of the last layer, fc (as --lr)")
      ->group(group);
  add_number(app, "--layer-decay", options.layer_decay, Range<double>{0, 1, true},
             "the stem's and each block's learning rate is this share of that of the part above it; fc has\n"
             "all of it")
      ->default_str(fmt::format("{}", options.layer_decay))
      ->group(group);
  add_number(app, "--momentum", options.momentum, Range<double>{0, 1}, "of sgd and lars")
      ->default_str("0.9")
      ->group(group);
  app.add_flag("--nesterov", options.nesterov, "Nesterov's momentum, for sgd and lars")->group(group);
  add_number(app, "--weight-decay", options.weight_decay, Range<double>{0, kLargestFlag},
             "of all parameters (sgd, adam and lars: 0.0001, adamw: 0.05, lamb: 0.01)")
      ->group(group);
  app.add_option_function<std::string>(
         "--decay-norms", [&options](const std::string& value) { options.decay_norms = value == "on"; },
         "whether parameters of one dimension decay, too: norms and biases. Without decay, lamb and lars\n"
         "move them as adamw and sgd do [off for lamb and lars, else on]")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->group(group);
  add_number(app, "--label-smoothing", options.label_smoothing, Range<double>{0, 1},
             "share of the target spread over all classes")
      ->default_str(fmt::format("{}", options.label_smoothing))
      ->group(group);
  add_number(app, "--ema", options.ema, Range<double>{0, 1},
             "decay of a moving average of the weights, used for validation; 0 for none")
      ->default_str(fmt::format("{}", options.ema))
      ->group(group);
  app.add_option_function<std::string>(
         "--eval-ema", [&options](const std::string& value) { options.eval_ema = value == "on"; },
         "validate the moving average of --ema, or the one in the checkpoint's folder that --eval-only\n"
         "scores; off: the weights themselves [on]")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("on|off")
      ->group(group);
  add_number(app, "--clip-grad", options.clip_grad, Range<double>{0, kLargestFlag},
             "largest global norm of the gradient; 0 for none")
      ->default_str(fmt::format("{}", options.clip_grad))
      ->group(group);
}

void check_optimisation_flags(const TrainOptions& options) {
  need(options.ema < 1, "--ema", "must be below 1");
  const bool has_momentum = options.optimizer == "sgd" || options.optimizer == "lars";
  const std::string whose = fmt::format("is for --optimizer sgd and lars, not {}", options.optimizer);
  need(has_momentum || !options.momentum, "--momentum", whose);
  need(has_momentum || !options.nesterov, "--nesterov", whose);
  need(!options.nesterov || options.momentum != 0.0, "--nesterov", "needs --momentum above 0");
  need(!options.eval_ema || options.ema > 0 || options.eval_only, "--eval-ema",
       "needs an average: give --ema X, or --eval-only with a checkpoint's folder as --init");
}

}  // namespace taper
