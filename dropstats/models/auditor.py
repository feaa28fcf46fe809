"""The audit of a whole model, by passes that are made for it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dropstats import _progress, _validate
from dropstats.laws import Law
from dropstats.models import checks, frameworks, results
from dropstats.models.report import ModelReport
from dropstats.models.sites import NEURONS, Declared, Sites

# Seeds of the passes that are compared: any two numbers.
_SEEDS = (20_140_615, 20_140_615, 19_841_026)


def audit_model(
    model: Any,
    *inputs: Any,
    calls: int = 64,
    p: Mapping[str, float] | None = None,
    laws: Mapping[str, Law] | None = None,
    false_alarm: float = 1e-3,
    neurons: int = NEURONS,
    evaluation: Callable[..., Any] | None = None,
    progress: Any = None,
    **keywords: Any,
) -> ModelReport:
    """Test whether every dropout mask that a model draws follows the law that the model declares.

    The model runs `calls` times in training mode on the inputs, each of its draws is recorded and audited as `audit`
    does, and checks across the draws follow: `coverage`, `evaluation`, `state`, `seeds`, `recomputed`, `gradient`,
    `sites`, `scale`, `mean`; docs/models.md says what each catches. Afterwards the model's mode, its buffers and
    gradients, and the random state are restored.

    Parameters
    ----------
    model : torch.nn.Module, keras.Model or Layer, flax.nnx.Module, equinox Module, or a function of a JAX key
    *inputs, **keywords
        Arguments of the model. A single mapping whose keys are names of arguments is taken as keyword arguments.
    calls : int
        Number of passes in training mode, at least 2.
    p : mapping of str to float, optional
        Declared drop probability of sites; it overrides that of their modules.
    laws : mapping of str to law, optional
        Law of a site's masks; one with fewer neurons than a mask is applied to each stretch of that many neurons.
    false_alarm : float
        Probability, in (0, 1), that a correct model fails, for all sites and checks together.
    neurons : int
        Largest number of neurons stored for a site over all calls: the first positions of each mask.
    evaluation : callable, optional
        For a function of a JAX key: the function in evaluation mode, with the same arguments. Other models have modes
        of their own.
    progress : bool or callable, optional
        True shows a progress bar of what takes more than a second; a callable such as ``tqdm.notebook.tqdm`` shows one
        of its own.

    Returns
    -------
    ModelReport
        Print it for a table.

    Raises
    ------
    TypeError
        If the model belongs to no known framework, or is a function that does not take a key and the inputs, or
        `progress` is no bool and cannot be called.
    ValueError
        If the model has no dropout, a site in `p` or `laws` does not exist, or the calls are too few.
    """
    _progress.check(progress)
    found = frameworks.of(model)
    calls = _validate.integer(calls, "calls", minimum=2, maximum=2**31)
    false_alarm, neurons = _validate.open_probability(false_alarm, "false_alarm"), results.kept(neurons)
    sites = Sites(neurons)
    modes = () if evaluation is None else (evaluation,)
    if modes and not getattr(found, "is_function", lambda model: False)(model):
        raise TypeError(f"evaluation is for functions of a JAX key; a {found.name_of(model)} has modes of its own")
    with found.Passes(model, inputs, keywords, *modes) as passes:
        declared: Sequence[Declared] = found.declared(model)
        if passes.has_modes:
            passes.set_mode(True)
            declared = results.active(declared, found.declared(model))
        for call in _progress.shown(range(calls), calls, "passes in training mode", "pass", progress, 1):
            with _noted(f"in training mode, call {call + 1} of {calls}, on inputs of shape {passes.described()}"):
                passes.run(sites, gradient=call == 0)
            if call == 0:
                declared = [*declared, *passes.called]
            if call == 0 and not sites and not sites.unread and not any(0 < rate.p < 1 for rate in declared):
                why = "in which no module declares a rate above 0 and nothing is drawn in training mode"
                if not passes.has_modes:
                    why = "which draws nothing from its key or any other"
                raise ValueError(f"model must have dropout; got {found.name_of(model)}, {why}")
        seeds = tuple(Sites(neurons // calls + 64) for _ in _SEEDS)
        for seed, part in zip(_SEEDS, seeds, strict=True):
            passes.run(part, seed=seed)
        evaluated = again = None
        if passes.has_modes:
            evaluated = _evaluate(passes, neurons)
            again = Sites(neurons // calls + 64)
            passes.set_mode(True)
            passes.run(again)
    return results.report(
        found.name_of(model),
        sites,
        declared,
        p=p,
        laws=laws,
        library=frameworks.version(found),
        false_alarm=false_alarm,
        evaluation=evaluated,
        modeless="" if passes.has_modes else "a function has no modes: give evaluation=, the same in evaluation mode",
        again=again,
        seeds=seeds,
        progress=progress,
    )


def _evaluate(passes: Any, neurons: int) -> checks.Evaluation:
    """Make two passes in evaluation mode and return what they showed."""
    sites = Sites(neurons)
    passes.set_mode(False)
    before = passes.state()
    with _noted("in evaluation mode"):
        first, second = passes.run(sites), passes.run(sites)
    draws = [*sites.evaluated, *sites.named(), *(site for site, _ in sites.unread)]
    return checks.Evaluation(
        list(dict.fromkeys(draws)), passes.equal(first, second), before.changed(), unused=list(sites.unused)
    )


@contextmanager
def _noted(what: str) -> Iterator[None]:
    """Add to an error of the model in which pass it was raised."""
    try:
        yield
    except Exception as error:
        error.add_note(f"dropstats: raised by the model {what}")
        if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
            error.add_note("dropstats: no memory is left for a pass as in training: give smaller inputs")
        raise
