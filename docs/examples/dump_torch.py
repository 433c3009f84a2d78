#!/usr/bin/env python3
"""A step of E-DIY in plain PyTorch, with every tensor of it written down for the oracle.

    dump_torch.py run                                     ResNet-18, 4 images of 64 pixels, in float
    oracle replay run                                     is it right, and if not, which layer?

Networks are torchvision's ResNets with BYOL's heads. Everything is seen through hooks; the step itself is ordinary PyTorch. To check a
step of your own, keep Dump and Watch, and hang them on your networks: the folder they write is described in docs/golden-format.md.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import struct

import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F


def single(x):
    """The number that a kernel in float has in its place; dumps hold exact bits."""
    return struct.unpack("f", struct.pack("f", x))[0]


# ---- the folder ---------------------------------------------------------------------------------------------------------------------


class Dump:
    """Tensors in execution order, a part file for each phase, and a manifest that is written last."""

    def __init__(self, folder, precision):
        os.makedirs(folder)
        self.folder, self.precision = folder, precision
        self.listed, self.pending, self.parts = [], {}, 0

    def add(self, name, tensor, precision=None):
        """precision: where it is another than the dump's."""
        tensor = tensor.detach().contiguous().clone()
        digest = hashlib.sha256(tensor.view(torch.uint8).numpy() if tensor.ndim else tensor.numpy()).hexdigest()
        kind = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.int32: "I32"}[tensor.dtype]
        entry = {"name": name, "part": self.parts, "dtype": kind, "shape": list(tensor.shape), "sha256": digest}
        if precision and precision != self.precision:
            entry["precision"] = precision
        self.listed.append(entry)
        self.pending[name] = tensor

    def flush(self):
        save_file(self.pending, os.path.join(self.folder, f"part-{self.parts:05d}.safetensors"))
        self.pending, self.parts = {}, self.parts + 1

    def commit(self, attrs, steps):
        manifest = {
            "format": "ediy-dump-1", "kind": "full", "producer": f"PyTorch {torch.__version__}", "layout": "NHWC,KRSC",
            "precision": self.precision, "attrs": attrs, "steps": steps, "tensors": self.listed,
        }
        with open(os.path.join(self.folder, "manifest.json"), "w") as f:
            json.dump(manifest, f, indent=1)


def layout(x):
    """N C H W as N H W C, and with it K C R S as K R S C; one position a row, as N x C."""
    if x.ndim != 4:
        return x
    x = x.permute(0, 2, 3, 1)
    return x.flatten(1) if x.shape[1:3] == (1, 1) else x


def kernel(w):
    return w.permute(0, 2, 3, 1) if w.ndim == 4 else w


# ---- what hooks see of one network ----------------------------------------------------------------------------------------------------


def records(net):
    """Names of the layers as the oracle orders them: a shortcut before the norm that adds it."""
    names = ["conv1", "bn1"] + ["maxpool"] * isinstance(net.maxpool, nn.MaxPool2d)
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for i, block in enumerate(getattr(net, stage)):
            last = 3 if hasattr(block, "conv3") else 2
            inner = [f"{kind}{k}" for k in range(1, last + 1) for kind in ("conv", "bn")]
            if block.downsample is not None:
                inner[-1:-1] = ["downsample.0", "downsample.1"]
            names += [f"{stage}.{i}.{name}" for name in inner]
    names.append("avgpool")
    for head in ("projector", "predictor", "local_projector"):
        names += [f"{head}.{i}" for i in (0, 1, 3) if hasattr(net, head)]
    return names


def relu_after(name):
    """The module that rectifies the output of this record, if one does. The blocks of torchvision call one module two or three times."""
    parent, _, last = name.rpartition(".")
    if "bn" in last:
        return f"{parent}.relu".lstrip(".")
    return f"{parent}.2" if last == "1" and parent.endswith(("projector", "predictor")) else None


