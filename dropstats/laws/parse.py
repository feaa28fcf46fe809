"""Laws read from text in Python syntax."""

import ast
from typing import Any

from dropstats import laws
from dropstats.laws.base import Law

# The laws of masks, which have neurons.
_KNOWN = {name: getattr(laws, name) for name in laws.__all__ if issubclass(getattr(laws, name), Law)}


def parse(text: str, name: str = "law") -> Law:
    """Return the law that a Python expression describes; only laws and numbers are evaluated.

    Parameters
    ----------
    text : str
        An expression such as the repr of a law; products of numbers are allowed.
    name : str
        Name of the text in error messages.

    Raises
    ------
    ValueError, TypeError
        If the text is not such an expression, or the arguments of a law are invalid.

    Examples
    --------
    >>> parse("Network(Channels(64, 8 * 8, 0.2), Layer(3, [0.1, 0.2, 0.3]))").n
    4099
    """
    try:
        law = _value(ast.parse(text.strip(), mode="eval").body, name)
    except (SyntaxError, RecursionError):
        law = None
    if not isinstance(law, Law):
        raise ValueError(f"{name} must be a law in Python syntax, such as 'Channels(64, 8 * 8, 0.2)'; got {text!r}")
    return law


def _constructors(law: str) -> list[str]:
    """Return the names of the other constructors of a law, its public class methods."""
    return [way for way, made in vars(_KNOWN.get(law)).items() if isinstance(made, classmethod) and way[0] != "_"]


def _value(node: ast.expr, name: str) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=law)) if law in _KNOWN:
            make: Any = _KNOWN[law]
        case ast.Call(func=ast.Attribute(value=ast.Name(id=law), attr=way)) if way in _constructors(law):
            make = getattr(_KNOWN[law], way)
        case ast.BinOp(op=ast.Mult()):
            left, right = _value(node.left, name), _value(node.right, name)
            if not all(isinstance(factor, int | float) for factor in (left, right)):
                raise SyntaxError
            return left * right
        case ast.List() | ast.Tuple():
            return [_value(item, name) for item in node.elts]
        case _:
            try:
                return ast.literal_eval(node)
            except ValueError:
                known = ", ".join(_KNOWN)
                raise ValueError(
                    f"{name} may contain only numbers and the laws {known}; got {ast.unparse(node)!r}"
                ) from None
    values = {keyword.arg: _value(keyword.value, name) for keyword in node.keywords if keyword.arg}
    return make(*(_value(argument, name) for argument in node.args), **values)
