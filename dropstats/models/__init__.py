"""Whole models: every dropout draw found, recorded and judged.

A framework is one file (or folder) here, imported only where its library is; `frameworks.py` lists it. It gives:

1. `matches(model)`: whether this is one of its models; `name_of(model)`: what a report calls it.
2. `declared(model)`: the rates that its modules declare, a list of `Declared`.
3. `Passes(model, inputs, keywords)`: a context that leaves the model as it was, with
   `run(sites, gradient=, seed=)`, which runs it once, hands each draw to the sites and returns the output's arrays;
   `equal(output, output)`; `described()`; `called`, rates that are declared only where modules are called; and, where
   `has_modes`, `set_mode(training)` and `state()`, whose `changed()` lists what differs by then.
4. Where models are trained by a loop, `watching(model, sites)`: a context that hands each draw to `sites`.
A draw goes to `sites.add(Draw(...))`; one that is no mask to `sites.unread`; a new pass begins with `sites.begin(...)`.
"""

from dropstats.models.auditor import audit_model
from dropstats.models.report import ModelReport, SiteReport
from dropstats.models.watching import Draws, watch

__all__ = ["Draws", "ModelReport", "SiteReport", "audit_model", "watch"]
