"""The body that many systems share: a pre-norm stack of one mixer and one channel, in the manner of LLaMA."""

from blockyard.core.spec import Spec, block, channel, depth, head, model, residual, stem, system


def decoder(mixer: Spec, *, dim: int, layers: int, ffn: int | None, vocab: int, tied: bool) -> Spec:
    """A language model whose layers are this mixer and a gated channel."""
    return system(
        model(
            dim=dim,
            stem=stem("tokens", vocab=vocab),
            blocks=(block("layer", mixer, channel("gated", inner=ffn)),),
            residual=residual("prenorm"),
            depth=depth("stack", layers=layers),
            head=head("lm", tied=tied),
        )
    )
