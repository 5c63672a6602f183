"""What is free is what is not reserved."""

from headrace.worker.ledger import Ledger, Offer

TOTAL = Offer(cpu_milli=2_000, memory_mb=1_000, storage_mb=50, gpu_milli=1_000, gpu_model="A100")


def test_amounts_and_slots_come_back_when_an_attempt_is_over() -> None:
    ledger = Ledger(TOTAL, 2)
    ledger.reserve("a", {"cpu_cores": 0.1, "memory_mb": 300, "gpu_count": 0.5})
    ledger.reserve("b", {})
    free = ledger.free()
    assert (free.cpu_milli, free.memory_mb, free.storage_mb, free.gpu_milli) == (
        1_900,
        700,
        50,
        500,
    )
    assert ledger.slots_free == 0
    ledger.release("a")
    ledger.release("b")
    assert ledger.free() == TOTAL
    assert ledger.slots_free == 2


def test_many_small_parts_of_a_core_add_up_exactly() -> None:
    ledger = Ledger(TOTAL, 100)
    for number in range(20):
        ledger.reserve(str(number), {"cpu_cores": 0.1})
    assert ledger.free().cpu_milli == 0
    assert ledger.free().resources().gpu_type == "A100"
