"""What was read in one dialect can be read on in another."""

import copy
from itertools import product

from hypothesis import given

from tests.properties import expected
from tests.properties.answers import Answer, answers
from tests.properties.dialects import DIALECTS, Dialect
from tests.support.readers.dialects import read
from tests.support.readers.reading import Reading


@given(answers(given=False, max_blocks=3))
def test_head_and_tail_are_the_whole_answer(answer: Answer) -> None:
    heads: dict[tuple[Dialect, int], Reading] = {}
    tails: dict[tuple[Dialect, int], bytes] = {}
    for dialect, position in product(DIALECTS, answer.positions):
        head = dialect.replay([event for event in answer.events if event.seq <= position])
        heads[dialect, position] = read(dialect.name, head)
        tails[dialect, position] = dialect.replay(answer.events, after=position)
    for first, then in product(DIALECTS, DIALECTS):
        server_calls = first.server_calls and then.server_calls
        whole = expected.told(answer).said(server_calls=server_calls)
        # A head that tells nothing of the upstream's own tools does not say that a tail's input is one of theirs.
        unclear = set() if first.server_calls else answer.inside_server_calls()
        for position in set(answer.positions) - unclear:
            reading = read(then.name, tails[then, position], copy.deepcopy(heads[first, position]))
            told_by = first if heads[first, position].end else then
            assert reading.said(server_calls=server_calls) == whole, (first.name, then.name, position)
            assert reading.end == expected.end(told_by, answer), (first.name, then.name, position)
