#!/usr/bin/env python3
"""Trains the classifier of train.py with PyTorch, from a sealed dataset, and can be killed at any time.

    torchrun --nproc_per_node 2 examples/digits/sealed.py digits --checkpoints digits-checkpoints

It reads its samples from the vault, on any number of ranks (gloo) and workers, and
makes no plaintext copy of them. A checkpoint is a version of another sealed dataset:
the model, the optimizer, and which samples of the epoch they have seen. The same command
again goes on from the last one, also with another number of ranks or workers, and each
sample is seen exactly once in each epoch. It needs PyTorch and the package vaultpack.
"""

import argparse
import io
import json
import os
import sys
import zlib

import torch
import torch.distributed as dist
import vaultpack
from vaultpack.torch import VaultLoader, VaultStream, all_states

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import train


def decode(sample):
    """The key, the features and the label: images lie in a folder for each digit. Other files have none."""
    key = sample["__key__"]
    if "png" not in sample:
        return key, None, None
    return key, torch.tensor(train.features(train.decode_png(sample["png"], key))), int(key.split("/")[0])


def is_test(key):
    """One image in five is not trained on. Which ones depends on nothing but the key."""
    return zlib.crc32(key.encode()) % 5 == 0


def collate(samples):
    """The keys of all, and what is trained on."""
    used = [(x, y) for key, x, y in samples if x is not None and not is_test(key)]
    x = torch.stack([x for x, _ in used]) if used else torch.empty(0, FEATURES)
    return [key for key, _, _ in samples], x, torch.tensor([y for _, y in used], dtype=torch.long)


FEATURES, CLASSES = 64 + 56 + 56 + 1, 10


class Run:
    """What a checkpoint has: the model, the optimizer, the step, and what the epoch has read."""

    def __init__(self, args):
        self.args, self.step, self.epoch = args, 0, 0
        torch.manual_seed(args.seed)
        self.model = torch.nn.Linear(FEATURES, CLASSES)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=args.learning_rate, momentum=0.9)
        self.dataset = vaultpack.open(args.dataset)
        stream = VaultStream(self.dataset, shuffle=args.seed, transform=decode)
        self.loader = VaultLoader(stream, args.batch_size, collate_fn=collate, num_workers=args.workers)

    def resume(self):
        try:
            contents = vaultpack.open(self.args.checkpoints).read("checkpoint.pt")
        except vaultpack.NotFound:
            return  # the first run
        state = torch.load(io.BytesIO(contents))
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.epoch = state["step"], state["epoch"]
        self.loader.load_state_dict(state["samples"])
        say(f"goes on after step {self.step}, in epoch {self.epoch}")

    def checkpoint(self):
        samples = all_states(self.loader.state_dict())  # all ranks take part
        if dist.get_rank() == 0:
            state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                     "step": self.step, "epoch": self.epoch, "samples": samples}
            contents = io.BytesIO()
            torch.save(state, contents)
            with vaultpack.writer(self.args.checkpoints, mode="anew") as w:
                w.write("checkpoint.pt", contents.getvalue())
            say(f"step {self.step}: checkpoint {w.version}")

    def gradients(self, x, y):
        """The loss of what this rank has, and its gradients: sums, so that ranks can be added."""
        loss = torch.nn.functional.cross_entropy(self.model(x), y, reduction="sum")
        return loss.detach(), torch.autograd.grad(loss, list(self.model.parameters()))

    def train_epoch(self, log):
        self.loader.set_epoch(self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.args.learning_rate / (1 + 0.3 * self.epoch)
        batches, total, seen = iter(self.loader), 0.0, 0
        while True:
            batch = next(batches, None)
            keys, x, y = batch if batch else ([], torch.empty(0, FEATURES), torch.empty(0, dtype=torch.long))
            loss, gradients = self.gradients(x, y)
            # A rank that has read its part goes on with empty batches until all have.
            sums = torch.cat([torch.stack([torch.tensor(float(batch is not None)), torch.tensor(float(len(y))), loss]), *(g.flatten() for g in gradients)])
            dist.all_reduce(sums)
            if sums[0] == 0:
                break
            trained, at = max(sums[1].item(), 1.0), 3
            for p in self.model.parameters():
                p.grad = sums[at : at + p.numel()].view_as(p) / trained
                at += p.numel()
            self.optimizer.step()
            self.step, total, seen = self.step + 1, total + sums[2].item(), seen + int(sums[1])
            if log:
                print(json.dumps({"epoch": self.epoch, "step": self.step, "keys": keys}), file=log, flush=True)
            if self.args.checkpoint_every and self.step % self.args.checkpoint_every == 0:
                self.checkpoint()
        say(f"epoch {self.epoch}: loss={total / max(seen, 1):.4f}")

    def accuracy(self):
        right = of = 0
        for sample in self.dataset.samples():
            key, x, y = decode(sample)
            if x is not None and is_test(key):
                right += int(self.model(x).argmax()) == y
                of += 1
        return right / of


def say(text):
    if dist.get_rank() == 0:
        print(text, flush=True)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("dataset")
    args.add_argument("--checkpoints", required=True, help="the dataset of checkpoints")
    args.add_argument("--checkpoint-every", type=int, default=0, help="steps; 0 for the end of each epoch only")
    args.add_argument("--epochs", type=int, default=12)
    args.add_argument("--batch-size", type=int, default=8, help="of each rank")
    args.add_argument("--workers", type=int, default=2)
    args.add_argument("--learning-rate", type=float, default=0.1)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--log", help="a folder, to which each rank writes the keys of each step")
    args = args.parse_args()

    os.environ.setdefault("RANK", "0")
    os.environ.setdefault("WORLD_SIZE", "1")
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")
    dist.init_process_group("gloo")
    run = Run(args)
    run.resume()
    log = open(os.path.join(args.log, f"rank{dist.get_rank()}-of-{dist.get_world_size()}.jsonl"), "a") if args.log else None
    while run.epoch < args.epochs:
        run.train_epoch(log)
        run.epoch += 1
        run.checkpoint()
    say(f"test accuracy={run.accuracy():.4f}")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