class Watch:
    """Outputs, gradients and statistics of every record. A ReLU is part of the norm before it, and so is the residual sum: the record's
    output is what comes out of the ReLU."""

    def __init__(self, net):
        self.net, self.names, self.module = net, records(net), dict(net.named_modules())
        self.y, self.dy, self.statistics, self.cells = {}, {}, {}, None
        relus = {}  # the norms that a ReLU module follows, in turn
        for name in self.names:
            if isinstance(self.module[name], (nn.BatchNorm1d, nn.BatchNorm2d)):
                self.module[name].register_forward_hook(self.keep_statistics(name))
            relus.setdefault(relu_after(name) or name, []).append(name)
        for name, norms in relus.items():
            self.module[name].register_forward_hook(self.keep(itertools.cycle(norms)))

    def keep(self, names):
        def hook(module, inputs, output):
            name = next(names)
            if name == "avgpool":
                self.cells = inputs[0].shape[0], *inputs[0].shape[2:]
            self.y[name] = self.map_of(name, output)
            if output.requires_grad:  # a tensor's own hook runs when all consumers have added to its gradient
                output.register_hook(lambda g: self.dy.__setitem__(name, self.map_of(name, g)))
        return hook

    def keep_statistics(self, name):
        def hook(module, inputs, output):
            self.statistics[name] = module.running_mean.clone(), module.running_var.clone()
        return hook

    def map_of(self, name, x):
        """Regions went through their head as rows."""
        if name.startswith("local_projector") and x.shape[0] != self.cells[0]:
            return x.detach().reshape(*self.cells, -1).clone()
        return layout(x.detach()).clone()

    def dump_forward(self, dump, where):
        for name in self.names:
            if name in self.statistics and self.net.training:
                for what, value in zip(("running_mean", "running_var"), self.statistics[name]):
                    dump.add(f"{where}/{name}/{what}", value, "fp32")
            y = self.y[name]  # autocast leaves some in float
            dump.add(f"{where}/{name}/y", y, "fp32" if y.dtype == torch.float32 and dump.precision == "bf16" else None)

    def dump_backward(self, dump, where):
        """dweight and dbias are what has been accumulated by the end of this pass: a layer adds to them once a pass."""
        for name in reversed(self.names):
            dump.add(f"{where}/{name}/dy", self.dy[name])
            for p in ("weight", "bias"):
                w = getattr(self.module[name], p, None)
                if w is not None:
                    dump.add(f"{where}/{name}/d{p}", kernel(w.grad), "fp32" if name in self.statistics else None)


# ---- E-DIY -----------------------------------------------------------------------------------------------------------------------------


def head(inputs, a):
    return nn.Sequential(nn.Linear(inputs, a.hidden), nn.BatchNorm1d(a.hidden, eps=a.bn_eps, momentum=a.bn_momentum), nn.ReLU(),
                         nn.Linear(a.hidden, a.out, bias=False))


def network(a, heads):
    """A ResNet of torchvision, with these heads in place of fc."""
    norm = lambda channels: nn.BatchNorm2d(channels, eps=a.bn_eps, momentum=a.bn_momentum)
    net = getattr(torchvision.models, a.backbone)(norm_layer=norm)
    channels = net.fc.in_features
    del net.fc
    if a.stem == "cifar":
        net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    for name in heads:
        net.add_module(name, head(a.out if name == "predictor" else channels, a))
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # a hook on what is overwritten would see another gradient
    return net


def forward(net, x):
    """Map, projection or (online) prediction of the image, projections of the regions."""
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
    n, c, h, w = x.shape
    z = net.avgpool(x).flatten(1)
    for name in ("projector", "predictor"):
        z = getattr(net, name)(z) if hasattr(net, name) else z
    rows = x.permute(0, 2, 3, 1).reshape(n * h * w, c)
    r = net.local_projector(rows).reshape(n, h * w, -1) if hasattr(net, "local_projector") else None
    return x, z, r


def unit(x):
    x = x.float()
    return x / x.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()


def match(t):
    """t: the teacher's maps of both views. Per view: the most different region in it (Eq. 4), the most similar in the other (Eq. 6)."""
    t = [unit(x.flatten(2).transpose(1, 2)) for x in t]
    return [((t[v] @ t[v].transpose(1, 2)).argmin(2), (t[v] @ t[1 - v].transpose(1, 2)).argmax(2)) for v in (0, 1)]


def pick(x, index):
    return torch.gather(x, 1, index[:, :, None].expand(-1, -1, x.shape[2]))


def losses(q, r, z, g, different, similar):
    """One online view (q, r) against the target's other view (z, g): the terms of Eq. 2, 5 and 7, one value an image."""
    q, r, z, g = unit(q), unit(r), unit(z), unit(g)
    byol = 2 - 2 * (q * z).sum(-1)
    rdem = (r * pick(r, different)).sum(-1).mean(-1)
    riem = 1 - (r * pick(g, similar)).sum(-1).mean(-1)
    return byol, rdem, riem


