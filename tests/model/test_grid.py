"""A model knows on which grid its tokens lie at every step, and refuses what does not fit before it is made."""

import pytest

import blockyard as by
from blockyard.core.spec import Spec, block, depth, head, model, stem

IMAGES = dict(height=4, width=6, channels=1, kernel=1, stride=1)


def built(steps, stem_settings=IMAGES, plan=None, name="conv_patches"):
    spec = model(
        dim=8, blocks=(block("a", *steps),), depth=plan or depth("stack", layers=1), causal=False,
        stem=stem(name, **stem_settings), head=head("classes"), residual=Spec("residual", "prenorm"),
    )  # fmt: skip
    return by.build(spec)


def junction(name, **settings):
    return Spec.of("junction", name, settings)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([junction("patch_merge"), junction("patch_merge")], "steps.1.*even sides, not on 2 x 3"),
        ([junction("conv"), junction("conv", kernel=4)], "steps.1.*4 x 4 does not fit a grid of 2 x 3"),
        ([junction("conv", kernel=3, stride=3), junction("patch_merge")], "even sides, not on 1 x 2"),
    ],
)
def test_what_does_not_fit_the_grid_is_refused_before_it_is_made(steps, said):
    with pytest.raises(by.UsageError, match=said):
        built(steps)


def test_the_grid_that_is_known_is_the_one_that_tokens_lie_on():
    made = built([junction("conv", kernel=3, stride=1, padding=2), junction("patch_merge")])
    flow = made.start(made.example(2, 24))
    assert (made.stem.grid, flow.call.grid) == ((4, 6), (4, 6))
    for step in range(2):
        flow = made.run(flow, [step])
        assert made.steps[step].part.grid == flow.call.grid
    assert flow.call.grid == (3, 4) and flow.x.shape == (2, 12, 32)


def test_a_row_has_no_grid():
    with pytest.raises(by.UsageError, match="lie in a row"):
        built([Spec("mixer", "pool2d")], dict(height=4, width=4, patch=2, channels=1), name="class_patches")


def test_a_junction_in_a_block_that_runs_again_is_refused():
    with pytest.raises(by.UsageError, match="block a runs 2 times, and a junction runs once"):
        built([junction("conv")], plan=depth("shared", loops=2))
