"""The REST API: endpoints from models and from typed functions. Custom endpoints import the decorators from here."""

from __future__ import annotations

from api.rest.endpoint import EndpointRequest
from api.rest.typed_endpoints import delete, endpoint, get, patch, post, put

__all__ = ["EndpointRequest", "delete", "endpoint", "get", "patch", "post", "put"]
