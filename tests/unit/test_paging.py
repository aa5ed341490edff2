"""The arguments of a connection, and the page made from the rows they fetch."""

from __future__ import annotations

import pytest

from persistence.errors import FieldError, InvalidArgument
from persistence.model.paging import DEFAULT_PAGE, MAX_PAGE, Page, PageRequest, page_of, page_request


def test_nothing_asked_for_means_the_first_fifty() -> None:
    assert page_request(None, None, None, None) == PageRequest(DEFAULT_PAGE)
    assert DEFAULT_PAGE == 50


def test_first_reads_forward_and_last_backward() -> None:
    assert page_request(10, "c", None, "x") == PageRequest(10, "c", "x", backward=False)
    assert page_request(None, "c", 10, "x") == PageRequest(10, "c", "x", backward=True)


def test_a_cursor_alone_keeps_the_default_size() -> None:
    assert page_request(None, "c", None, None) == PageRequest(DEFAULT_PAGE, "c")


@pytest.mark.parametrize("size", [1, MAX_PAGE])
def test_a_size_within_bounds_is_taken(size: int) -> None:
    assert page_request(size, None, None, None).limit == size
    assert page_request(None, None, size, None).limit == size


@pytest.mark.parametrize("size", [-1, 0, MAX_PAGE + 1])
def test_a_size_out_of_bounds_is_refused_under_the_name_it_was_given(size: int) -> None:
    with pytest.raises(InvalidArgument) as forward:
        page_request(size, None, None, None)
    with pytest.raises(InvalidArgument) as backward:
        page_request(None, None, size, None)
    assert forward.value.errors == (FieldError("first", f"must be between 1 and 500, not {size}"),)
    assert backward.value.errors == (FieldError("last", f"must be between 1 and 500, not {size}"),)


def test_first_and_last_exclude_each_other() -> None:
    with pytest.raises(InvalidArgument) as caught:
        page_request(1, None, 1, None)
    assert [error.field for error in caught.value.errors] == ["last"]


@pytest.mark.parametrize(
    ("rows", "request_", "page"),
    [
        ([], PageRequest(2), Page([], has_next=False, has_previous=False)),
        ([1, 2], PageRequest(2), Page([1, 2], has_next=False, has_previous=False)),
        ([1, 2, 3], PageRequest(2), Page([1, 2], has_next=True, has_previous=False)),
        ([1, 2, 3], PageRequest(2, after=0), Page([1, 2], has_next=True, has_previous=True)),
        ([1], PageRequest(2, after=0), Page([1], has_next=False, has_previous=True)),
        ([9, 8], PageRequest(2, backward=True), Page([8, 9], has_next=False, has_previous=False)),
        ([9, 8, 7], PageRequest(2, backward=True), Page([8, 9], has_next=False, has_previous=True)),
        ([9, 8, 7], PageRequest(2, before=10, backward=True), Page([8, 9], has_next=True, has_previous=True)),
        ([9], PageRequest(2, before=10, backward=True), Page([9], has_next=True, has_previous=False)),
    ],
)
def test_the_row_too_many_and_the_cursor_tell_what_lies_beyond(
    rows: list[int], request_: PageRequest[int], page: Page[int]
) -> None:
    assert page_of(rows, request_) == page
