"""Several source domains → one domain whose rows know their origins."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import pyarrow as pa
import torch
from torch import Tensor

from jointadapt.data.domain import Domain
from jointadapt.data.labels import encode_labels
from jointadapt.data.mapped import MappedRows
from jointadapt.data.table_rows import TableRows, some_names
from jointadapt.errors import UserError

MOST_NAMED = 5  # sources that a name lists


def several_names(names: Sequence[str]) -> str:
    """Return what several domains are called as one.

    >>> several_names(["amazon", "dslr"])
    'amazon+dslr'
    """
    more = len(names) - MOST_NAMED
    return "+".join([*names[:MOST_NAMED], *([f"{more} more"] if more > 0 else [])])


def pool(domains: Sequence[Domain]) -> Domain:
    """Return the rows of several domains as one, one after the other; `origins` says where each is from.

    One domain alone is returned as it is. Classes are joined by their names, and need not be in every domain; columns
    with names are matched by them, and those that only some domains have are left out. What holds no rows in memory,
    or of another kind or shape than the first, is a `UserError`.

    >>> from jointadapt.data import from_arrays
    >>> a, b = from_arrays([[1.0], [2.0]], ["cat", "dog"], "a"), from_arrays([[3.0]], ["owl"], "b")
    >>> both = pool([a, b])
    >>> both.name, both.classes, both.labels.tolist(), both.origins.tolist()
    ('a+b', ('cat', 'dog', 'owl'), [0, 1, 2], [0, 0, 1])
    """
    first, *others = domains
    if not others:
        return first
    for other in others:
        if (other.kind, other.holds_images) != (first.kind, first.holds_images):
            raise UserError(
                f"{first.name} holds {first.kind}, {other.name} {other.kind}; give several sources of one kind."
            )
    classes = _classes(domains)
    domains = [domain.in_classes(classes)[0] for domain in domains]
    content, columns, notes = _content(domains)
    names = [name for domain in domains for name in domain.origin_names or (domain.name,)]
    first_origins = [0, *accumulate(len(domain.origin_names or (domain.name,)) for domain in domains)]
    return replace(
        first,
        name=several_names(names),
        content=content,
        labels=torch.cat([domain.labels for domain in domains]),
        classes=classes,
        items=tuple(_item(domain, item) for domain in domains for item in domain.items),
        notes=(*(note for domain in domains for note in domain.notes), *notes),
        skipped=sum(domain.skipped for domain in domains),
        columns=columns,
        groups=_groups(domains),
        weights=_weights(domains),
        origins=torch.cat([_origins(d, start) for d, start in zip(domains, first_origins, strict=False)]),
        origin_names=_told_apart(names),
    )


def _classes(domains: Sequence[Domain]) -> tuple[str, ...]:
    """Return the names of all classes, sorted as `encode_labels` does, but for other spellings of those before."""
    known = domains[0].classes
    if all(domain.classes == known for domain in domains):
        return known
    for domain in domains[1:]:
        known += tuple(domain.in_classes(known)[1])
    found = encode_labels([*known], len(known), "the classes of all sources").classes
    return found if set(found) == set(known) else known


def _content(domains: Sequence[Domain]) -> tuple[Tensor | TableRows | tuple, tuple[str, ...], tuple[str, ...]]:
    """Return all rows, the names of their columns, and notes on columns that are left out."""
    contents = [domain.content for domain in domains]
    if all(isinstance(content, TableRows) for content in contents):
        names = [content.names for content in contents if isinstance(content, TableRows)]
        shared, notes = _shared(names, domains)
        tables = [_decoded(c.table.select([*shared])) for c in contents if isinstance(c, TableRows)]
        try:
            return TableRows(pa.concat_tables(tables, promote_options="permissive")), (), notes
        except pa.ArrowException as error:
            raise UserError(f"the sources' tables have columns of other types ({error}); write them alike.") from error
    if all(isinstance(content, tuple) for content in contents):
        return tuple(picture for content in contents if isinstance(content, tuple) for picture in content), (), ()
    if not all(isinstance(content, Tensor) for content in contents):
        kept = next(domain for domain in domains if not isinstance(domain.content, Tensor))
        on_disk = isinstance(kept.content, MappedRows)
        raise UserError(
            f"several sources need rows in memory of one kind, and those of {kept.name} "
            + ("stay on disk; give a smaller file." if on_disk else "are made as they are asked for; give arrays.")
        )
    columns, notes = domains[0].columns, ()
    if all(domain.columns for domain in domains):
        columns, notes = _shared([domain.columns for domain in domains], domains)
        contents = [
            d.content[:, [d.columns.index(name) for name in columns]] for d in domains if isinstance(d.content, Tensor)
        ]
    tensors = [content for content in contents if isinstance(content, Tensor)]
    for domain, tensor in zip(domains, tensors, strict=True):
        if tensor.shape[1:] != tensors[0].shape[1:]:
            raise UserError(
                f"rows of {domains[0].name} have shape {tuple(tensors[0].shape[1:])}, those of {domain.name} "
                f"{tuple(tensor.shape[1:])}; give all sources the same features."
            )
    return torch.cat(tensors), columns, notes


def _shared(names: Sequence[Sequence[str]], domains: Sequence[Domain]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns that all domains have, in the first one's order, and a note on the others."""
    shared = tuple(name for name in names[0] if all(name in own for own in names))
    if not shared:
        raise UserError(
            f"{domains[0].name} and {domains[1].name} have no column in common ({some_names(names[0])}; "
            f"{some_names(names[1])}); give sources with the same columns."
        )
    others = [*dict.fromkeys(name for own in names for name in own if name not in shared)]
    note = f"columns that only some of the sources have are left out: {some_names(others)}."
    return shared, (note,) if others else ()


def _decoded(table: pa.Table) -> pa.Table:
    """Return a table whose categories are the texts, or numbers, that they stand for."""
    kinds = [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in table.schema]
    return table.cast(pa.schema(kinds))


def _origins(domain: Domain, start: int) -> Tensor:
    own = torch.zeros(len(domain), dtype=torch.long) if domain.origins is None else domain.origins
    return own + start


def _groups(domains: Sequence[Domain]) -> Tensor | None:
    """Return the groups of all rows; a row of a domain without any is a group of its own."""
    if all(domain.groups is None for domain in domains):
        return None
    found, start = [], 0
    for domain in domains:
        own = torch.arange(len(domain)) if domain.groups is None else domain.groups.unique(return_inverse=True)[1]
        found.append(own + start)
        start += int(own.max()) + 1
    return torch.cat(found)


def _weights(domains: Sequence[Domain]) -> Tensor | None:
    if all(domain.weights is None for domain in domains):
        return None
    return torch.cat([torch.ones(len(d)) if d.weights is None else d.weights for d in domains])


def _item(domain: Domain, item: str) -> str:
    """Return what a row is called among those of several domains: files have names that say whose they are."""
    return item if domain.holds_images or domain.origins is not None else f"{domain.name}: {item}"


def _told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, those that are there more than once with a number.

    >>> _told_apart(["train", "train", "b"])
    ('train', 'train 2', 'b')
    """
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return tuple(found)
