"""Instructions of a decode program, and what they do with a token.

An instruction is a line of WIDTH integers: what to do, addresses, sizes, places of constants, and last how many tasks
of a row (of all, for a product) are shared out. Vectors are float32, one line a token, those of a row of the batch one
behind the other, each line of whole vectors.

    EMBED    y = table[token]
    PLACE    y = table[p]
    NORM     y = g x / sqrt(mean(x^2) + eps), heads by themselves; or centred first, with b
    PRODUCT  y = W x (+ b)                                                   shared out by rows of W
    MAP      y = scale f(x) + shift, element by element
    ROTATE     y = x, every head rotated by the angles of p
    JOIN     y = x z or x + z, element by element; every z for `repeat` of x
    MEAN     y = a times the sum of every D of x
    ATTEND   remember, weigh                                                 shared out by key heads
    FILTER, DECAYED, DELTA, SELECTIVE, DIAGONAL: a scan of one token         shared out by heads or channels

p is the position of a token: how many there were before in its row. States are written in place. Operands stand in the
order in which an op's `emit` writes them and its `instruction` reads them.
"""

EMBED, NORM, PRODUCT, MAP, JOIN, ROTATE, ATTEND, FILTER, DECAYED, DELTA, SELECTIVE, DIAGONAL, MEAN, PLACE = range(14)
WIDTH = 23  # integers of an instruction
BLOCK = 64  # slots of keys that lie together
SAME, SILU, GELU, RELU, SQUARED, SIGMOID, SOFTPLUS, LOG, EXP, EXPM1, RSQRT = range(11)
TIMES, PLUS = range(2)
LANES = 16  # numbers of a vector
