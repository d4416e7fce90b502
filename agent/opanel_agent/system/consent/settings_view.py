"""Shows the gate what it looks at of the settings."""

from opanel_agent.core.consent.gate import SettingsView
from opanel_agent.core.errors import AgentError
from opanel_agent.system.storage.settings import Settings


def settings_view(settings: Settings, refused: AgentError | None) -> SettingsView:
    """Returns the part of the settings that the gate looks at. `refused`: why the file is refused whole, if it is."""
    return SettingsView(
        check=settings.license_check,
        renew=settings.license_renew,
        advisories=settings.advisories,
        refused=None if refused is None else refused.detail,
    )
