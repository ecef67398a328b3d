"""Settings of who may come in and what they may do; firstread.settings has all others."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from worklist.roles import Role
from worklist.sight import ALL, Sites, institution_key


def _check_origin(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or "@" in parts.netloc:
        raise PydanticCustomError("origin", "must be scheme and name alone, as https://firstread.hospital")
    return url.rstrip("/")


def _check_issuer(url: str) -> str:
    parts = urlsplit(url)
    is_near = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if not (parts.scheme == "https" or is_near) or not parts.hostname or "@" in parts.netloc:
        raise PydanticCustomError("issuer", "must be an address that starts with https://, without a login in it")
    return url


class AccessSettings(BaseSettings):
    """What a site can choose of its door and its logins."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    http_host: str = "127.0.0.1"
    """Where the gateway listens; anywhere but on this machine it needs auth=on."""
    http_published_host: str = ""
    """Where the gateway's port is published to others, where a container listens at every address of its own; empty
    for http_host."""
    public_url: Annotated[str, AfterValidator(_check_origin)] | None = None
    """Address by which people call this gateway, as https://firstread.hospital: logins return there, and where it is
    https, browsers are told to use nothing else."""
    allowed_hosts: frozenset[str] = frozenset()
    """Names by which browsers and machines call this gateway, beside localhost and any address, as JSON:
    ["firstread.hospital"]; what is addressed to another name is refused, so that no foreign page can read the list."""
    max_connections: int = Field(default=800, ge=10)
    """So many connections are served at one time; each open list is one. More are answered 503."""
    trusted_proxies: frozenset[str] = frozenset()
    """Addresses or networks of the reverse proxies whose X-Remote-User names the reader, as JSON: ["127.0.0.1"]."""

    auth: Literal["off", "on"] = "off"
    """Whether people and machines must log in. off is for this machine alone: a gateway that others reach refuses to
    start with it."""
    oidc_issuer: Annotated[str, AfterValidator(_check_issuer)] | None = None
    """With auth=on: the hospital's identity provider (OpenID Connect), as it stands in its tokens."""
    oidc_client_id: str = "firstread"
    """This gateway's name there."""
    oidc_client_secret: SecretStr = SecretStr("")
    """Its password there; empty for a public client."""
    oidc_scopes: str = "openid profile"
    """What is asked for, with spaces between."""
    oidc_roles_claim: str = "roles"
    """The claim that tells roles or groups: roles (Entra), groups, or realm_access.roles (Keycloak)."""
    oidc_name_claim: str = "preferred_username"
    """The claim that names people."""
    oidc_audience: str = ""
    """For whom access tokens of machines must be; where empty, none are taken."""
    oidc_ca_file: Path | None = None
    """PEM file of the authority that the provider's certificate comes from, where it is the hospital's own."""
    proxy_login: bool = False
    """With auth=on: whether X-Remote-User and X-Remote-Roles of a trusted proxy log in. The proxy must replace both."""
    api_keys_file: Path | None = None
    """File of the hashed keys of machines, which `firstread keys` writes; read again when it changes."""
    api_key: SecretStr = SecretStr("")
    """A key for the command line itself: worklist and doctor send it to the gateway."""
    role_names: dict[str, Role] = {}
    """What the hospital's groups are here, as JSON: {"radiology-doctors": "radiologist"}; the roles' own names hold
    anyway: radiologist, technologist, qa, it, service."""
    default_role: Role | None = None
    """Role of people whose login names none of these; where unset, they are told to ask for one."""
    sites: dict[Annotated[str, Field(pattern="^[A-Za-z0-9._-]{1,64}$")], frozenset[str]] = {}
    """With auth=on, where several sites share the list: the Institution Names (0008,0080) of each, as JSON:
    {"north": ["North Hospital"], "south": ["South Hospital", "South Clinic"]}. Whoever asks then sees what
    FIRSTREAD_SEES names and nothing else; where empty, everybody sees everything."""
    sees: dict[str, frozenset[str]] = {}
    """Which sites are seen, by the hospital's groups, and by API key, AE title and name in a certificate, as JSON:
    {"radiology-north": ["north"], "pacs-team": ["*"], "key:viewer": ["*"], "ae:WS1": ["south"], "tls:ws2": ["south"]};
    * is every site, and what belongs to none. Who is not named sees nothing."""
    dimse_roles: dict[str, Role] = {}
    """With auth=on: roles of DICOM peers by AE title, or by the name in their certificate, as JSON:
    {"WS1": "radiologist", "tls:ws2.hospital": "radiologist"}; any other peer is a service."""
    session_idle_min: float = Field(default=60.0, gt=0, le=60 * 24 * 31)
    """A login ends after so many minutes without a request; a list that is merely open is none."""
    session_h: float = Field(default=12.0, gt=0, le=24 * 31)
    """A login ends after so many hours in any case."""
    audit_syslog: str = ""
    """The hospital's audit repository, to which the audit trail is told: tls://HOST:6514 or udp://HOST:514; empty for
    none."""
    audit_ca_file: Path | None = None
    """PEM file of the authority that its certificate comes from, where it is the hospital's own."""
    requests_per_min: int = Field(default=3000, ge=60)
    """Requests of one user or machine in a minute; more are answered 429."""

    @model_validator(mode="after")
    def _require_a_way_in(self) -> Self:
        if self.auth == "on" and not (self.oidc_issuer or self.proxy_login or self.api_keys_file):
            raise PydanticCustomError(
                "contradiction",
                "FIRSTREAD_AUTH=on lets nobody in: set FIRSTREAD_OIDC_ISSUER, FIRSTREAD_PROXY_LOGIN or "
                "FIRSTREAD_API_KEYS_FILE",
            )
        if self.oidc_issuer and not self.public_url:
            raise PydanticCustomError(
                "contradiction", "FIRSTREAD_OIDC_ISSUER needs FIRSTREAD_PUBLIC_URL, where people come back to"
            )
        if self.proxy_login and not self.trusted_proxies:
            raise PydanticCustomError(
                "contradiction", "FIRSTREAD_PROXY_LOGIN needs the proxies' addresses in FIRSTREAD_TRUSTED_PROXIES"
            )
        return self

    @model_validator(mode="after")
    def _require_known_sites(self) -> Self:
        if (self.sites or self.sees) and self.auth == "off":
            raise PydanticCustomError(
                "contradiction", "FIRSTREAD_SITES and _SEES need FIRSTREAD_AUTH=on: without a login nobody is known"
            )
        if unknown := sorted(frozenset().union(*self.sees.values()) - {*self.sites, ALL}):
            raise PydanticCustomError(
                "contradiction", f"FIRSTREAD_SEES names {', '.join(unknown)}, which FIRSTREAD_SITES does not"
            )
        names = [institution_key(name) for known in self.sites.values() for name in known]
        if not all(names) or len(set(names)) < len(names):
            raise PydanticCustomError(
                "contradiction", "FIRSTREAD_SITES: each Institution Name is one site's, and none is empty"
            )
        return self

    @property
    def shared_by(self) -> Sites:
        """The sites that share the list."""
        return Sites(institutions=self.sites, seen_by=self.sees)

    @property
    def is_login_required(self) -> bool:
        """Whether people and machines must log in."""
        return self.auth == "on"

    @property
    def is_https(self) -> bool:
        """Whether people call the gateway by https."""
        return (self.public_url or "").startswith("https:")

    @property
    def bearer(self) -> dict[str, str]:
        """The header by which the command line logs in at the gateway."""
        key = self.api_key.get_secret_value()
        return {"Authorization": f"Bearer {key}"} if key else {}

    @property
    def reached_at(self) -> str:
        """The address at which others reach the gateway."""
        return self.http_published_host or self.http_host

    @property
    def names(self) -> frozenset[str]:
        """Names by which the gateway is called."""
        public = urlsplit(self.public_url or "").hostname
        return self.allowed_hosts | ({public} if public else set())


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
