"""The inverse of the normal distribution in float64: algorithm AS 241 (Wichura 1988), accurate to 16 digits."""

from collections.abc import Sequence

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission

# Coefficients of the published algorithm, lowest power first: numerator and denominator of each region.
CENTRAL = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
MIDDLE = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
FAR = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip


def inverse_normal(g: Emission, probability: str) -> str:
    """DOUBLE of DOUBLE in (0, 1); the ends become large numbers of their sign."""
    centered = g.add("Sub", probability, g.double(0.5))
    tail = g.add("Min", probability, g.add("Sub", g.double(1.0), probability))
    root = g.add("Sqrt", g.add("Neg", g.add("Log", g.add("Max", tail, g.double(1e-300)))))
    square = g.add("Sub", g.double(0.180625), g.add("Mul", centered, centered))
    central = g.add("Mul", centered, _ratio(g, CENTRAL, square))
    middle = _ratio(g, MIDDLE, g.add("Sub", root, g.double(1.6)))
    far = _ratio(g, FAR, g.add("Sub", root, g.double(5.0)))
    outer = g.add("Where", g.add("LessOrEqual", root, g.double(5.0)), middle, far)
    signed = g.add("Where", g.add("Less", centered, g.double(0.0)), g.add("Neg", outer), outer)
    near = g.add("LessOrEqual", g.add("Abs", centered), g.double(0.425))
    return g.add("Where", near, central, signed)


def _ratio(g: Emission, region: Sequence[Sequence[float]], x: str) -> str:
    numerator, denominator = (_polynomial(g, coefficients, x) for coefficients in region)
    return g.add("Div", numerator, denominator)


def _polynomial(g: Emission, coefficients: Sequence[float], x: str) -> str:
    made = g.double(np.float64(coefficients[-1]))
    for coefficient in reversed(coefficients[:-1]):
        made = g.add("Add", g.add("Mul", made, x), g.double(coefficient))
    return made
