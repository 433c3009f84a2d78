"""Holds the oracle to PyTorch: its operations, in float, are right kernels and must pass; spoiled, they must not.

    check_oracle.py ORACLE [SEEDS]        build/oracle 3; `make check-oracle` does it

Every operation of `oracle case make` with four fills and SEEDS seeds. A fault is an option or a line that is commonly wrong; where it
changes no bit, it is not counted.
"""

import json
import os
import subprocess
import sys
import tempfile

try:
    import torch
    import torch.nn.functional as F
    from safetensors import safe_open
    from safetensors.torch import save_file
except ImportError as missing:
    print(f"check-oracle: not run: {missing}; name a Python that has torch and safetensors: make check-oracle PYTHON=...\n")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

oracle, seeds = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3


def load(path):
    with safe_open(path, "pt") as f:
        return json.loads(f.metadata()["attrs"]), {k: f.get_tensor(k) for k in f.keys()}


class Inputs:
    """Leaves for the inputs of a case; gradients by the names of the format."""

    def __init__(self, t):
        self.t, self.leaf = t, {}

    def __call__(self, name):
        self.leaf[name] = self.t[name].float().requires_grad_()
        return self.leaf[name]

    def results(self, y, out=None):
        y.backward(self.t["grad_out.y"].float())
        grads = {"grad_" + k: v.grad for k, v in self.leaf.items()}
        return {**(out or {}), "out.y": y.detach(), **grads}


def linear(a, t, fault):
    x = Inputs(t)
    r = x.results(F.linear(x("in.x"), x("param.weight"), None if fault == "no bias" else x("param.bias")))
    if fault == "no bias":
        r["grad_param.bias"] = t["grad_out.y"].float().sum(0)
    if fault == "mean for sum":
        r["grad_param.bias"] = t["grad_out.y"].float().mean(0)
    if fault == "last sample lost":
        r["grad_param.weight"] = t["grad_out.y"].float()[:-1].T @ t["in.x"].float()[:-1]
    return r


def norm(a, t, fault):
    x, eps, m = Inputs(t), a["eps"], a["momentum"]
    mean, var = t["in.running_mean"].float().clone(), t["in.running_var"].float().clone()
    eps = {"no eps": 0, "eps times 10": 10 * eps}.get(fault, eps)
    m = 1 - m if fault == "momentum swapped" else m
    v = x("in.x")
    gamma = x("param.gamma")
    g = gamma.roll(1) if fault == "gamma off by one" else gamma
    if fault in ("unbiased", "one-pass variance", "statistics constant", "eps outside", "no eps"):
        mu, s = v.mean((0, 1, 2)), v.var((0, 1, 2), unbiased=fault == "unbiased")
        if fault == "one-pass variance":
            s = (v * v).mean((0, 1, 2)) - mu * mu
        if fault == "statistics constant":
            mu, s = mu.detach(), s.detach()
        root = torch.sqrt(s) + eps if fault == "eps outside" else torch.sqrt(s + eps)
        y = g * (v - mu) / root + x("param.beta")
        F.batch_norm(v.detach().movedim(3, 1), mean, var, None, None, True, m, a["eps"])
    else:
        y = F.batch_norm(v.movedim(3, 1), mean, var, g, x("param.beta"), True, m, eps).movedim(1, 3)
    if fault == "biased running variance":
        n = v.numel() // v.shape[3]
        var = (1 - m) * t["in.running_var"].float() + m * v.detach().var((0, 1, 2), unbiased=n < 1)
    if fault == "not updated":
        mean, var = t["in.running_mean"].float(), t["in.running_var"].float()
    y = F.relu(y) if a["relu"] else y
    return x.results(y, {"out.running_mean": mean, "out.running_var": var})


def relu(a, t, fault):
    x = Inputs(t)
    v = x("in.x")
    return x.results(F.leaky_relu(v, 1e-4) if fault == "leak" else F.relu6(v) if fault == "cut at 6" else F.relu(v))


