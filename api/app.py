"""The service as an ASGI application: what is where, what is round it, and what is opened before the first request."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route, WebSocketRoute

from api.auth.authenticator import Authenticator
from api.endpoints import TOPICS
from api.graphql.http import graphql_route
from api.graphql.websocket.handler import WebSocketHandler, websocket_routes
from api.http.router import FastRouter
from api.middleware.client_identity import client_identifier
from api.middleware.cors import Cors
from api.middleware.hosts import host_check
from api.middleware.proxies import proxy_headers
from api.middleware.rate_limit import RateLimiter
from api.middleware.rate_limit_storage import redis_storage
from api.middleware.request import RequestMiddleware, exception_handlers
from api.middleware.request_cost import cost_of_graphql_request, cost_of_rest_request
from api.middleware.response import request_limit
from api.observability import health, metrics
from api.observability.metrics import MetricsMiddleware, RequestMetrics
from api.openapi import document as openapi
from api.pages import routes
from api.rest.endpoint import Endpoint
from api.rest.endpoint_app import Authenticate, endpoint_routes
from api.rest.model_endpoints import me_endpoint, model_endpoints
from api.rest.typed_endpoints import endpoints_of
from api.settings import Settings
from schema.engine.concurrency import ConcurrencyLimit
from schema.engine.model.resource import Resource, resource_of
from schema.engine.operations.directory import Directory
from schema.graphql.execution.executor import Executor
from schema.graphql.execution.limits import Limits
from schema.graphql.schema import make_schema
from schema.models import MODELS, User


def create_app(settings: Settings, authenticate: Authenticate | None = None) -> Starlette:
    """Both doors, the pages and the health checks, over the database that the settings name.

    `authenticate` says who asks: by default, as the settings have it.
    """
    resources = [resource_of(model) for model in MODELS]
    endpoints = _endpoints(resources)
    authenticate = authenticate or Authenticator(settings)
    request_metrics, executor = RequestMetrics(), _executor(settings, resources)
    rates = RateLimiter(authenticate, settings.rate, settings.credential_rate, redis_storage(settings.rate_limit_url))
    gate = request_limit(settings.running, settings.credential_share)
    document = openapi.document(endpoints, resources, _topics(), development=settings.development)
    counted = rates.metered(cost_of_graphql_request)

    doors = [
        graphql_route(executor, counted, routes.graphiql_page, settings.graphql_body_limit),
        *endpoint_routes(endpoints, rates.metered(cost_of_rest_request), settings.body_limit),
    ]
    app = Starlette(
        routes=[
            *routes.routes(),
            *health.routes(),
            openapi.route(document),
            metrics.route(
                request_metrics, executor, counted, token=settings.metrics_token, several=settings.workers > 1
            ),
            *doors,
            *_sockets(settings, executor, authenticate, rates),
        ],
        middleware=_around(settings, request_metrics, _envelope(settings, gate, rates, authenticate), doors),
        exception_handlers=exception_handlers(),
        lifespan=_lifespan(settings, authenticate, request_metrics, rates),
    )
    app.router.redirect_slashes = False
    app.state.concurrency_limit, app.state.request_metrics, app.state.on_refusal = (
        gate,
        request_metrics,
        _on_refusal(request_metrics, rates),
    )
    return app


def _lifespan(
    settings: Settings, authenticate: Authenticate, request_metrics: RequestMetrics, rates: RateLimiter
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with directory_of(settings) as app.state.directory:
            if isinstance(authenticate, Authenticator):
                await authenticate.attend(app.state.directory)
            with request_metrics.measuring_loop_lag():
                yield
        await rates.close()

    return lifespan


def _on_refusal(request_metrics: RequestMetrics, rates: RateLimiter) -> Callable[[int, str | None], None]:
    """What is refused before it is a request is counted, and its address pays for it."""

    def on_refusal(status: int, address: str | None) -> None:
        request_metrics.refused[status] += 1
        if address is not None:
            rates.charge_refusal(address)

    return on_refusal


def _around(
    settings: Settings, request_metrics: RequestMetrics, envelope: Middleware, doors: list[Route]
) -> list[Middleware]:
    """What every request passes on its way in, and its answer on the way out; the first is outermost."""
    around = [
        Middleware(MetricsMiddleware, metrics=request_metrics),
        envelope,
        Middleware(FastRouter, routes=doors),
    ]
    if settings.tracing == "off":
        return around
    from api.observability.tracing import Tracing

    return [Middleware(Tracing), *around]


def _endpoints(resources: Sequence[Resource]) -> list[Endpoint]:
    """Those of the models, and those of one's own."""
    return [
        *(endpoint for resource in resources for endpoint in model_endpoints(resource)),
        me_endpoint(resource_of(User)),
        *(endpoint for topic in TOPICS for endpoint in endpoints_of(topic)),
    ]


def _executor(settings: Settings, resources: Sequence[Resource]) -> Executor:
    """What runs GraphQL, within the limits that the settings have."""
    limits = Limits(depth=settings.graphql_depth, records=settings.graphql_records)
    return Executor(
        make_schema(resources, resource_of(User)), limits, introspection_restricted=not settings.development
    )


def _sockets(
    settings: Settings, executor: Executor, authenticate: Authenticate, rates: RateLimiter
) -> list[WebSocketRoute]:
    """The door for WebSockets, as the settings have it."""
    return websocket_routes(
        WebSocketHandler(
            executor,
            authenticate,
            rates=rates,
            sockets=settings.sockets,
            sockets_per_address=settings.sockets_per_address,
            share=settings.credential_share,
            origins=settings.cors_origins,
            document_limit=settings.graphql_body_limit,
        )
    )


def _envelope(settings: Settings, gate: ConcurrencyLimit, rates: RateLimiter, authenticate: Authenticate) -> Middleware:
    """What is round every answer, as the settings have it."""
    unveil = proxy_headers(settings.trusted_proxies)
    return Middleware(
        RequestMiddleware,
        gate=gate,
        rates=rates,
        identify=client_identifier(authenticate),
        checks=[*([unveil] if unveil else []), host_check(settings.allowed_hosts)],
        cors=Cors(settings.cors_origins) if settings.cors_origins else None,
        production=not settings.development,
        chatty=settings.log_level == "debug",
    )


def directory_of(settings: Settings) -> Directory:
    """The directory over the database that the settings name."""
    return Directory(
        settings.database,
        deadline=settings.request_timeout,
        pool=settings.pool,
        replica=settings.read_database,
        share=settings.credential_share,
    )


def _topics() -> dict[str, str]:
    """What the tags of endpoints that are no model's are about."""
    return {topic.__name__.rpartition(".")[2]: inspect.getdoc(topic) or "" for topic in TOPICS}
