"""Who comes on the lane, where there are keys: found once for each header."""

from typing import Final

from msgspec.structs import replace

from headrace.http.head import Passage
from headrace.http.identity import Identities, Identity, check_scopes
from headrace.wire.problems import Problem
from headrace.wire.route import scopes_of
from headrace.wire.routes import ROUTES

KNOWN_MAX: Final = 4_096
_ROUTES: Final = {route.name: route for route in ROUTES}


class Passages:
    """Passages with the callers that their keys name, by the identity of the object.

    The same header gives the same object (see `head`), so this is one look-up a request.
    """

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._stamp = -1
        self._known: dict[int, tuple[Passage, Passage]] = {}

    def of(self, passage: Passage) -> Passage | None:
        """Return it with its caller; None, if it may not come."""
        if self._stamp != self._identities.stamp():
            self._stamp = self._identities.stamp()
            self._known.clear()
        try:
            who = self._identities.find(*passage.identity)
            known = self._known.get(id(passage))
            if known is None:
                return self._learn(passage, who)
        except Problem:
            return None
        return known[1]

    def _learn(self, passage: Passage, who: Identity) -> Passage:
        route = _ROUTES[passage.route]
        check_scopes(who, scopes_of(route), of_server=route.of_server)
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        rate = who.rate
        is_single = passage.is_single and (rate is None or rate.jobs is None)
        let_in = replace(passage, caller=who.caller, rate=rate, is_single=is_single)
        self._known[id(passage)] = passage, let_in
        return let_in
