"""The doorbell: tells the Firstread gateway that something changed in Orthanc.

It carries no truth. The gateway reads Orthanc's own change log from a cursor of its own, once a second anyway;
the bell only makes it look sooner. So it may lose rings, and must never slow or fail a C-STORE: Orthanc's
storing thread sets a flag and goes on, one daemon thread posts, with a short time-out, and swallows failures.

Configuration, in Orthanc's own file: "Firstread": {"DoorbellUrl": "http://127.0.0.1:8080/events/orthanc"}.
"""

from __future__ import annotations

import http.client
import json
import threading
import urllib.request

import orthanc

_TIMEOUT_S = 1.0
_MOST_DELETED = 1000  # remembered between two rings; the gateway's own patrol finds the rest

_rung = threading.Event()
_deleted: set[str] = set()


def _on_change(change_type: int, level: int, resource_id: str) -> None:
    if change_type == orthanc.ChangeType.DELETED:
        if level == orthanc.ResourceType.STUDY and len(_deleted) < _MOST_DELETED:
            _deleted.add(resource_id)
            _rung.set()
    elif change_type in {orthanc.ChangeType.NEW_INSTANCE, orthanc.ChangeType.STABLE_STUDY}:
        _rung.set()


def _ring_for_ever(url: str) -> None:
    # No proxy: the gateway is this hospital's own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        _rung.wait()
        _rung.clear()
        deleted = [_deleted.pop() for _ in range(len(_deleted))]
        request = urllib.request.Request(  # noqa: S310 - the URL is the site's own configuration
            url,
            data=json.dumps({"deleted_studies": deleted}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with opener.open(request, timeout=_TIMEOUT_S):
                pass
        except (OSError, http.client.HTTPException):
            pass  # the gateway is away, or something else answers; it will read the change log when it is back


def _start() -> None:
    url = json.loads(orthanc.GetConfiguration()).get("Firstread", {}).get("DoorbellUrl", "")
    if not url:
        orthanc.LogWarning("Firstread: no DoorbellUrl configured; the gateway will look once a second instead")
        return
    threading.Thread(target=_ring_for_ever, args=(url,), name="firstread-doorbell", daemon=True).start()
    orthanc.RegisterOnChangeCallback(_on_change)


_start()
