"""Holds the library to PyTorch and torchvision: weights in both directions, features, preprocessing, losses and matching.

    check_torch.py LIBRARY PROGRAM        build/libediy.so.0.1.0 build/ediy; `make check-torch` does it

Where PyTorch computes in double, what it says is taken for the truth. For a network in float the allowance is measured,
not chosen: PyTorch's own float run of the same network on the same input has a root mean square error R against its
double run, made of the same roundings (24 bits, as many products a sum); another order of summation gives another error
of that size. The library's may be at most 4 R: orders of summation differ by less (OpenBLAS sums a block of a few
hundred products in one register, oneDNN as many in 8 or 16), while a wrong weight, a transposed kernel, another padding
or epsilon is off by a hundred R and more. That the allowance can be exceeded is checked as well: twice the epsilon of
batch norm, 2e-5, must fail.
"""

import ctypes
import os
import subprocess
import sys
import tempfile

passed, failed, skipped = 0, 0, 0


def end():
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed or not passed + skipped else 0)


try:
    import torch
    import torchvision
    from safetensors.torch import load_file, save_file
except ImportError as missing:
    skipped = 1
    print(f"check-torch: not run: {missing}; name a Python that has torch, torchvision and safetensors: make check-torch PYTHON=...")
    end()

ALLOWANCE = 4  # in units of PyTorch's own float error, as said above


def check(name, good, detail=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(f"{'ok    ' if good else 'FAILED'} {name}{': ' + detail if detail else ''}", flush=True)


# ---- the library ------------------------------------------------------------------------------------------------------------------------


class Error(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char * 1024)]


class Options(ctypes.Structure):
    _fields_ = [("architecture", ctypes.c_char_p), ("stem", ctypes.c_char_p)] + [
        (name, ctypes.c_int) for name in ("size", "resize", "batch")
    ]


class Library:
    """Calls by name; a failure raises what the library says."""

    def __init__(self, path):
        self.library = ctypes.CDLL(os.path.abspath(path))

    def __getattr__(self, name):
        function = getattr(self.library, "ediy_" + name)
        function.restype = ctypes.c_bool

        def call(*arguments):
            error = Error()
            converted = [
                ctypes.c_void_p(a.data_ptr()) if isinstance(a, torch.Tensor)
                else ctypes.c_double(a) if isinstance(a, float)
                else ctypes.c_bool(a) if isinstance(a, bool)
                else ctypes.c_ssize_t(a) if isinstance(a, int)
                else a
                for a in arguments
            ]
            if not function(*converted, ctypes.byref(error)):
                raise RuntimeError(error.text.decode())

        return call

    def backbone(self, path, **options):
        handle = ctypes.c_void_p()
        self.backbone_open(ctypes.byref(handle), path.encode(), ctypes.byref(Options(batch=2, **options)))
        return handle

    def features(self, handle, images):
        """images: N x 3 x S x S; returns N x C, and the map as N x C x h x w."""
        channels, cells = (getattr(self.library, "ediy_backbone_" + f) for f in ("channels", "cells"))
        n, c, h = len(images), channels(handle), cells(handle)
        inputs = images.permute(0, 2, 3, 1).contiguous()
        pooled, last = torch.full((n, c), torch.nan), torch.full((n, h, h, c), torch.nan)
        self.backbone_inputs(handle, n, inputs, pooled, last)
        return pooled, last.permute(0, 3, 1, 2)

    def close(self, handle):
        self.library.ediy_backbone_close.restype = None
        self.library.ediy_backbone_close(handle)


# ---- networks ---------------------------------------------------------------------------------------------------------------------------


def torch_network(name):
    model = getattr(torchvision.models, name)(weights=None)
    model.fc = torch.nn.Identity()
    return model