def length(x):
    """In double: in float, PyTorch adds up a weight of 2 million elements in so long a chain that its length is off by 5e-5."""
    return torch.linalg.vector_norm(x, dtype=torch.float64).item()


def lars(w, g, m, a, lr):
    """BYOL's: weights are decayed and adapted, biases and the vectors of norms are not."""
    d = g
    if w.ndim > 1:
        d = g + a.weight_decay * w
        if length(w) > 0 and length(d) > 0:
            d = d * (a.trust * length(w) / length(d))
    m.mul_(a.momentum).add_(d)
    w.sub_(lr * m)


def average(xi, theta, tau):
    xi.add_(theta - xi, alpha=1 - tau)


def states(net):
    """Parameters and running statistics, layer by layer in the order of records."""
    have = net.state_dict()
    names = [f"{layer}.{what}" for layer in records(net) for what in ("weight", "bias", "running_mean", "running_var")]
    return {name: have[name] for name in names if name in have}


def randomise(net):
    """No parameter at a value where a mistake would not show."""
    for name, p in net.named_parameters():
        if p.ndim == 1:
            nn.init.uniform_(p, 0.5, 1.5) if name.endswith("weight") else nn.init.normal_(p, 0, 0.1)
    for name, b in net.named_buffers():
        if "running" in name:
            nn.init.normal_(b, 0, 0.1) if "mean" in name else nn.init.uniform_(b, 0.5, 1.5)


