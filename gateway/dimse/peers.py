"""Who a peer is, and what it may do: by the name in its certificate, or else by its AE title.

An AE title is what the peer says of itself: it is worth as much as the addresses that may use it (admission.py). The
name in a certificate is proved.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.dimse.association import GuestAssociation
from worklist.reading import Actor, ActorSource
from worklist.roles import EVERY_ROLE, Role
from worklist.sight import CERTIFICATE, Sites


class PeerRoles:
    """Tells who asks.

    Args:
        roles: by AE title, or by "tls:" and the name in a certificate; whoever is not named is a service. None where
            nobody is asked to log in: then everybody may do everything.
        sites: that share the list, and who sees which.
    """

    def __init__(self, roles: Mapping[str, Role] | None = None, sites: Sites | None = None) -> None:
        self._roles = roles
        self._sites = sites or Sites()

    def actor(self, association: GuestAssociation) -> Actor:
        """The peer of an association."""
        title = str(association.requestor.ae_title).strip()
        return Actor(
            name=title or "A workstation",
            source=ActorSource.DICOM,
            roles=EVERY_ROLE
            if self._roles is None
            else frozenset({self._role(title, association.certified, self._roles)}),
            address=association.place,
            sight=self._sites.sight(self._sites.of_peer(title, association.certified)),
        )

    def _role(self, title: str, certified: frozenset[str], roles: Mapping[str, Role]) -> Role:
        proved = [roles[name] for name in sorted(f"{CERTIFICATE}{one}" for one in certified) if name in roles]
        return proved[0] if proved else roles.get(title, Role.SERVICE)