def randomise(model, size):
    """No parameter at a value where a mistake would not show; running statistics that fit, so that activations stay near 1."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
            module.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(torch.randn(8, 3, size, size))


def torch_features(model, images):
    model.eval()
    with torch.no_grad():
        kept = []
        hook = model.layer4.register_forward_hook(lambda module, inputs, output: kept.append(output))
        pooled = model(images)
        hook.remove()
    return pooled, kept[0]


def rms(x):
    return x.double().square().mean().sqrt().item()


def compare(name, model, images, ours, expect=True):
    """ours: (features, map) in float. The model is PyTorch's, in float."""
    single = torch_features(model, images)
    truth = torch_features(model.double(), images.double())
    model.float()
    for what, mine, one, true in zip(("features", "map"), ours, single, truth):
        if mine.shape != true.shape:
            check(f"{name}, {what}", False, f"shape {tuple(mine.shape)} instead of {tuple(true.shape)}")
            continue
        size, error, allowed = rms(true), rms(mine.double() - true), ALLOWANCE * rms(one.double() - true)
        good = error <= allowed  # false for NaN
        check(f"{name}, {what}", good == expect,
              f"error {error / size:.2e}, {ALLOWANCE / allowed * error:.2f} of PyTorch's own {allowed / ALLOWANCE / size:.2e}"
              f"{'' if expect else '; it had to be beyond ' + str(ALLOWANCE)}")