def blobs(a):
    """Images whose regions differ: colours that change every few pixels, and noise."""
    coarse = torch.randn(a.batch, 3, a.size // 16, a.size // 16)
    return 2 * F.interpolate(coarse, (a.size, a.size), mode="bicubic") + 0.2 * torch.randn(a.batch, 3, a.size, a.size)


def settle(net, images):
    """Running statistics that fit, as in a trained network: else every region would look like its place in the image."""
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    kept = [m.momentum for m in norms]
    for m in norms:
        m.momentum = 1.0
    with torch.no_grad():
        forward(net.train(), images)
    for m, momentum in zip(norms, kept):
        m.momentum = momentum
    net.eval()


def run(a, spoil=None):
    """Writes the dump a.dump. spoil: called with the three networks before the first step."""
    torch.manual_seed(a.seed)
    torch.backends.mkldnn.enabled = not a.no_mkldnn
    for key in ("bn_eps", "bn_momentum", "trust", "momentum", "weight_decay", "lr", "tau"):
        setattr(a, key, single(getattr(a, key)))
    nets = {"online": network(a, ("projector", "predictor", "local_projector")), "target": network(a, ("projector", "local_projector")),
            "teacher": network(a, ()).eval()}
    for net in nets.values():
        randomise(net)
    online, target, teacher = nets.values()
    settle(teacher, blobs(a))
    if spoil:
        spoil(nets)
    if a.channels_last:
        nets = {k: net.to(memory_format=torch.channels_last) for k, net in nets.items()}
    watch = {k: Watch(net) for k, net in nets.items()}
    parameters = {name: online.get_parameter(name) for name in states(online) if "running" not in name}
    momentum = {name: 1e-3 * torch.randn_like(p) for name, p in parameters.items()}
    amp = (lambda: torch.autocast("cpu", torch.bfloat16)) if a.bf16 else contextlib.nullcontext

    dump = Dump(a.dump, "bf16" if a.bf16 else "fp32")
    for k, net in nets.items():
        for name, p in states(net).items():
            dump.add(f"0.0/state/{k}/0/{name}/parameter", kernel(p))
        for name, m in momentum.items() if k == "online" else ():
            dump.add(f"0.0/state/online/0/{name}/momentum", kernel(m))
    dump.flush()

    for step in range(a.steps):
        views = [blobs(a)]
        views.append(views[0].roll((a.size // 3, a.size // 3), (2, 3)) + 0.1 * torch.randn_like(views[0]))  # another crop of the same
        if a.channels_last:
            views = [v.contiguous(memory_format=torch.channels_last) for v in views]
        for v in (1, 2):
            dump.add(f"{step}.0/input/-/{v}/image/view", layout(views[v - 1]))
        for p in parameters.values():
            p.grad = torch.zeros_like(p)  # of what no loss reaches, too

        t, z, g = [], [], []
        with torch.no_grad(), amp():
            for v in (1, 2):
                t.append(forward(teacher, views[v - 1])[0])
                watch["teacher"].dump_forward(dump, f"{step}.0/forward/teacher/{v}")
        pairs = match(t)
        for v in (1, 2):
            for name, index in zip(("rdem", "riem"), pairs[v - 1]):
                dump.add(f"{step}.0/match/-/{v}/{name}/index", index.int(), "fp32")
        with torch.no_grad(), amp():
            for v in (1, 2):
                _, projection, regions = forward(target, views[v - 1])
                z.append(projection)
                g.append(regions)
                watch["target"].dump_forward(dump, f"{step}.0/forward/target/{v}")

        for v in (1, 2):
            with amp():
                _, q, r = forward(online, views[v - 1])
            watch["online"].dump_forward(dump, f"{step}.0/forward/online/{v}")
            terms = losses(q, r, z[2 - v], g[2 - v], *pairs[v - 1])
            for name, term in zip(("byol", "rdem", "riem"), terms):
                dump.add(f"{step}.0/loss/online/{v}/{name}/value", term.double(), "fp32")
            sum(weight * term.mean() for weight, term in zip((a.lambda3, a.lambda1, a.lambda2), terms)).backward()
            watch["online"].dump_backward(dump, f"{step}.0/backward/online/{v}")
        dump.flush()

        with torch.no_grad():
            for name, p in parameters.items():
                where = f"{step}.0/optimiser/online/0/{name}"
                dump.add(f"{where}/gradient", kernel(p.grad), "fp32")
                lars(p, p.grad, momentum[name], a, a.lr)
                dump.add(f"{where}/momentum", kernel(momentum[name]), "fp32")
                dump.add(f"{where}/parameter", kernel(p), "fp32")
            for name in (name for name in parameters if name in states(target)):
                xi = target.get_parameter(name)
                average(xi, parameters[name], a.tau)
                dump.add(f"{step}.0/ema/target/0/{name}/parameter", kernel(xi), "fp32")
        dump.flush()

    bottleneck = hasattr(online.layer1[0], "conv3")
    attrs = {
        "block": "bottleneck" if bottleneck else "basic", "blocks": ",".join(str(len(getattr(online, f"layer{i}"))) for i in (1, 2, 3, 4)),
        "base_width": 64, "stem": a.stem, "batch": a.batch, "height": a.size, "width": a.size, "hidden": a.hidden, "out": a.out,
        "bn_eps": a.bn_eps, "bn_momentum": a.bn_momentum, "accumulation": 1, "regions": True, "region_predictor": "none", "teacher": True,
        "lambda1": a.lambda1, "lambda2": a.lambda2, "lambda3": a.lambda3, "rdem_stopgrad": "none", "rdem_negative": "region",
        "sampler": "teacher", "similarity": "cosine", "teacher_bn": "running", "lars_variant": "byol", "trust": a.trust,
        "momentum": a.momentum, "weight_decay": a.weight_decay,
    }
    dump.commit(attrs, [{"step": k, "lr": a.lr, "tau": a.tau} for k in range(a.steps)])


def arguments(words=None):
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("dump", help="the folder to write; must not exist")
    p.add_argument("--backbone", default="resnet18", choices=("resnet18", "resnet34", "resnet50"))
    p.add_argument("--stem", default="imagenet", choices=("imagenet", "cifar"))
    for name, value in (("size", 64), ("batch", 4), ("steps", 1), ("seed", 1), ("hidden", 256), ("out", 64)):
        p.add_argument(f"--{name}", type=int, default=value)
    for name, value in (("lr", 0.2), ("tau", 0.99), ("trust", 1e-3), ("momentum", 0.9), ("weight-decay", 1.5e-6), ("bn-eps", 1e-5),
                        ("bn-momentum", 0.1), ("lambda1", 1.0), ("lambda2", 1.0), ("lambda3", 1.0)):
        p.add_argument(f"--{name}", type=float, default=value)
    p.add_argument("--channels-last", action="store_true")
    p.add_argument("--no-mkldnn", action="store_true", help="PyTorch's own kernels in place of oneDNN's")
    p.add_argument("--bf16", action="store_true", help="networks under autocast")
    a = p.parse_args(words)
    if os.path.exists(a.dump):
        p.error(f"{a.dump}: is there already; remove it, or name another folder")
    return a


if __name__ == "__main__":
    run(arguments())
