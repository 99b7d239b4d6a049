"""For every sentence of the guarantee, changes of the code that would make it false, one line each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        sentence: number of the sentence in docs/privacy.md that it breaks.
        broken: what is then so.
        file: that is changed.
        old: what stands there, once.
        new: what is put there.
    """

    sentence: int
    broken: str
    file: str
    old: str
    new: str


TRAINING = "studio_node/private_training.py"
ROUND = "studio_node/local_round.py"
STATE = "studio_node/ledger_state.py"
PRIVACY = "federation/privacy.py"
NOISE = "studio_node/noise.py"
EGRESS = "studio_node/egress.py"
POLICY = "studio_node/policy.py"
GAIN = "studio_node/shared_gain.py"
MUTANTS = (
    Mutant(1, "a shot moves to another show", "studio_node/catalogue.py",
           "if row is None or row == (shot_id, show):", "if row is None or row[0] == shot_id:"),
    Mutant(1, "ids are not fixed before training", ROUND,
           "[e.shot_id for e in charged], datetime", "[], datetime"),
    Mutant(1, "a shot that looks like another does not wait", "studio_node/catalogue.py",
           "            and pack.shot_id not in waiting\n", ""),
    Mutant(2, "accounting is for half of a shot", PRIVACY,
           "accountant.history = [(event.noise_multiplier,", "accountant.history = [(2 * event.noise_multiplier,"),
    Mutant(3, "a shot's gradient holds windows of the shots before it", TRAINING,
           "self._loss(self.module, [windows[i] for i in drawn])",
           "self._loss(self.module, self.__dict__.setdefault('_seen', []).__iadd__([windows[i] for i in drawn]))"),
    Mutant(3, "a shot's windows hang on more than its files", "studio_node/shot_windows.py",
           "np.random.default_rng(int(epoch, 16))", "np.random.default_rng()"),
    Mutant(4, "a batch has one size", NOISE,
           "return [int(i) for i in np.flatnonzero(_words(count) < np.uint64(threshold))]",
           "return draw_indices(count, round(count * sample_rate)) if count else []"),
    Mutant(4, "shots are included too often", NOISE,
           "threshold = int(sample_rate * 2**64)", "threshold = int(min(1.2 * sample_rate, 1) * 2**64)"),
    Mutant(5, "shots are clipped to twice the norm", TRAINING,
           "limit = self.max_grad_norm * (1 - 2.0**-40)", "limit = 2 * self.max_grad_norm"),
    Mutant(5, "a tensor is clipped by itself", TRAINING,
           ".sum(dim=0).sqrt()", ".amax(dim=0).sqrt()"),
    Mutant(5, "a gradient that is not finite goes in", TRAINING,
           "if not all(bool(torch.isfinite(gradient).all()) for gradient in found):", "if False:"),
    Mutant(6, "there is half of the noise", TRAINING,
           "gaussian(parameter.numel(), standard_deviation, self.grid)",
           "gaussian(parameter.numel(), standard_deviation / 2, self.grid)"),
    Mutant(6, "an empty batch is released as it is", TRAINING,
           "parameter.summed_grad + torch.from_numpy(drawn)",
           "parameter.summed_grad + bool(parameter.summed_grad.any()) * torch.from_numpy(drawn)"),
    Mutant(6, "gradients are not cut to the grid", TRAINING,
           "torch.trunc(row * factors[:, None] / self.grid)", "(row * factors[:, None] / self.grid)"),
    Mutant(7, "the true number of shots divides", "studio_node/roto_training.py",
           "plan.size_tiers[size_tier].update_denominator",
           "max(1.0, plan.privacy.sample_rate * len(shots))"),
    Mutant(8, "randomness is numpy's", NOISE, "os.urandom(8 * count)", "np.random.bytes(8 * count)"),
    Mutant(9, "epsilon is understated by a twentieth", PRIVACY,
           "return value if math.isfinite(value)", "return 0.95 * value if math.isfinite(value)"),
    Mutant(9, "the accountant is the one that under-reports", PRIVACY,
           "from opacus.accountants import PRVAccountant  # imports torch: seconds",
           "from opacus.accountants import GaussianAccountant as PRVAccountant"),
    Mutant(10, "the filter admits half as much again", PRIVACY,
           "self.spent(events) <= max(self.allowance, 0.0)", "self.spent(events) <= 1.5 * max(self.allowance, 0.0)"),
    Mutant(10, "only the newest charge counts for the cap", STATE,
           "after = (*account.events, charge.event)", "after = (charge.event,)"),
    Mutant(10, "a show's own cap may be wider", "federation/config.py",
           "min(own, self.policy.epsilon_lifetime)", "own"),
    Mutant(11, "delta stays where the tier is large", "federation/config.py",
           "delta=1e-5 if shots <= 10_000 else 1 / (10 * shots)", "delta=1e-5"),
    Mutant(12, "one show is charged for all", ROUND,
           "config.epsilon_lifetime_of(entry.show) for entry in packs}",
           "config.epsilon_lifetime_of(entry.show) for entry in packs[:1]}"),
    Mutant(12, "an account remembers its newest charge only", STATE,
           "charges.append(reserved.record.charge)", "charges = [reserved.record.charge]"),
    Mutant(13, "a disk that refuses the charge stops nothing", "studio_node/ledger.py",
           "        self._file.append(record.sequence, data)\n",
           "        try:\n            self._file.append(record.sequence, data)\n"
           "        except LedgerError:\n            pass\n"),
    Mutant(14, "the same question is trained again", ROUND,
           "            if stored is not None:\n                return stored\n", ""),
    Mutant(15, "the coordinator's head is not looked at", ROUND,
           "            ledger.require_seen(instruction.seen_head)\n", ""),
    Mutant(15, "what left is not looked at", ROUND,
           "            ledger.state.require_left(updates[-1].charge if updates else None)\n", ""),
    Mutant(16, "an update beyond its norm leaves", EGRESS,
           "if norm > expected.bounds.norm_max:", "if False:"),
    Mutant(16, "bytes beside the update leave", EGRESS,
           "if encode_reply(reply) != frame:", "if False:"),
    Mutant(17, "what leaves is logged afterwards", EGRESS,
           "        reply = inspect_frame(frame, expected)\n",
           "        reply = inspect_frame(frame, expected)\n        send(frame)\n"),
    Mutant(18, "consent has no end", POLICY,
           "if consent.holds_on(day)", "if consent.training_allowed"),
    Mutant(18, "what a show that withdrew has bought is sent again", ROUND,
           "if not {account.show for account in record.accounts} <= consenting_shows(config, now=now):", "if False:"),
    Mutant(19, "a plan may ask for more than the policy", POLICY, "if asked > allowed:", "if asked > 2 * allowed:"),
    Mutant(19, "an unnoised plan is followed", POLICY, 'if plan.mode != "private":', "if False:"),
    Mutant(20, "a network file system will do", "studio_node/ledger_file.py",
           "if mount is not None and mount.kind in NETWORK_KINDS:", "if False:"),
    Mutant(20, "the clock may jump back", STATE, "if back_s > CLOCK_BACK_S:", "if False:"),
    Mutant(21, "a gain is shared by default", "federation/config.py",
           "share_gain: bool = False", "share_gain: bool = True"),
    Mutant(21, "a shot's gain is not clipped", GAIN, "min(max(math.trunc(found / step), -most), most)",
           "math.trunc(found / step)"),
    Mutant(21, "a gain has half of the noise", GAIN, "gaussian(1, gain.noise_multiplier * gain.clip, step)",
           "gaussian(1, gain.noise_multiplier * gain.clip / 2, step)"),
    Mutant(21, "held-back shots are trained on", "studio_node/catalogue.py",
           "(pack.shot_id.casefold() in kept) == held_back", "held_back <= (pack.shot_id.casefold() in kept)"),
    Mutant(21, "a gain is charged like a fraction of a round", "studio_node/ledger_records.py",
           "sample_rate=1.0,\n", "sample_rate=0.1,\n"),
)  # fmt: skip
