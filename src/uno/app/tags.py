"""What tells two states of one object apart (entity tags, RFC 9110, section 8.8.3)."""

import json
from base64 import urlsafe_b64encode
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from uno.app.representation import shown

if TYPE_CHECKING:
    from uno.app.resources import Resource

_BYTES = 18


def tag_of(resource: "Resource", entity: Any) -> str:
    """Its version; where it has none, a hash of what can be seen of it. In quotes, as in headers."""
    version = resource.plan.version_name
    if version is not None:
        return f'"{getattr(entity, version)}"'
    text = json.dumps(shown(resource, entity), separators=(",", ":"), sort_keys=True)
    return f'"{urlsafe_b64encode(blake2b(text.encode(), digest_size=_BYTES).digest()).decode()}"'
