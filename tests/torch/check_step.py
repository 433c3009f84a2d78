"""Holds the oracle to whole steps of PyTorch: dumped by docs/examples/dump_torch.py they pass layer by layer; with one wrong option they are
found wrong at the very tensor.

    check_step.py ORACLE [right|wrong] [NAME...]        build/oracle; `make check-torch-step` does it all

Names: of the runs and faults below, all if none is given. A fault is what people get wrong in PyTorch: an option, or a line.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile

try:
    import safetensors
    import torch
    import torchvision
    from torch.nn import functional as F
except ImportError as missing:
    print(f"check-torch-step: not run: {missing}; name a Python that has torch, torchvision and safetensors: make check-torch-step PYTHON=...\n")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

example = os.path.join(os.path.dirname(__file__), "../../docs/examples/dump_torch.py")

RIGHT = {
    "resnet18": "",
    "resnet18-channels-last": "--channels-last",
    "resnet18-no-mkldnn": "--no-mkldnn",
    "resnet18-bf16": "--bf16",
    "resnet18-two-steps": "--steps 2 --size 32 --stem cifar",
    "resnet50": "--backbone resnet50 --batch 2",
    "resnet50-channels-last": "--backbone resnet50 --batch 2 --channels-last",
    "resnet50-no-mkldnn": "--backbone resnet50 --batch 2 --no-mkldnn",
    "resnet50-bf16": "--backbone resnet50 --batch 4 --bf16",  # two rows leave the norms of the heads a gradient that bf16 hardly shows
}

WRONG = {}  # name: (what prepares it, where it has to be found, options)


def fault(name, where, options=""):
    def add(prepare):
        WRONG[name] = prepare, where, options
        return prepare
    return add


def layer(net, name):
    return net.get_submodule(name)


def everywhere(change):
    """A fault in the code of the network is in all three."""
    return lambda nets: [change(net) for net in nets.values()]


# ---- networks: prepare(d) may change the module d, and returns what spoils the networks ---------------------------------------------------


@fault("momentum of a batch norm 0.01", "forward/target/1/layer2.0.bn1/running_mean")
@fault("momentum 0.01, ResNet-50", "forward/target/1/layer3.2.bn2/running_mean", "--backbone resnet50 --batch 2")
def momentum(d):
    def change(net):
        bottleneck = hasattr(net.layer1[0], "conv3")
        layer(net, "layer3.2.bn2" if bottleneck else "layer2.0.bn1").momentum = 0.01
    return everywhere(change)


@fault("eps of a batch norm 1e-3", "forward/teacher/1/layer3.0.bn2/y")
@fault("eps 1e-3, ResNet-50", "forward/teacher/1/layer3.0.bn2/y", "--backbone resnet50 --batch 2")
def eps(d):
    return everywhere(lambda net: setattr(layer(net, "layer3.0.bn2"), "eps", 1e-3))


@fault("eps 2e-5 in place of 1e-5", "forward/teacher/1/layer1.1.bn1/y")
def eps_twice(d):
    return everywhere(lambda net: setattr(layer(net, "layer1.1.bn1"), "eps", 2e-5))


@fault("padding_mode replicate", "forward/teacher/1/layer1.0.conv2/y")
@fault("padding_mode replicate, ResNet-50", "forward/teacher/1/layer1.0.conv2/y", "--backbone resnet50 --batch 2")
def padding(d):
    return everywhere(lambda net: setattr(layer(net, "layer1.0.conv2"), "padding_mode", "replicate"))


@fault("stride on the second 3x3 of a block", "forward/teacher/1/layer2.0.conv1/y")
@fault("stride on the 1x1, not the 3x3, ResNet-50", "forward/teacher/1/layer2.0.conv1/y", "--backbone resnet50 --batch 2")
def stride(d):
    def change(net):
        first, second = layer(net, "layer2.0.conv1"), layer(net, "layer2.0.conv2")
        first.stride, second.stride = ((1, 1), (2, 2)) if first.stride == (2, 2) else ((2, 2), (1, 1))
    return everywhere(change)


@fault("stride of the shortcut on the pixels beside", "forward/teacher/1/layer3.0.downsample.0/y")
def shortcut(d):
    return everywhere(lambda net: layer(net, "layer3.0.downsample.0").register_forward_pre_hook(lambda m, x: (x[0].roll(-1, 3),)))


def own_norm(unbiased_y, unbiased_running):
    """Batch norm in training with a choice of variances."""
    def forward(m):
        def run(x):
            if not m.training:
                return F.batch_norm(x, m.running_mean, m.running_var, m.weight, m.bias, False, 0, m.eps)
            dims = [i for i in range(x.ndim) if i != 1]
            shape = [1, -1] + [1] * (x.ndim - 2)
            mean, biased, unbiased = x.mean(dims), x.var(dims, unbiased=False), x.var(dims, unbiased=True)
            with torch.no_grad():
                m.running_mean += m.momentum * (mean - m.running_mean)
                m.running_var += m.momentum * ((unbiased if unbiased_running else biased) - m.running_var)
            v = unbiased if unbiased_y else biased
            y = (x - mean.view(shape)) / torch.sqrt(v.view(shape) + m.eps)
            return y * m.weight.view(shape) + m.bias.view(shape)
        return run
    return lambda m: setattr(m, "forward", forward(m))


@fault("unbiased variance normalises", "forward/target/1/layer1.1.bn2/y")
@fault("unbiased variance normalises, ResNet-50", "forward/target/1/layer1.1.bn2/y", "--backbone resnet50 --batch 2")
def unbiased(d):
    return everywhere(lambda net: own_norm(True, True)(layer(net, "layer1.1.bn2")))


@fault("biased variance in running_var", "forward/target/1/layer2.1.bn1/running_var")
def biased(d):
    return everywhere(lambda net: own_norm(False, False)(layer(net, "layer2.1.bn1")))


@fault("statistics are constants in backward", "backward/online/1/layer2.1.conv2/dy")
def constant_statistics(d):
    def change(net):
        m = layer(net, "layer2.1.bn2")
        right = m.forward
        def run(x):
            if not m.training or not x.requires_grad:
                return right(x)
            mean, v = x.detach().mean((0, 2, 3), keepdim=True), x.detach().var((0, 2, 3), unbiased=False, keepdim=True)
            right(x.detach())
            return (x - mean) / torch.sqrt(v + m.eps) * m.weight.view(1, -1, 1, 1) + m.bias.view(1, -1, 1, 1)
        m.forward = run
    return everywhere(change)


@fault("target in eval mode", "forward/target/1/bn1/running_mean")
def target_eval(d):
    return lambda nets: nets["target"].eval()


@fault("teacher in train mode", "forward/teacher/1/bn1/y")
def teacher_train(d):
    return lambda nets: nets["teacher"].train()


@fault("residual detached", "backward/online/1/layer3.0.bn2/dy")
def detached(d):
    def change(net):
        block = layer(net, "layer3.1")
        def run(x):
            out = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
            return block.relu(out + x.detach())
        block.forward = run
    return everywhere(change)


@fault("a leaky ReLU", "forward/teacher/1/layer1.1.bn1/y")
def leaky(d):
    return everywhere(lambda net: layer(net, "layer1").__getattr__("1").__setattr__("relu", torch.nn.LeakyReLU(0.01)))


@fault("one convolution in bf16", "forward/teacher/1/layer4.0.conv1/y")
def lower(d):
    def change(net):
        m = layer(net, "layer4.0.conv1")
        right = m.forward
        m.forward = lambda x: right(x.bfloat16().float())
    return everywhere(change)


@fault("a factor of 1.00001", "forward/online/1/layer2.0.conv2/y")
def factor(d):
    return lambda nets: layer(nets["online"], "layer2.0.conv2").register_forward_hook(lambda m, x, y: 1.00001 * y)


@fault("a gradient times 1.0001", "backward/online/1/layer2.1.conv1/dweight")
def gradient_factor(d):
    return lambda nets: nets["online"].get_parameter("layer2.1.conv1.weight").register_hook(lambda g: 1.0001 * g) and None


@fault("a head without its bias", "forward/target/1/local_projector.0/y")
def no_bias(d):
    def change(net):
        if hasattr(net, "local_projector"):
            m = net.local_projector[0]
            m.forward = lambda x: F.linear(x, m.weight)
    return everywhere(change)


# ---- matching and losses ------------------------------------------------------------------------------------------------------------------


@fault("argmax for argmin", "match/-/1/rdem/index")
def argmax(d):
    def match(t):
        t = [d.unit(x.flatten(2).transpose(1, 2)) for x in t]
        return [((t[v] @ t[v].transpose(1, 2)).argmax(2), (t[v] @ t[1 - v].transpose(1, 2)).argmax(2)) for v in (0, 1)]
    d.match = match


@fault("invariance matched from the other view", "match/-/1/riem/index", "--size 96")
def other_way(d):
    right = d.match
    def match(t):
        (d1, s12), (d2, s21) = right(t)
        return [(d1, s21), (d2, s12)]
    d.match = match


def losses_with(d, change):
    right = d.losses
    d.losses = lambda q, r, z, g, different, similar: change(right, q, r, z, g, different, similar)


@fault("BYOL without its factor 2", "loss/online/1/byol/value")
def half(d):
    def change(right, *a):
        byol, rdem, riem = right(*a)
        return byol / 2, rdem, riem
    losses_with(d, change)


@fault("R-IEM against the regions in order", "loss/online/1/riem/value", "--size 96")
def unmatched(d):
    losses_with(d, lambda right, q, r, z, g, different, similar:
                right(q, r, z, g, different, torch.arange(g.shape[1]).expand_as(similar)))


@fault("no gradient into the second factor of R-DEM", "backward/online/1/local_projector.3/dy")
def stopped(d):
    def change(right, q, r, z, g, different, similar):
        byol, _, riem = right(q, r, z, g, different, similar)
        u = d.unit(r)
        return byol, (u * d.pick(u, different).detach()).sum(-1).mean(-1), riem
    losses_with(d, change)


@fault("normalised without a gradient", "backward/online/1/predictor.3/dy")
def projection(d):
    def change(right, q, r, z, g, different, similar):
        _, rdem, riem = right(q, r, z, g, different, similar)
        length = q.square().sum(-1, keepdim=True).sqrt().detach()
        return 2 - 2 * (q / length * d.unit(z)).sum(-1), rdem, riem
    losses_with(d, change)


@fault("a loss weighted by 0.5 that should be by 1", "backward/online/1/local_projector.3/dy")
def weight(d):
    def change(right, *a):
        byol, rdem, riem = right(*a)
        return byol, rdem, riem.detach() + 0.5 * (riem - riem.detach())
    losses_with(d, change)


# ---- updates ------------------------------------------------------------------------------------------------------------------------------


def lars_with(d, direction, momentum=lambda m, d, a, lr: m.mul_(a.momentum).add_(d), step=lambda m, lr: lr * m):
    def lars(w, g, m, a, lr):
        momentum(m, direction(w, g, a), a, lr)
        w.sub_(step(m, lr))
    d.lars = lars


def byol_direction(d):
    def direction(w, g, a):
        if w.ndim < 2:
            return g
        e = g + a.weight_decay * w
        return e * (a.trust * d.length(w) / d.length(e))
    return direction


# With the usual decay of 1.5e-6 it changes less than 4e-6 of an update, which is rounding; in ResNet-50 the
# gradient of conv1 is so large that it is rounding there at 1e-2, too.
@fault("LARS divides by |g| + wd |w|", "optimiser/online/0/conv1.weight/momentum", "--weight-decay 1e-3")
@fault("LARS divides by |g| + wd |w|, ResNet-50", r"optimiser/online/0/(conv1|layer1\.0\.conv1)\.weight/momentum",
       "--backbone resnet50 --batch 2 --weight-decay 1e-2")
def denominator(d):
    lars_with(d, lambda w, g, a: g if w.ndim < 2 else
              (g + a.weight_decay * w) * (a.trust * d.length(w) / (d.length(g) + a.weight_decay * d.length(w))))


@fault("LARS without a trust ratio", "optimiser/online/0/conv1.weight/momentum")
def no_trust(d):
    lars_with(d, lambda w, g, a: g if w.ndim < 2 else g + a.weight_decay * w)


@fault("LARS on the vectors of norms", "optimiser/online/0/bn1.weight/momentum")
def on_vectors(d):
    def direction(w, g, a):
        e = g + a.weight_decay * w
        return e * (a.trust * d.length(w) / d.length(e))
    lars_with(d, direction)


@fault("the learning rate inside the momentum", "optimiser/online/0/conv1.weight/momentum")
def inside(d):
    lars_with(d, byol_direction(d), lambda m, e, a, lr: m.mul_(a.momentum).add_(lr * e), lambda m, lr: m)


@fault("lengths in float", r"optimiser/online/0/layer\d.*weight/momentum")
def float_length(d):
    d.length = lambda x: x.norm().item()


@fault("tau for 1 - tau", "ema/target/0/conv1.weight/parameter")
def swapped(d):
    d.average = lambda xi, theta, tau: xi.add_(theta - xi, alpha=tau)


@fault("tau of the next step", "ema/target/0/conv1.weight/parameter")
def next_tau(d):
    right = d.average
    d.average = lambda xi, theta, tau: right(xi, theta, tau + 1e-6)


@fault("average of the weights before the step", "ema/target/0/conv1.weight/parameter")
def before(d):
    lars, average, old = d.lars, d.average, {}
    def keep(w, g, m, a, lr):
        old[w.data_ptr()] = w.clone()
        lars(w, g, m, a, lr)
    d.lars, d.average = keep, lambda xi, theta, tau: average(xi, old[theta.data_ptr()], tau)


# ---- running ------------------------------------------------------------------------------------------------------------------------------


def load():
    spec = importlib.util.spec_from_file_location("dump_torch", example)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def dump(folder, options, prepare=None):
    d = load()
    spoil = prepare(d) if prepare else None
    d.run(d.arguments([folder, *options.split()]), spoil)


def oracle(verb, folder):
    done = subprocess.run([program, verb, folder], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def check_right(name, folder):
    dump(folder, RIGHT[name])
    status, text = oracle("replay", folder)
    line = text.strip().splitlines()[-1]
    print(f"{'pass' if status == 0 else 'FAIL'}: {name}: {line.partition(': ')[2]}", flush=True)
    if status:
        print(text[:4000])
    return status == 0


def check_wrong(name, folder):
    prepare, where, options = WRONG[name]
    dump(folder, options, prepare)
    status, text = oracle("bisect", folder)
    found = re.search(r"first wrong: \d+\.\d+/(\S+)", text)
    good = status in (1, 5) and found and re.fullmatch(where, found[1])
    print(f"{'pass' if good else 'FAIL'}: {name}: {found[1] if found else 'not found'}", flush=True)
    if not good:
        print(f"  expected {where}, exit {status}\n{text[:2000]}")
    return bool(good)


program, words = os.path.abspath(sys.argv[1]), sys.argv[2:]
kinds = [w for w in words if w in ("right", "wrong")] or ["right", "wrong"]
names = [w for w in words if w not in kinds]
passed = failed = 0
for kind, check, table in (("right", check_right, RIGHT), ("wrong", check_wrong, WRONG)):
    for name in table:
        if kind not in kinds or (names and name not in names):
            continue
        with tempfile.TemporaryDirectory() as folder:
            good = check(name, os.path.join(folder, "run"))
        passed, failed = passed + good, failed + (not good)
print(f"\n{passed} passed, {failed} failed, 0 skipped")
sys.exit(failed > 0)
