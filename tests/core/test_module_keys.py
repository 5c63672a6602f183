from hypothesis import given
from hypothesis import strategies as st

from headrace.core.commands import TENANT_DEFAULT
from headrace.core.ids import ID_BYTES
from headrace.core.module_keys import module_key, module_sha256

SHA = bytes(range(32))


@given(st.sets(st.text(max_size=20), min_size=2), st.binary(min_size=32, max_size=32))
def test_tenants_have_keys_of_their_own_for_the_same_bytes(tenants: set[str], sha: bytes) -> None:
    keys = {module_key(tenant, sha) for tenant in tenants}
    assert len(keys) == len(tenants)
    assert {module_sha256(key) for key in keys} == {sha}
    assert all(len(key) > ID_BYTES for key in keys), "none is taken for a job's id"


def test_a_key_of_the_default_tenant_is_nobody_elses() -> None:
    assert module_key(TENANT_DEFAULT, SHA) == SHA
    assert len(module_key("a", SHA)) != len(SHA)


def test_no_module_has_no_key() -> None:
    assert module_key("a", b"") == b""
