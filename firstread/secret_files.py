"""Secrets that lie in files, as an orchestrator mounts them: FIRSTREAD_ORTHANC_PASSWORD_FILE names such a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource, PydanticBaseSettingsSource

from worklist.errors import InvalidInput

SECRETS: Final = (
    "database_url",
    "broker_url",
    "orthanc_password",
    "doorbell_secret",
    "explainer_api_key",
    "oidc_client_secret",
    "api_key",
)
"""Settings that hold a password, each of which may lie in a file that FIRSTREAD_<SETTING>_FILE names."""


class SecretFiles(PydanticBaseSettingsSource):
    """A source of settings, whose files are named in the environment or in .env."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[str | None, str, bool]:
        """One secret, without the end of its file's last line; None where no file is named."""
        del field
        variable = f"{self.config.get('env_prefix', '')}{field_name}".upper()
        named = {
            name.upper(): value
            for source in (DotEnvSettingsSource(self.settings_cls), EnvSettingsSource(self.settings_cls))
            for name, value in source.env_vars.items()
        }
        path = named.get(f"{variable}_FILE")
        if not path:
            return None, field_name, False
        if named.get(variable):
            raise InvalidInput("bad_settings", f"{variable} and {variable}_FILE are both set: keep one of them")
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no text"
            raise InvalidInput("bad_settings", f"{variable}_FILE: {path} cannot be read ({why}): mend it") from error

    def __call__(self) -> dict[str, Any]:
        """All of them."""
        fields = self.settings_cls.model_fields
        read = {name: self.get_field_value(fields[name], name)[0] for name in SECRETS}
        return {name: secret for name, secret in read.items() if secret is not None}
