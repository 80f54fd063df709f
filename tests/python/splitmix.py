"""SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) as `potluck_graph::random` has it, bit by bit."""

import math

import numpy

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


class SplitMix64:
    """A generator; every seed is good."""

    def __init__(self, seed):
        self.state = seed & MASK

    def next(self):
        """The next 64 bits."""
        self.state = (self.state + GAMMA) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def unit(self):
        """Uniform in [0, 1): 24 bits, exact in float32."""
        return numpy.float32((self.next() >> 40) / (1 << 24))

    def normal(self):
        """Standard normal by Box and Muller, in float64 and rounded once."""
        radius, turn = [((self.next() >> 11) + 0.5) / (1 << 53) for _ in range(2)]
        return numpy.float32(math.sqrt(-2.0 * math.log(radius)) * math.cos(math.tau * turn))

    def below(self, n):
        """Uniform below n."""
        return (self.next() * n) >> 64


def mix(seed, stream):
    """Two seeds made one."""
    return SplitMix64(seed ^ SplitMix64(stream).next()).next()


def initial(parameters, seed):
    """First values of all parameters, `(name, shape, init)`: float32 arrays by name."""
    values = {}
    for stream, (name, shape, (kind, spread)) in enumerate(parameters):
        random, spread = SplitMix64(mix(seed, stream)), numpy.float32(spread)
        draw = {
            "zeros": lambda: numpy.float32(0),
            "ones": lambda: numpy.float32(1),
            "normal": lambda: spread * random.normal(),
            "uniform": lambda: spread * (numpy.float32(2) * random.unit() - numpy.float32(1)),
        }[kind]
        values[name] = numpy.array([draw() for _ in range(math.prod(shape))], numpy.float32).reshape(shape)
    return values
