"""Bytes to commands and replies to bytes: a hundred jobs each."""

from parts import BATCH, Parts, Rounds, body

from headrace.bench import http


def test_submit_of_100_is_decoded(parts: Parts, rounds: Rounds) -> None:
    many = body(http.submit(BATCH))
    rounds(parts.submit_command, lambda: many)


def test_submit_of_one_is_decoded(parts: Parts, rounds: Rounds) -> None:
    one = body(http.submit())
    rounds(parts.submit_command, lambda: one)


def test_poll_with_100_reports_is_decoded(parts: Parts, rounds: Rounds) -> None:
    parts.fill(1_000)
    ending = parts.ending(parts.lease())
    rounds(parts.poll_question, lambda: ending)


def test_answer_with_100_jobs_is_encoded(parts: Parts, rounds: Rounds) -> None:
    parts.fill(1_000)
    question = parts.poll_question(parts.wanting(BATCH))
    reply = parts.do(question.command)
    assert len(reply.jobs) == BATCH
    rounds(question.answer, lambda: reply)
