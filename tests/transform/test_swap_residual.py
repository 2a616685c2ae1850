"""Residual rules become other ones: what stays, what is new, what goes along in training, what is refused."""

import pytest
import torch

import blockyard as by
from blockyard.core.spec import Spec, norm, objective, phase, residual, transform
from blockyard.model.lineage import pairs, transformed
from blockyard.train.loop import Settings, train
from blockyard.transform._base import make_transform

IDS = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))


def shaken(name="llama", **settings):
    model = by.build(name, "tiny", **settings).double()
    draw = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data += 0.1 * torch.randn(p.shape, generator=draw, dtype=p.dtype)
    return model


def swapped(model, rule, **settings):
    rule = residual(rule) if isinstance(rule, str) else rule
    return make_transform(transform("swap_residual", rule=rule, **settings)).apply(model)


def rules(model):
    return [step.rule.spec.name for step in model.steps]


@torch.no_grad()
def test_the_result_is_the_model_that_is_built_with_the_other_rule():
    """With the same numbers; there and back again changes nothing."""
    model = shaken()
    for rule in ("ladder", "parallel"):
        done = swapped(model, rule)
        expected = by.build(by.spec("llama", "tiny")["model"].but(residual=done.model.steps[0].rule.spec)).double()
        expected.load_state_dict(model.state_dict())
        assert torch.equal(done.model(IDS).logits, expected(IDS).logits)
        assert (done.model(IDS).logits - model(IDS).logits).abs().max() > 1e-3
        assert done.report["new"] == 0 and not done.left and not done.lineage
        assert list(done.covered) == [f"steps.{step}.rule" for step in range(4)]
        assert torch.equal(swapped(done.model, "prenorm").model(IDS).logits, model(IDS).logits)


def test_only_some_steps_and_what_is_left_is_said():
    done = swapped(shaken(), "ladder", steps=(2, 3))
    assert rules(done.model) == ["prenorm", "prenorm", "ladder", "ladder"]
    assert done.left == ("steps.0.rule", "steps.1.rule") and set(done.covered) == {"steps.2.rule", "steps.3.rule"}
    made = make_transform("swap_residual:rule=ladder,steps=(2,3)").apply(shaken()).model
    assert torch.equal(made(IDS).logits, done.model(IDS).logits)


def test_the_norm_stays_as_it_is_unless_another_is_named():
    """Its settings, edits of them and its numbers."""
    spec = by.spec("llama", "tiny", eps=1e-3).at("steps.*.rule.norm", eps=0.5).at("steps.3.rule.norm", eps=0.25)
    model = by.build(spec)
    done = swapped(model, "ladder", steps=(1, 3)).model
    assert [step.rule.norm.eps for step in done.steps] == [0.5, 0.5, 0.5, 0.25]
    other = swapped(shaken(), residual("ladder", norm=norm("layer")), steps=(0,))
    assert type(other.model.steps[0].rule.norm).__name__ == "LayerNorm"
    new = {name for name in other.model.state_dict() if name.startswith("steps.0.rule.norm.")}
    assert {name for name, origin in other.lineage.items() if not origin.path} == new
    assert {value.dtype for value in other.model.state_dict().values()} == {torch.float64}
    assert other.report["new"] == sum(other.model.state_dict()[name].numel() for name in new) == 64


def test_what_is_new_comes_from_nowhere_and_what_another_rule_had_is_none_of_it():
    """Rules whose own numbers have the same name and shape do not get one another's; the norm's are kept."""
    model = shaken(**{"norm.eps": 1e-4})
    found, lineage = transformed(model, transform("swap_residual", rule=residual("rezero"), steps=(0,)))
    named = {path for path, p in found.named_parameters() for _, made, _ in pairs(model, found, lineage) if made is p}
    own = {path for path, _ in found.named_parameters() if path.startswith("steps.0.rule.")}
    assert named == {path for path, _ in found.named_parameters()} - (own - set(dict(model.named_parameters())))
    first = swapped(model, residual("hyper_connections", streams=2), steps=(0,)).model
    again = swapped(first, residual("dynamic_hyper_connections", streams=2), steps=(0,))
    both = {n for n in first.state_dict() if n.startswith("steps.0.rule.") and n in again.model.state_dict()}
    assert {n for n in both if n not in again.lineage} == {"steps.0.rule.norm.gain"} and len(both) > 1


@torch.no_grad()
def test_a_result_is_rebuilt_by_its_spec(tmp_path):
    done = swapped(shaken("ladder_residual", last=1), residual("ladder", delay=2), steps=(0, 3)).model
    done.save(tmp_path / "m")
    again = by.load(tmp_path / "m")
    assert torch.equal(again(IDS).logits, done(IDS).logits)
    assert [step.rule.spec.settings for step in again.steps] == [step.rule.spec.settings for step in done.steps]


class Rows:
    """The same few rows, whatever the step."""

    def next(self, index):
        return torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(index)).numpy()


def test_a_phase_goes_through_it():
    """Spelled out or by the recipe that names the last layers; the model that comes out has the other rule."""
    told, swap = objective("next_token"), transform("swap_residual", rule=residual("ladder"), steps=(1, 2, 3))
    spec = by.spec("llama", "tiny").but(program=(phase(told, share=0.5), phase(told, share=0.5, apply=(swap,))))
    settings = Settings(steps=6, lr=1e-2)
    done = train(spec, by.build(spec), Rows(), settings).model
    named = by.spec("ladder_residual", "tiny", after=0.5, last=1)
    other = train(named, by.build(named), Rows(), settings).model
    assert rules(done) == rules(other) == ["prenorm", "ladder", "ladder", "ladder"]
    assert all(torch.equal(a, b) for a, b in zip(done.parameters(), other.parameters()))
    plain = by.spec("llama", "tiny")
    still = train(plain, by.build(plain), Rows(), settings).model
    assert not torch.equal(still.steps[3].part.up.weight, done.steps[3].part.up.weight)


def test_what_cannot_be_swapped_is_refused():
    with pytest.raises(by.UsageError, match=r"no residual rule stands at steps 4, 9; there are 0 to 3"):
        swapped(shaken(), "ladder", steps=(1, 4, 9))
    with pytest.raises(by.UsageError, match="at steps none"):
        swapped(shaken(), "ladder", steps=())
    with pytest.raises(by.UsageError, match="needs rule"):
        make_transform("swap_residual:steps=(1,)")
    swin = by.build("swin", "tiny")
    junction = next(i for i, step in enumerate(swin.steps) if step.part.spec.kind == "junction")
    with pytest.raises(by.UsageError, match=f"at steps {junction};"):
        swapped(swin, "ladder", steps=(junction,))
    done = swapped(swin, Spec("residual", "ladder")).model
    assert {step.rule.spec.name for step in done.steps if hasattr(step, "rule")} == {"ladder"}
