"""Any graph: a cycle is found where there is one, and what has no problem resolves."""

from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

from hypothesis import given, strategies as st

from uno.di import Lifetime, ServiceProvider, scoped, singleton, transient

MARKS = {"singleton": singleton, "scoped": scoped, "transient": transient}
LIFETIMES: list[Lifetime] = ["singleton", "scoped", "transient"]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[int, list[int]], list[Lifetime], list[bool]]:
    size = draw(st.integers(1, 8))
    nodes = st.integers(0, size - 1)
    edges = {n: draw(st.lists(nodes, max_size=3, unique=True)) for n in range(size)}
    each = [st.lists(s, min_size=size, max_size=size) for s in (st.sampled_from(LIFETIMES), st.booleans())]
    return edges, draw(each[0]), draw(each[1])


def built(edges: dict[int, list[int]], lifetimes: list[Lifetime], awaited: list[bool]) -> tuple[list[type], list[Any]]:
    classes = [type(f"S{n}", (), {}) for n in edges]
    return classes, [_factory(n, classes, edges[n], lifetimes[n], awaited[n]) for n in edges]


def _factory(n: int, classes: list[type], needs: list[int], lifetime: Lifetime, awaited: bool) -> Any:
    def make(**given: Any) -> Any:
        made = classes[n]()
        made.__dict__.update(given)
        return made

    async def make_awaited(**given: Any) -> Any:
        return make(**given)

    names = [f"s{need}" for need in needs]
    source: Any = eval(f"lambda make: lambda {', '.join(names)}: make({', '.join(f'{m}={m}' for m in names)})")(make)
    if awaited:
        scope: dict[str, Any] = {"make": make_awaited}
        exec(f"async def f({', '.join(names)}): return await make({', '.join(f'{m}={m}' for m in names)})", scope)
        source = scope["f"]
    source.__annotations__ = {name: classes[need] for name, need in zip(names, needs, strict=True)}
    return MARKS[lifetime](provides=classes[n])(source)


def cyclic(edges: dict[int, list[int]]) -> bool:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError:
        return True
    return False


def lives_in_scope(n: int, edges: dict[int, list[int]], lifetimes: list[Lifetime]) -> bool:
    if lifetimes[n] != "transient":
        return lifetimes[n] == "scoped"
    return any(lives_in_scope(need, edges, lifetimes) for need in edges[n])


@given(graphs())
def test_a_cycle_is_found_where_there_is_one_and_its_path_is_real(
    graph: tuple[dict[int, list[int]], list[Lifetime], list[bool]],
) -> None:
    edges, _, awaited = graph
    _, factories = built(edges, ["transient"] * len(edges), awaited)
    found = [p for p in ServiceProvider(factories).problems() if p.kind == "cyclic dependency"]
    assert bool(found) == cyclic(edges)
    for problem in found:
        steps = [int(name[1:]) for name in problem.path]
        assert steps[0] == steps[-1]
        assert all(after in edges[before] for before, after in pairwise(steps))


@given(graphs())
def test_captives_are_found_exactly(graph: tuple[dict[int, list[int]], list[Lifetime], list[bool]]) -> None:
    edges, lifetimes, awaited = graph
    edges = {n: [need for need in needs if need < n] for n, needs in edges.items()}
    _, factories = built(edges, lifetimes, awaited)
    found = {(p.where, p.path[p.path.index(p.where) + 1]) for p in ServiceProvider(factories).problems()}
    assert found == {
        (f"S{n}", f"S{need}")
        for n, needs in edges.items()
        for need in needs
        if lifetimes[n] == "singleton" and lives_in_scope(need, edges, lifetimes)
    }


@given(graphs())
async def test_a_graph_without_problems_always_resolves(
    graph: tuple[dict[int, list[int]], list[Lifetime], list[bool]],
) -> None:
    edges, lifetimes, awaited = graph
    edges = {n: [need for need in needs if need < n] for n, needs in edges.items()}
    for n in edges:
        if lifetimes[n] == "singleton" and any(lives_in_scope(need, edges, lifetimes) for need in edges[n]):
            lifetimes[n] = "transient"
    classes, factories = built(edges, lifetimes, awaited)
    async with ServiceProvider(factories) as provider:
        assert provider.problems() == []
        async with provider.scope() as scope:
            for n, wanted in enumerate(classes):
                assert provider.needs_scope(wanted) == lives_in_scope(n, edges, lifetimes)
                made = await scope.get(wanted)
                assert {name: type(got) for name, got in vars(made).items()} == {f"s{m}": classes[m] for m in edges[n]}
                assert (await scope.get(wanted) is made) == (lifetimes[n] != "transient")
                if not provider.needs_scope(wanted):
                    assert type(await provider.get(wanted)) is wanted
