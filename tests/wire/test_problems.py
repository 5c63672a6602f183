import json

from headrace.wire.problems import PROBLEMS, Problem, ProblemCode


def test_every_code_has_a_status_of_an_error_and_a_title_of_its_own() -> None:
    assert PROBLEMS.keys() == set(ProblemCode)
    assert all(400 <= row.status < 600 for row in PROBLEMS.values())
    titles = [row.title for row in PROBLEMS.values()]
    assert len(set(titles)) == len(titles)
    assert not any(title.endswith(".") for title in titles)


def test_every_code_says_what_to_do_next_in_words_of_its_own() -> None:
    advice = [row.advice for row in PROBLEMS.values()]
    assert len(set(advice)) == len(advice)
    for text in advice:
        assert text[0].isupper(), text
        assert not text.endswith("."), text
        assert 20 <= len(text) <= 120, text


def test_rows_stand_in_order_of_precedence() -> None:
    assert list(PROBLEMS) == sorted(PROBLEMS)


def test_only_what_may_pass_is_retryable() -> None:
    retryable = {PROBLEMS[code].status for code in PROBLEMS if PROBLEMS[code].retryable}
    assert retryable <= {408, 429, 503, 507}


def test_members_are_those_of_rfc_9457_and_ours() -> None:
    problem = Problem(
        ProblemCode.QUEUE_FULL,
        "wait",
        pointer="/a",
        retry_after_ms=5,
        extra={"job_status": "queued"},
    )
    assert problem.members() == {
        "type": "urn:headrace:problem:queue_full",
        "title": "The queue is full",
        "status": 429,
        "detail": "wait",
        "advice": PROBLEMS[ProblemCode.QUEUE_FULL].advice,
        "code": "queue_full",
        "retryable": True,
        "pointer": "/a",
        "retry_after_ms": 5,
        "job_status": "queued",
    }
    json.dumps(problem.members())


def test_what_is_not_known_is_left_out() -> None:
    members = Problem(ProblemCode.INTERNAL, "x").members()
    assert "pointer" not in members
    assert "retry_after_ms" not in members


def test_problems_are_equal_by_what_they_say() -> None:
    first, second = Problem(ProblemCode.FORBIDDEN, "a"), Problem(ProblemCode.FORBIDDEN, "a")
    assert first == second
    assert hash(first) == hash(second)
    assert first != Problem(ProblemCode.FORBIDDEN, "b")
    assert first != "a"