def run(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def check_network(library, program, folder, name, size):
    path = lambda file: os.path.join(folder, f"{name}-{file}.safetensors")
    images = torch.randn(3, 3, size, size)

    # torchvision -> ediy, by the program and directly; fc may be there.
    model = torch_network(name)
    randomise(model, size)
    state = dict(model.state_dict()) | {"fc.weight": torch.randn(10, 3), "fc.bias": torch.randn(10)}
    save_file({k: v.contiguous() for k, v in state.items()}, path("torch"))
    run(program, "import", f"weights={path('torch')}", f"backbone={name}", f"size={size}", f"out={path('imported')}")
    handle = library.backbone(path("imported"))
    ours = library.features(handle, images)
    compare(f"{name} at {size} from torchvision", model, images, ours)
    library.close(handle)
    handle = library.backbone(path("torch"), architecture=name.encode(), size=size)
    direct = library.features(handle, images)
    check(f"{name}, the state dict as it is", torch.equal(direct[0], ours[0]) and torch.equal(direct[1], ours[1]))
    library.close(handle)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 2e-5
    compare(f"{name} with another epsilon", model, images, ours, expect=False)

    # ediy -> torchvision: fresh weights, and back those that came from there.
    run(program, "export", "weights=random", f"backbone={name}", f"size={size}", f"out={path('fresh')}")
    model = torch_network(name)
    model.load_state_dict(load_file(path("fresh")), strict=True)
    handle = library.backbone(path("fresh"))
    compare(f"{name} at {size} to torchvision", model, images, library.features(handle, images))
    library.close(handle)
    run(program, "export", f"weights={path('imported')}", f"out={path('back')}")
    back = load_file(path("back"))
    kept = [k for k in state if not k.startswith("fc.") and not k.endswith("num_batches_tracked")]
    wrong = [k for k in kept if not torch.equal(state[k], back[k])]
    check(f"{name} there and back, every bit", not wrong, ", ".join(wrong[:3]))


def check_preprocessing(library, program, folder):
    """Files to features by `ediy embed`, against decoding, bicubic resize, crop and normalisation by torchvision in double."""
    size, resize = 96, 110  # round(256 * 96 / 224)
    images = os.path.join(folder, "images")
    os.mkdir(images)
    generator = torch.Generator().manual_seed(5)
    shapes = [(150, 200), (201, 130), (110, 110), (96, 300), (480, 640)]
    for i, (h, w) in enumerate(shapes):
        coarse = torch.rand(1, 3, 9, 9, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, (h, w), mode="bicubic").clamp(0, 1)[0]
        torchvision.io.write_png((255 * smooth).to(torch.uint8), os.path.join(images, f"{i}.png"))
    weights, out = os.path.join(folder, "resnet18-imported.safetensors"), os.path.join(folder, "features.safetensors")
    run(program, "embed", f"weights={weights}", f"data={images}", f"size={size}", f"out={out}")

    def views(dtype):
        for i, (h, w) in enumerate(shapes):
            x = torchvision.io.read_image(os.path.join(images, f"{i}.png")).to(dtype)[None] / 255
            to = (resize, resize * w // h) if h <= w else (resize * h // w, resize)
            x = torch.nn.functional.interpolate(x, to, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
            top, left = round((to[0] - size) / 2), round((to[1] - size) / 2)
            x = x[:, :, top:top + size, left:left + size]
            mean, std = (torch.tensor(v, dtype=dtype).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
            yield (x - mean) / std

    model = torch_network("resnet18")
    model.load_state_dict(load_file(os.path.join(folder, "resnet18-back.safetensors")))
    single, _ = torch_features(model, torch.cat(list(views(torch.float32))))
    truth, _ = torch_features(model.double(), torch.cat(list(views(torch.float64))))
    error, own = rms(load_file(out)["features"].double() - truth), rms(single.double() - truth)
    check("embed: files to features", error <= ALLOWANCE * own,
          f"error {error / rms(truth):.2e}, {error / own:.2f} of PyTorch's own {own / rms(truth):.2e}")


# ---- losses and matching, in double -----------------------------------------------------------------------------------------------------

# Sums of at most n c = 2548 products: n c 2^-53 = 3e-13, relative to the gradient's largest element.
EXACT = 1e-12


def unit(x):
    return x / x.square().sum(-1, keepdim=True).clamp(min=1e-12).sqrt()


def check_losses(library):
    images, regions, channels, scale = 3, 49, 52, 0.7
    make = lambda *shape: torch.randn(*shape, dtype=torch.float64)
    q, z = make(images, channels), make(images, channels)
    t, to, r, g = (make(images, regions, channels) for _ in range(4))
    r[1, 7] = 0  # below the guard
    d, s = (torch.full((images, regions), -1, dtype=torch.int32) for _ in range(2))
    cosine, dot = 0, 1
    for name, kind, f in (("cosine", cosine, unit), ("dot", dot, lambda x: x)):
        library.match_diversity_f64(images, regions, channels, ctypes.c_int(kind), t, d)
        library.match_invariance_f64(images, regions, channels, ctypes.c_int(kind), t, to, s)
        within, across = f(t) @ f(t).transpose(1, 2), f(t) @ f(to).transpose(1, 2)
        check(f"matching by {name}", torch.equal(within.argmin(2).int(), d) and torch.equal(across.argmax(2).int(), s))

    pick = lambda x, index: torch.gather(x, 1, index.long()[:, :, None].expand_as(x))
    cases = {
        "byol": (q, lambda x: 2 - 2 * (unit(x) * unit(z)).sum(-1), "loss_byol_f64", (images, channels), (z,), ()),
        "rdem": (r, lambda x: (unit(x) * pick(unit(x), d)).sum(-1).mean(-1), "loss_rdem_f64", (images, regions, channels), (d,), (False,)),
        "rdem, match stopped": (r, lambda x: (unit(x) * pick(unit(x), d).detach()).sum(-1).mean(-1), "loss_rdem_f64",
                                (images, regions, channels), (d,), (True,)),
        "riem": (r, lambda x: 1 - (unit(x) * pick(unit(g), s)).sum(-1).mean(-1), "loss_riem_f64", (images, regions, channels), (g, s), ()),
    }
    for name, (x, loss, function, shape, others, flags) in cases.items():
        wanted = x.clone().requires_grad_()
        true = loss(wanted)
        (scale * true.mean()).backward()
        value, gradient = torch.full((images,), torch.nan, dtype=torch.float64), torch.ones_like(x)
        getattr(library, function)(*shape, x, *others, *flags, scale, value, gradient)
        error = (gradient - 1 - wanted.grad).abs().max().item() / max(1, wanted.grad.abs().max().item())
        check(f"loss {name}", (value - true).abs().max() <= EXACT and error <= EXACT, f"gradient off by {error:.1e}")


def main():
    library, program = Library(sys.argv[1]), os.path.abspath(sys.argv[2])
    torch.manual_seed(1)
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}")
    check_losses(library)
    with tempfile.TemporaryDirectory() as folder:
        for name, size in (("resnet18", 224), ("resnet34", 160), ("resnet50", 96)):
            try:
                check_network(library, program, folder, name, size)
            except (RuntimeError, OSError) as error:
                check(name, False, str(error))
        try:
            check_preprocessing(library, program, folder)
        except (RuntimeError, OSError) as error:
            check("embed: files to features", False, str(error))
    end()


main()
