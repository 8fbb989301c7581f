#!/usr/bin/env python3
"""Trains the classifier of train.py on several hosts, with PyTorch and gloo.

A plain SageMaker script: which hosts there are it reads from SM_HOSTS and
SM_CURRENT_HOST, and by which interface they reach each other from
SM_NETWORK_INTERFACE_NAME. It needs PyTorch; a CPU will do.
"""

import json
import os
import sys

import torch
import torch.distributed as dist

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import train


def main():
    hosts = json.loads(os.environ["SM_HOSTS"])
    rank = hosts.index(os.environ["SM_CURRENT_HOST"])
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["SM_NETWORK_INTERFACE_NAME"]
    dist.init_process_group("gloo", init_method=f"tcp://{hosts[0]}:29500", rank=rank, world_size=len(hosts))

    data = train.load(os.environ["SM_CHANNEL_TRAINING"])
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1)).tolist()
    x = torch.tensor([data[i][0] for i in order])
    y = torch.tensor([data[i][1] for i in order])
    cut = len(data) * 4 // 5
    own_x, own_y = x[:cut][rank::len(hosts)], y[:cut][rank::len(hosts)]

    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(x.shape[1], int(y.max()) + 1))
    steps = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    for _ in range(60):
        steps.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(own_x), own_y)
        loss.backward()
        steps.step()
    got = (model(x[cut:]).argmax(1) == y[cut:]).float().mean().item()
    print(f"{len(own_x)} of {cut} images here, test accuracy={got:.4f}", flush=True)
    if rank == 0:
        torch.save(model.module.state_dict(), os.path.join(os.environ["SM_MODEL_DIR"], "model.pt"))


if __name__ == "__main__":
    main()
