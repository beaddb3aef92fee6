import pytest
import torch
from torch import nn

from worldjepa.training.ema import update_target


def pair():
    torch.manual_seed(0)
    build = lambda: nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3))  # noqa: E731
    source, target = build(), build()
    source(torch.randn(16, 5))  # moves the source's running statistics only
    return target, source


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.996, 1.0])
def test_equals_a_loop_over_the_parameters(momentum):
    target, source = pair()
    expected = {}
    for name, old in target.named_parameters():
        new = dict(source.named_parameters())[name]
        expected[name] = old.detach().clone().lerp_(new.detach(), 1.0 - momentum)
        plain = momentum * old.detach() + (1.0 - momentum) * new.detach()
        torch.testing.assert_close(expected[name], plain, rtol=1e-5, atol=1e-7)
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    update_target(target, source, momentum)
    for name, parameter in target.named_parameters():
        assert torch.equal(parameter, expected[name]), name
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_each_copy_keeps_its_own_running_statistics():
    target, source = pair()
    update_target(target, source, 0.0)
    assert torch.equal(target.get_parameter("0.weight"), source.get_parameter("0.weight"))
    assert torch.equal(target.get_buffer("1.running_mean"), torch.zeros(7))
    assert not torch.equal(source.get_buffer("1.running_mean"), torch.zeros(7))


def test_targets_without_gradients_move_too():
    target, source = pair()
    target.requires_grad_(False)
    update_target(target, source, 0.0)
    assert torch.equal(target.get_parameter("2.bias"), source.get_parameter("2.bias"))
    assert not target.get_parameter("2.bias").requires_grad


def test_refuses_other_parameters_and_impossible_momentum():
    target, source = pair()
    with pytest.raises(ValueError, match=r"differ in 2 parameters.*2\.bias"):
        update_target(target[:2], source, 0.9)
    with pytest.raises(ValueError, match="0 to 1"):
        update_target(target, source, 1.5)
