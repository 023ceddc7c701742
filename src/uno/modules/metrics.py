"""What a host counted."""

from dataclasses import asdict, dataclass, fields


@dataclass
class Metrics:
    """Counts of events. One that failed is neither handled nor unhandled."""

    events_dispatched: int = 0
    events_handled: int = 0
    events_unhandled: int = 0
    events_failed: int = 0
    events_retried: int = 0
    events_rate_limited: int = 0
    events_circuit_broken: int = 0
    events_dead_lettered: int = 0
    events_published: int = 0
    modules_registered: int = 0

    def to_dict(self) -> dict[str, int]:
        return asdict(self)

    def reset(self) -> None:
        """All to zero, but for the modules that are registered still."""
        for one in fields(self):
            if one.name != "modules_registered":
                setattr(self, one.name, 0)