def avgpool(a, t, fault):
    x = Inputs(t)
    v = x("in.x")
    n = v.shape[1] * v.shape[2]
    scale = n / (n - 1) if fault == "n - 1" else 1
    return x.results(scale * (v[:, :, :-1].sum((1, 2)) / n if fault == "last column lost" else v.mean((1, 2))))


def maxpool(a, t, fault):
    x = Inputs(t)
    v = x("in.x").permute(0, 3, 1, 2)
    if fault == "zeros win":
        y, i = F.max_pool2d(F.pad(v, [1] * 4), 3, 2, 0, return_indices=True)
        w = v.shape[3]
        i = ((i // (w + 2) - 1).clamp(0, v.shape[2] - 1)) * w + (i % (w + 2) - 1).clamp(0, w - 1)
    else:
        y, i = F.max_pool2d(v, 3, 2, 1, return_indices=True)
    r = x.results(y.permute(0, 2, 3, 1), {"out.index": i.permute(0, 2, 3, 1)})
    if fault == "overwrites":
        dx = torch.zeros_like(v).flatten(2)
        dx.scatter_(2, i.flatten(2), t["grad_out.y"].float().permute(0, 3, 1, 2).flatten(2))
        r["grad_in.x"] = dx.reshape(v.shape).permute(0, 2, 3, 1)
    return r


def unit(v, guard=1e-12):
    return v / torch.sqrt(torch.clamp((v * v).sum(-1, keepdim=True), min=guard))


def match(a, t, fault):
    t1, t2 = t["in.t1"].float(), t["in.t2"].float()
    if fault != "no normalisation":
        t1, t2 = unit(t1), unit(t2)
    s11, s22, s12 = t1 @ t1.mT, t2 @ t2.mT, t1 @ t2.mT
    r = {"out.sim11": s11, "out.sim22": s22, "out.sim12": s12}
    r |= {"out.d1": s11.argmin(1), "out.d2": s22.argmin(1), "out.s12": s12.argmax(2), "out.s21": s12.argmax(1)}
    if fault == "argmax for argmin":
        r["out.d1"] = s11.argmax(1)
    if fault == "views exchanged":
        r["out.s12"], r["out.s21"] = r["out.s21"], r["out.s12"]
    if fault == "region off by one":
        r["out.d2"] = (r["out.d2"] + 1) % s22.shape[1]
    return r


def loss(a, t, fault):
    v = {k: t["in." + k].float().requires_grad_() for k in ("q1", "q2", "z1", "z2", "r1", "r2", "g1", "g2")}
    off = int(fault == "region off by one")
    pick = lambda r, i: torch.gather(r, 1, ((t["in." + i] + off) % r.shape[1])[..., None].expand(-1, -1, r.shape[2]))
    n = (lambda x: x) if fault == "no normalisation" else unit
    cos = lambda p, q: (n(p) * (n(q).detach() if fault == "no projection" else n(q))).sum(-1)
    # One direction each: view 1 is online, then view 2.
    rdem1, rdem2 = cos(v["r1"], pick(v["r1"], "d1")).mean(1), cos(v["r2"], pick(v["r2"], "d2")).mean(1)
    riem1, riem2 = 1 - cos(v["r1"], pick(v["g2"], "s12")).mean(1), 1 - cos(v["r2"], pick(v["g1"], "s21")).mean(1)
    byol1, byol2 = 2 - 2 * cos(v["q1"], v["z2"]), 2 - 2 * cos(v["q2"], v["z1"])
    if fault == "factor 1/2":
        byol1, byol2 = byol1 / 2, byol2 / 2
    rdem, riem, byol = rdem1 + rdem2, riem1 if fault == "one direction" else riem1 + riem2, byol1 + byol2
    total = a["lambda1"] * rdem + a["lambda2"] * riem + a["lambda3"] * byol
    (total.sum() if fault == "sum for mean" else total.mean()).backward()
    r = {f"grad_in.{k}": v[k].grad for k in ("q1", "q2", "r1", "r2")}
    for k, views in (("rdem", (rdem1, rdem2)), ("riem", (riem1, riem2)), ("byol", (byol1, byol2))):
        r |= {f"out.{k}{i + 1}": x.detach() for i, x in enumerate(views)}
    for k, x in (("rdem", rdem), ("riem", riem), ("byol", byol), ("total", total)):
        r |= {f"out.{k}_image": x.detach(), f"out.{k}": x.detach().mean()}
    return r


def conv(a, t, fault):
    x = Inputs(t)
    v, w = x("in.x").permute(0, 3, 1, 2), x("param.weight").permute(0, 3, 1, 2)
    if fault in ("replicate", "reflect", "circular"):
        return x.results(F.conv2d(F.pad(v, [1] * 4, mode=fault), w).permute(0, 2, 3, 1))
    return x.results(F.conv2d(v, w.flip(2, 3) if fault == "flipped" else w, padding=1).permute(0, 2, 3, 1))


faults = {
    conv: ["replicate", "reflect", "circular", "flipped"],
    linear: ["no bias", "mean for sum", "last sample lost"],
    norm: ["no eps", "eps times 10", "eps outside", "momentum swapped", "unbiased", "one-pass variance", "statistics constant",
           "biased running variance", "not updated", "gamma off by one"],
    relu: ["leak", "cut at 6"],
    avgpool: ["n - 1", "last column lost"],
    maxpool: ["zeros win", "overwrites"],
    match: ["no normalisation", "argmax for argmin", "views exchanged", "region off by one"],
    loss: ["no normalisation", "no projection", "factor 1/2", "one direction", "sum for mean", "region off by one"],
}  # fmt: skip

# Right to within rounding: a mean that is not large, and a variance of 1e-4 beside a running one of 1.
harmless = {("one-pass variance", fill) for fill in ("normal", "int", "sparse")} | {("biased running variance", "offset")}


def judge(case, results):
    save_file({k: v.detach().contiguous().clone() for k, v in results.items()}, "candidate.safetensors")
    command = [oracle, "case", case, "candidate=candidate.safetensors", "json=findings.json"]
    code = subprocess.run(command, capture_output=True).returncode
    with open("findings.json") as f:
        return code, {f["tensor"]: f for f in json.load(f)["findings"]}


right, alarms, vacuous, wrong, killed, survivors = 0, 0, 0, 0, 0, []
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    for kernel, names in faults.items():
        for fill in ("normal", "int", "offset", "sparse"):
            for seed in range(seeds):
                if kernel is match and fill in ("offset", "sparse"):
                    continue  # decided by rounding
                keys = [f"op={kernel.__name__}", f"fill={fill}", f"seed={seed}", "out=c.safetensors"]
                keys += [f"relu={'yes' if seed % 2 else 'no'}"] if kernel is norm else []  # other operations refuse the key
                subprocess.run([oracle, "case", "make"] + keys, check=True, stdout=subprocess.DEVNULL)
                a, t = load("c.safetensors")
                good = kernel(a, t, None)
                _, found = judge("c.safetensors", good)
                for name, f in found.items():
                    right += 1
                    vacuous += f["verdict"] == "vacuous"
                    if f["verdict"] not in ("pass", "vacuous"):
                        alarms += 1
                        print(f"false alarm: {kernel.__name__} {fill} {seed}: {name}: {f['rule']}")
                for fault in names:
                    if (fault, fill) in harmless:
                        continue
                    bad = kernel(a, t, fault)
                    _, found = judge("c.safetensors", bad)
                    changed = [k for k in bad if bad[k].shape != good[k].shape or not torch.equal(bad[k], good[k])]
                    caught = [k for k in changed if found[k]["verdict"] == "mismatch"]
                    wrong, killed = wrong + bool(changed), killed + bool(caught)
                    if changed and not caught:
                        survivors.append(f"{kernel.__name__} {fill} {seed}: {fault}")
for s in survivors:
    print(f"survived: {s}")
print(f"right: {right} tensors, {alarms} false alarms, {vacuous} vacuous; wrong: {wrong} kernels, {killed} rejected")
print(f"\n{right - alarms + killed} passed, {alarms + wrong - killed} failed, 0 skipped")
sys.exit(alarms + wrong > killed)
