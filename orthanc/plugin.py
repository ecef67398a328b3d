"""The doorbell: tells the Firstread gateway that something changed in Orthanc; and how much room Orthanc has left.

It carries no truth. The gateway reads Orthanc's own change log from a cursor of its own, once a second anyway;
the bell only makes it look sooner. So it may lose rings, and must never slow or fail a C-STORE: Orthanc's
storing thread sets a flag and goes on, one daemon thread posts, with a short time-out, and swallows failures.

GET /firstread/storage tells what is free on the disks of Orthanc's own storage, which its REST interface does not.

With OrderUrl Orthanc's own C-FIND answers in reading order; see find_in_order.py beside this file. Both ask by the
DoorbellSecret.

Configuration, in Orthanc's own file:
"Firstread": {
  "DoorbellUrl": "http://127.0.0.1:8080/events/orthanc", "DoorbellSecret": "as FIRSTREAD_DOORBELL_SECRET",
  "OrderUrl": "http://127.0.0.1:8080/worklist/order"
}
"""

from __future__ import annotations

import http.client
import json
import shutil
import threading
import urllib.request
from typing import Any

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


def _ring_for_ever(url: str, secret: str) -> None:
    # No proxy: the gateway is this hospital's own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Content-Type": "application/json"}
    if secret:
        headers["Authorization"] = f"Bearer {secret}"
    while True:
        _rung.wait()
        _rung.clear()
        deleted = [_deleted.pop() for _ in range(len(_deleted))]
        request = urllib.request.Request(  # noqa: S310 - the URL is the site's own configuration
            url, data=json.dumps({"deleted_studies": deleted}).encode(), headers=headers
        )
        try:
            with opener.open(request, timeout=_TIMEOUT_S):
                pass
        except (OSError, http.client.HTTPException):
            pass  # the gateway is away, or something else answers; it will read the change log when it is back


def _tell_storage(output: Any, uri: str, **request: Any) -> None:  # noqa: ANN401 - Orthanc's own types
    del uri, request
    configuration = json.loads(orthanc.GetConfiguration())
    storage = configuration.get("StorageDirectory", "OrthancStorage")
    folders = (storage, configuration.get("IndexDirectory", storage))
    try:
        free = min(shutil.disk_usage(folder).free for folder in folders)
    except OSError:  # it is kept elsewhere, by a plug-in
        free = None
    told = {
        "free_bytes": free,
        "limit_bytes": configuration.get("MaximumStorageSize", 0) << 20,
        "deletes": configuration.get("MaximumStorageMode", "Recycle") == "Recycle",
    }
    output.AnswerBuffer(json.dumps(told), "application/json")


def _start() -> None:
    orthanc.RegisterRestCallback("/firstread/storage", _tell_storage)
    configuration = json.loads(orthanc.GetConfiguration())
    settings = configuration.get("Firstread", {})
    secret = settings.get("DoorbellSecret", "")
    if settings.get("OrderUrl"):
        from find_in_order import Finder, ReadingOrder  # noqa: PLC0415 - a site may do without

        orthanc.RegisterFindCallback(Finder(ReadingOrder(settings["OrderUrl"], secret), configuration).find)
    url = settings.get("DoorbellUrl", "")
    if not url:
        orthanc.LogWarning("Firstread: no DoorbellUrl configured; the gateway will look once a second instead")
        return
    threading.Thread(target=_ring_for_ever, args=(url, secret), name="firstread-doorbell", daemon=True).start()
    orthanc.RegisterOnChangeCallback(_on_change)


_start()
